"""An HTTP server that answers as a test says, in Cloudinary's place."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import orjson
from aiohttp import web
from multidict import MultiMapping

from service.http import serve

NOON = datetime(2026, 10, 7, 12, tzinfo=UTC)  # by Cloudinary's clock, which is none of ours


@dataclass
class Reply:
    """One answer. `said`: an object, or bytes as they are."""

    status: int = 200
    said: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    breaks_off: bool = False  # closes the connection instead
    seconds: float = 0  # before it answers


def limits(remaining: int, *, allowed: int = 500, date: datetime = NOON, resets_in: float = 1800) -> dict[str, str]:
    """The headers of the Admin API."""
    return {
        "Date": format_datetime(date, usegmt=True),
        "X-FeatureRateLimit-Limit": str(allowed),
        "X-FeatureRateLimit-Remaining": str(remaining),
        "X-FeatureRateLimit-Reset": format_datetime(date + timedelta(seconds=resets_in), usegmt=True),
    }


@dataclass
class Answering:
    url: str = ""
    replies: list[Reply] = field(default_factory=list)  # one for each request; the last for all after it
    decide: Callable[[str, str, bytes], Reply] | None = None  # by method, path and body, instead of `replies`
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    queries: list[MultiMapping[str]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        heard = (request.method, request.path, await request.read())
        self.requests.append(heard)
        self.authorizations.append(request.headers.get("Authorization"))
        self.queries.append(request.query)
        reply = self.decide(*heard) if self.decide else self._next()
        if reply.seconds:
            await asyncio.sleep(reply.seconds)
        if reply.breaks_off and request.transport:
            request.transport.abort()
        body = reply.said if isinstance(reply.said, bytes) else orjson.dumps(reply.said)
        return web.Response(status=reply.status, body=body, headers=reply.headers)

    def _next(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@asynccontextmanager
async def answering(*replies: Reply) -> AsyncIterator[Answering]:
    server = Answering(replies=list(replies))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    async with serve(app, "127.0.0.1", 0, shutdown_timeout=1) as url:
        server.url = url
        yield server
