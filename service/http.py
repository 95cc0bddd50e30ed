"""An aiohttp server with a beginning and an end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from service.errors import MediamirrorError


class PortTakenError(MediamirrorError):
    """Can't listen on {host}:{port}: {reason}."""


@asynccontextmanager
async def serve(app: web.Application, host: str, port: int, shutdown_timeout: float) -> AsyncIterator[str]:
    """Serve `app`; gives its URL. On leaving, stops accepting and gives open requests `shutdown_timeout` seconds."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=shutdown_timeout, handle_signals=False)
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
