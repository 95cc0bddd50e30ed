"""Connections of an HTTP server, and what each may cost: aiohttp bounds neither their number nor their time."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

_SWEEP_SECONDS: Final = 0.5
# To a sender whose body is not wanted: a socket closed on bytes unread takes back the answer that was sent before.
_LINGER_SECONDS: Final = 1.0
_LINGER_BYTES: Final = 1024**2
_READ_BYTES: Final = 64 * 1024
_SERVER: Final = "mediamirror"  # no versions: they tell who asks which holes to try
_FULL: Final = (
    f"HTTP/1.1 503 Service Unavailable\r\nServer: {_SERVER}\r\nRetry-After: 30\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
).encode()


@dataclass(frozen=True, slots=True)
class Bounds:
    """What strangers may take of a server."""

    connections: int = 384
    header_seconds: float = 10
    idle_seconds: float = 75  # longer than the usual proxies keep a connection that they may use again


class Server(web.Server):
    """Makes connections, and keeps them to their bounds.

    When there are as many as may be, the one that has waited longest for a request makes room for a new one, then the one that
    has waited longest for a body; when all are at work, the new one is told to come again. `count` is told the reason of each
    that was ended before its time.
    """

    def __init__(self, handler: Any, bounds: Bounds, count: Callable[[str], None], **options: Any) -> None:  # noqa: ANN401
        super().__init__(
            handler,
            keepalive_timeout=bounds.idle_seconds,
            lingering_time=0,  # ours is shorter, and in `Connection`
            auto_decompress=False,
            read_bufsize=_READ_BYTES,
            **options,
        )
        self.count = count
        self._bounds = bounds
        self._open: dict[Connection, None] = {}  # in the order in which they came
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self) -> "Connection":
        """Make what speaks on a new connection."""
        return Connection(self, loop=self._loop, **self._kwargs)

    def admit(self, connection: "Connection") -> bool:
        """Take a new connection in, if there is room or can be made."""
        if len(self._open) >= self._bounds.connections and not self._make_room():
            self.count("too_many")
            return False
        self._open[connection] = None
        if self._timer is None:
            self._timer = self._loop.call_later(_SWEEP_SECONDS, self._sweep)
        return True

    def forget(self, connection: "Connection") -> None:
        """Leave a connection out from now on."""
        self._open.pop(connection, None)

    def _make_room(self) -> bool:
        for waits in (Connection.waits_for_request, Connection.waits_for_body):
            waiting = [connection for connection in self._open if waits(connection)]
            if waiting:
                self._end(min(waiting, key=lambda connection: connection.since), "made_room")
                return True
        return False

    def _sweep(self) -> None:
        late = self._loop.time() - self._bounds.header_seconds
        for connection in list(self._open):
            if connection.begun and connection.since < late and connection.waits_for_request():
                self._end(connection, "slow_headers")
        self._timer = self._loop.call_later(_SWEEP_SECONDS, self._sweep) if self._open else None

    def _end(self, connection: "Connection", reason: str) -> None:
        self.count(reason)
        self.forget(connection)
        connection.force_close()


class Connection(web.RequestHandler):
    """One connection: no traceback for what its peer does, nothing inflated, and no body read that nobody wants."""

    __slots__ = ("_server", "begun", "since")

    def __init__(self, server: Server, **options: Any) -> None:  # noqa: ANN401
        super().__init__(server, **options)
        self._server = server
        self.begun = True  # a request is being sent; the first one is due at once
        self.since = self._loop.time()  # when that began, or the last one ended

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many."""
        if self._server.admit(self):
            super().connection_made(transport)
            return
        self._force_close = True
        refused = cast("asyncio.Transport", transport)
        refused.write(_FULL)
        refused.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self._server.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; notes when the first of a request come."""
        super().data_received(data)
        if not self.waits_for_request():
            self.begun = False
        elif not self.begun:
            self.begun = True
            self.since = self._loop.time()

    def waits_for_request(self) -> bool:
        """Tell whether none of it is at work, or about to be."""
        return self._waiter is not None and not self._waiter.done()

    def waits_for_body(self) -> bool:
        """Tell whether what it is at work on has not come in full."""
        return self._current_request is not None and not self._current_request.content.is_eof()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Answer. A request whose body was not wanted is the last of its connection."""
        resp.headers.setdefault("Server", _SERVER)
        self.begun = False
        self.since = self._loop.time()
        content = request.content
        if content.is_eof():
            return await super().finish_response(request, resp, start_time)
        resp.force_close()
        answered = await super().finish_response(request, resp, start_time)
        await self._let_go(request)
        return answered

    async def _let_go(self, request: web.BaseRequest) -> None:
        """Say that no more is wanted, and give the sender a moment to see it."""
        if self.transport is None or request.content.exception() is not None:
            return
        self.transport.write_eof()
        left = _LINGER_BYTES
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                while left > 0 and (chunk := await request.content.readany()):
                    left -= len(chunk)
        except (TimeoutError, ConnectionError, RequestPayloadError) as error:
            error.__traceback__ = None  # which leads to the request, and that to the error

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what is no HTTP; a bug is logged."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        self._server.count("malformed")
        exc.__traceback__ = None
        answer = web.Response(status=status, text=f"{status}\n")
        answer.force_close()
        return answer
