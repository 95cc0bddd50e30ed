"""The stand-in as a whole: a Cloudinary account with its HTTP API, in one process."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from secrets import token_hex
from urllib.parse import quote

from aiohttp import web

from standin.account import Account
from standin.admin_api import AdminApi
from standin.control import Control
from standin.delivery import Delivery
from standin.fault_middleware import make_middleware
from standin.faults import Faults
from standin.gate import Gate, answer_errors
from standin.limits import Limits
from standin.notifier import Notifier
from standin.options import Options
from standin.settings_api import SettingsApi
from standin.sources import Sources
from standin.store import Store
from standin.upload_api import UploadApi

__all__ = ["Options", "Standin", "run_standin"]

_SHUTDOWN_SECONDS = 1.0
_FORM_OVERHEAD = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Standin:
    """A stand-in that runs. `calls` counts the API calls let in, by method and path template."""

    url: str
    options: Options
    account: Account
    notifier: Notifier
    faults: Faults
    limits: Limits
    calls: Counter[tuple[str, str]]

    @property
    def cloud(self) -> str:
        """The cloud's name."""
        return self.options.cloud

    @property
    def key(self) -> str:
        """The API key."""
        return self.options.key

    @property
    def secret(self) -> str:
        """The API secret."""
        return self.options.secret

    @property
    def cloudinary_url(self) -> str:
        """What CLOUDINARY_URL has to be for the official SDK to come here."""
        key, secret = quote(self.key, safe=""), quote(self.secret, safe="")
        return f"cloudinary://{key}:{secret}@{self.cloud}?upload_prefix={self.url}"


@asynccontextmanager
async def run_standin(options: Options | None = None) -> AsyncIterator[Standin]:
    """Serve until the context is left. Raises `OSError` when the port is taken."""
    options = options or Options()
    faults = Faults(options.seed, options.clock)
    with Store(options.data_dir) as store:
        async with Notifier(store, options, faults) as notifier:
            account = Account(store, options, notifier)
            limits = Limits(store, options)
            gate = Gate(options, limits)
            delivery = Delivery(account)
            app = web.Application(
                middlewares=[make_middleware(faults), answer_errors], client_max_size=options.max_upload + _FORM_OVERHEAD
            )
            AdminApi(account).add_routes(app.router, gate)
            SettingsApi(account, notifier.triggers, notifier.channel, limits).add_routes(app.router, gate)
            UploadApi(account, options, Sources(options, delivery)).add_routes(app.router, gate)
            app.add_routes(Control(store, notifier, faults, gate.calls).routes())
            delivery.add_routes(app.router)
            app.on_response_prepare.append(_stamp(options))
            async with _serving(app, options, notifier) as url:
                delivery.url = url
                yield Standin(url, options, account, notifier, faults, limits, gate.calls)


@asynccontextmanager
async def _serving(app: web.Application, options: Options, notifier: Notifier) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, options.host, options.port).start()
        host, port = runner.addresses[0][:2]
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    finally:
        notifier.channel.close()  # so that nobody waits who would hold up the end
        await runner.cleanup()


def _stamp(options: Options) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    async def stamp(_request: web.Request, response: web.StreamResponse) -> None:
        """The time is the stand-in's own, at the end of the answer."""
        response.headers["Date"] = format_datetime(datetime.fromtimestamp(int(options.clock()), UTC), usegmt=True)
        response.headers.setdefault("X-Request-Id", token_hex(16))

    return stamp
