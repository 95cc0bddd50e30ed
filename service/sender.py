"""Signed webhooks, as Cloudinary sends them: bodies from files, posted to a gateway."""

import asyncio
import io
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import aiohttp

from service.errors import MediamirrorError
from service.gateway.signature import sign
from service.settings import InvalidSettingsError, read_secret
from service.terminal import complain

_SECRET = "MEDIAMIRROR_SEND_SECRET"  # noqa: S105  # its variable
_STANDARD_INPUT = Path("-")


class NoBodiesError(MediamirrorError):
    """Nothing to send: {path} {reason}."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Webhook:
    """A body to send, byte for byte."""

    name: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What a gateway said to a webhook; status 0 when it said nothing."""

    webhook: Webhook
    status: int
    seconds: float
    error: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether Cloudinary would count it as delivered: 200 alone does."""
        return self.status == HTTPStatus.OK


def given_secret(argument: str | None, file: Path | None) -> str | None:
    """Give the API secret to sign with, if one was given: by an argument, a file, or the environment, in this order.

    Raises `InvalidSettingsError` for one that is empty, or can't be read.
    """
    if argument is not None:
        complain("mediamirror: whoever lists the processes here has seen the secret after --secret; use --secret-file")
        secret = argument
    elif file == _STANDARD_INPUT:
        secret = sys.stdin.readline()
    elif file is not None:
        secret = read_secret("--secret-file", file)
    elif _SECRET in os.environ:
        secret = os.environ[_SECRET]
    elif name := os.environ.get(f"{_SECRET}_FILE"):
        secret = read_secret(f"{_SECRET}_FILE", Path(name))
    else:
        return None
    if not secret.strip():
        raise InvalidSettingsError(problems="the secret given to `send` is empty")
    return secret.strip()


def read_bodies(paths: Iterable[Path]) -> list[Webhook]:
    """Read files, and the *.json of folders in the order of their names; raises `NoBodiesError`."""
    webhooks: list[Webhook] = []
    for path in paths:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            raise NoBodiesError(path=path, reason="holds no *.json")
        try:
            webhooks += [Webhook(file.name, file.read_bytes()) for file in files]
        except OSError as error:
            raise NoBodiesError(path=error.filename, reason=f"can't be read ({error.strerror})") from error
    return webhooks


def order(webhooks: Sequence[Webhook], *, repeat: int, shuffle: bool) -> list[Webhook]:
    """Give the webhooks `repeat` times, in turn or shuffled."""
    ordered = list(webhooks) * repeat
    if shuffle:
        random.shuffle(ordered)
    return ordered


async def send(
    webhooks: Iterable[Webhook], *, gateway: str, cloud: str, secret: bytes, concurrency: int, pause: float = 0
) -> AsyncIterator[Answer]:
    """Post each webhook, freshly signed, up to `concurrency` at a time; gives the answers as they come.

    `pause`: seconds to wait after each answer.
    """
    url = f"{gateway.rstrip('/')}/webhooks/cloudinary/{cloud}"
    waiting = iter(webhooks)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:
        posts: set[asyncio.Task[Answer]] = set()
        while True:
            for webhook in waiting:
                posts.add(asyncio.create_task(_post(session, url, webhook, secret)))
                if len(posts) >= concurrency:
                    break
            if not posts:
                return
            done, posts = await asyncio.wait(posts, return_when=asyncio.FIRST_COMPLETED)
            for post in done:
                yield post.result()
            await asyncio.sleep(pause)


async def _post(session: aiohttp.ClientSession, url: str, webhook: Webhook, secret: bytes) -> Answer:
    timestamp = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "X-Cld-Timestamp": str(timestamp),
        "X-Cld-Signature": sign(webhook.body, timestamp, secret),
    }
    started = time.perf_counter()
    try:
        async with session.post(url, data=io.BytesIO(webhook.body), headers=headers) as response:
            await response.read()
            return Answer(webhook, response.status, time.perf_counter() - started)
    except (aiohttp.ClientError, TimeoutError) as error:
        return Answer(webhook, 0, time.perf_counter() - started, str(error) or type(error).__name__)
