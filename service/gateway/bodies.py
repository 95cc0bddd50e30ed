"""Bodies on their way in, which nobody has proven yet: what all of them together may hold, and for how long."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import ClassVar, Final

from aiohttp import StreamReader
from aiohttp.web_protocol import RequestPayloadError
from prometheus_client import Gauge

from service.garbage import give_back

_SWEEP_SECONDS: Final = 0.5
# As nearly all webhooks are: those larger make room for them, not the other way round.
_SMALL: Final = 64 * 1024
# What may lie unread of a larger one, in its stream and on the way from there.
_AHEAD: Final = 512 * 1024
# Parts of the larger ones that are hashed before others are looked after: some milliseconds.
_TURNS: Final = 8
# Of so much held at a time, the allocator may keep pages that nobody uses any more.
_WORTH_GIVING_BACK: Final = 8 * 1024**2


class BodyError(Exception):
    """A body was not received."""

    status: ClassVar[HTTPStatus]
    reason: ClassVar[str]


class TooLargeBodyError(BodyError):
    """It is larger than a webhook may be."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    reason = "too_large"


class NoRoomError(BodyError):
    """It had to make room for others."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    reason = "no_room"


class TooSlowError(BodyError):
    """It took too long."""

    status = HTTPStatus.REQUEST_TIMEOUT
    reason = "slow_body"


class BrokenBodyError(BodyError):
    """It is no HTTP body."""

    status = HTTPStatus.BAD_REQUEST
    reason = "broken_body"


class HungUpError(BodyError):
    """Its sender has gone; nobody sees the answer."""

    status = HTTPStatus.BAD_REQUEST
    reason = "hung_up"


class Body:
    """What has come of a body."""

    __slots__ = ("ahead", "data", "error", "peer", "since", "stream")

    def __init__(self, stream: StreamReader, peer: str | None, ahead: int) -> None:
        self.stream = stream
        self.peer = peer
        self.since = time.monotonic()
        self.ahead = ahead
        # not a list of what came: it would take ten times its bytes when they come in twos
        self.data = bytearray()
        self.error: BodyError | None = None

    @property
    def held(self) -> int:
        """Bytes that it holds, or may hold at any moment."""
        return self.ahead + len(self.data)

    def end(self, error: BodyError) -> None:
        """Give back what it holds, and let its reader raise."""
        self.data = bytearray()
        self.error = error
        self.stream.set_exception(error)


class Bodies:
    """Reads bodies, each within a size and a time, all within so many bytes.

    Room is claimed as bytes come. When there is none left, the larger bodies give way to the others: first those of the peer that
    holds most, and of these the slowest. So those who send slowly, or never finish, keep out nobody; and those who send very much
    get turns, between which the others get theirs.
    """

    def __init__(self, *, most: int, most_each: int, seconds: float, gauge: Gauge) -> None:
        self._most = most
        self._most_each = most_each
        self._seconds = seconds
        self._gauge = gauge
        self._open: dict[Body, None] = {}
        self._turns = asyncio.Semaphore(_TURNS)
        self._peak = 0
        self._timer: asyncio.TimerHandle | None = None
        self._held = 0

    async def read(self, stream: StreamReader, length: int | None, peer: str | None, see: Callable[[bytes], None]) -> bytearray:
        """Give a body, each part of which was shown to `see` when it came; raises a `BodyError`.

        `length`: as announced, if it was.
        """
        body = Body(stream, peer, 0 if length is not None and length <= _SMALL else _AHEAD)
        try:
            self._begin(body)
            while part := await stream.readany():
                if body.ahead and body.data:
                    async with self._turns:
                        self._take(body, part, see)
                        await asyncio.sleep(0)
                else:
                    self._take(body, part, see)
                del part  # while the next one is waited for, it would lie here beside the body
        except ConnectionError:
            raise HungUpError from None
        except RequestPayloadError:
            raise BrokenBodyError from None
        else:
            return body.data
        finally:
            self._close(body)
            if (error := stream.exception()) is not None:
                error.__traceback__ = None  # which leads to the stream, and that to the error

    def _begin(self, body: Body) -> None:
        self._open[body] = None
        self._count(body.ahead)
        self._make_room(body)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)

    def _take(self, body: Body, part: bytes, see: Callable[[bytes], None]) -> None:
        if body.error is not None:  # ended after this part had come, and before its reader was told
            raise body.error
        if len(body.data) + len(part) > self._most_each:
            raise TooLargeBodyError
        body.data += part
        self._count(len(part))
        self._make_room(body)
        see(part)

    def _make_room(self, body: Body) -> None:
        """End bodies until the others are within the bound; raises `NoRoomError` when it is this one's turn."""
        while self._held > self._most:
            worst = self._worst()
            self._close(worst)
            worst.end(NoRoomError())
            if worst is body:
                raise NoRoomError

    def _worst(self) -> Body:
        now = time.monotonic()
        large = [body for body in self._open if body.held > _SMALL] or list(self._open)
        of_peer = Counter[str | None]()
        for body in large:
            of_peer[body.peer] += body.held
        return max(large, key=lambda body: (of_peer[body.peer], -body.held / (now - body.since + 0.001)))

    def _close(self, body: Body) -> None:
        """Leave a body out of the count from now on."""
        if body in self._open:
            del self._open[body]
            self._count(-body.held)

    def _count(self, more: int) -> None:
        self._held += more
        self._peak = max(self._peak, self._held)
        self._gauge.set(self._held)

    def _sweep(self) -> None:
        late = time.monotonic() - self._seconds
        for body in [body for body in self._open if body.since < late]:
            self._close(body)
            body.end(TooSlowError())
        if self._peak > _WORTH_GIVING_BACK and self._held < self._peak / 4:
            self._peak = self._held
            give_back()
        again = self._open or self._peak > _WORTH_GIVING_BACK
        self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep) if again else None
