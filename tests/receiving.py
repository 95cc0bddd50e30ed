"""Where a stand-in sends its webhooks in a test."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from service.gateway.signature import Policy, read_claim, verify
from standin.server import Standin


@dataclass
class Webhook:
    body: bytes
    signature: str
    timestamp: str
    content_type: str

    def said(self) -> dict[str, Any]:
        said: dict[str, Any] = orjson.loads(self.body)
        return said

    def signed_by(self, standin: Standin, now: float) -> str:
        claim = read_claim(self.signature, self.timestamp, has_v2=False, now=now, policy=Policy())
        return verify(self.body, claim, {standin.key: standin.secret.encode()})


@dataclass
class Receiver:
    url: str = ""
    answers: list[int] = field(default_factory=list)  # to the first webhooks; then 200
    webhooks: list[Webhook] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def receive(self, request: web.Request) -> web.Response:
        headers = request.headers
        body = await request.read()
        self.webhooks.append(
            Webhook(body, headers["X-Cld-Signature"], headers["X-Cld-Timestamp"], headers.get("Content-Type", ""))
        )
        async with self.arrived:
            self.arrived.notify_all()
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    async def has(self, count: int) -> None:
        """Wait for that many webhooks in all."""
        async with asyncio.timeout(10), self.arrived:
            await self.arrived.wait_for(lambda: len(self.webhooks) >= count)

    def names(self) -> list[str]:
        return [webhook.said()["public_id"] for webhook in self.webhooks]


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application(client_max_size=10_000_000)
    app.router.add_post("/{tail:.*}", receiver.receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until something holds that nobody tells of; raises `TimeoutError` after ten seconds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # nothing sets an event
            await asyncio.sleep(0.001)
