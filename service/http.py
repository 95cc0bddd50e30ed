"""An aiohttp server with a beginning and an end."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from service.connection import Bounds, Server
from service.errors import MediamirrorError


class PortTakenError(MediamirrorError):
    """Can't listen on {host}:{port}: {reason}."""


@asynccontextmanager
async def serve(
    app: web.Application,
    host: str,
    port: int,
    shutdown_timeout: float,
    *,
    bounds: Bounds = Bounds(),  # noqa: B008  # frozen
    count: Callable[[str], None] = lambda _reason: None,
) -> AsyncIterator[str]:
    """Serve `app`; gives its URL. On leaving, stops accepting and gives open requests `shutdown_timeout` seconds.

    `count` is told why a connection was ended before its time, or refused.
    """
    runner = _Runner(app, bounds, count, access_log=None, shutdown_timeout=shutdown_timeout, handle_signals=False)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise PortTakenError(host=host, port=port, reason=error.strerror or error) from error
        bound_host, bound_port = runner.addresses[0][:2]
        shown = f"[{bound_host}]" if ":" in bound_host else bound_host
        yield f"http://{shown}:{bound_port}"
    finally:
        await runner.cleanup()


class _Runner(web.AppRunner):
    """Makes a server of ours instead of aiohttp's."""

    __slots__ = ("_bounds", "_count")

    def __init__(
        self,
        app: web.Application,
        bounds: Bounds,
        count: Callable[[str], None],
        **options: Any,  # noqa: ANN401  # aiohttp's own
    ) -> None:
        super().__init__(app, **options)
        self._bounds = bounds
        self._count = count

    async def _make_server(self) -> web.Server:
        theirs = await super()._make_server()
        return Server(theirs.request_handler, self._bounds, self._count, request_factory=theirs.request_factory, **self._kwargs)
