"""Every role in one process, on an embedded Kafka and PostgreSQL unless others are named."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from service.cloudinary.client import Account, accounts
from service.cloudinary.trigger import Destination, carry_out, plan, triggers_of
from service.database import Pool, connect, migrate
from service.database_url import shown
from service.embedded.ports import is_free
from service.embedded.stack import EmbeddedStack
from service.embedded.standin import EmbeddedStandin
from service.errors import MediamirrorError
from service.events.relay import Relay
from service.gateway.app import run_gateway
from service.kafka import ensure_topics
from service.mirror.consumer import Mirror
from service.mirror.gap import Gap, accept
from service.publisher import Publisher
from service.reconcile.reconciler import Reconciler
from service.reloading import KeyReload
from service.running import FILE, Announcement, describe
from service.settings import Settings
from service.telemetry import Metrics
from service.writeback.writeback import Writeback

_CONNECTIONS = 10
_CONNECTIONS_A_CLOUD = 3


class RoleEndedError(MediamirrorError):
    """The {role} has ended without being told to. What it had not done yet is done after a new start."""


@dataclass(frozen=True, slots=True)
class Site:
    """A small site that is up."""

    gateway: str
    settings: Settings
    pool: Pool
    is_demo: bool
    admin: str | None = None  # the gateway's /readyz and /metrics
    passfile: Path | None = None  # with the password of a PostgreSQL of our own
    kafka_client: Path | None = None  # what a client of a Kafka of our own needs to know

    @property
    def psql_url(self) -> str:
        """What `psql` connects to, without a password: that of our own server is in a file, others are their owners' business."""
        url = self.settings.database_url
        passfile = f"?passfile={quote(nearest(self.passfile))}" if self.passfile else ""
        return (shown(url.get_secret_value()) if url else "") + passfile


def nearest(path: Path) -> str:
    """Name a file as somebody here would: below this folder by its way from here, elsewhere in full."""
    relative = os.path.relpath(path)
    return os.path.abspath(path) if relative.startswith("..") else relative  # noqa: PTH100  # links stay as they were named


@asynccontextmanager
async def run_site(
    settings: Settings,
    data_dir: Path,
    *,
    demo: bool,
    ready_file: Path | None,
    gaps: Sequence[Gap],
    progress: Callable[[str], None],
    keys: KeyReload,
) -> AsyncIterator[Site]:
    """Run every role but the poller; gives the site once a webhook sent to it would become a row.

    `demo`: on a Cloudinary stand-in of its own, whose account takes the place of those configured.
    """
    if not demo:
        settings.require_clouds()
    metrics = Metrics()
    database_url = settings.database_url.get_secret_value() if settings.database_url else None
    announcement = Announcement(data_dir / FILE, *([ready_file] if ready_file else []))
    async with AsyncExitStack() as running:
        stack = await running.enter_async_context(
            EmbeddedStack(data_dir, kafka_bootstrap=settings.kafka_bootstrap, database_url=database_url, progress=progress)
        )
        settings = settings.model_copy(update=stack.access)
        if demo:
            standin = EmbeddedStandin(data_dir)
            running.push_async_callback(standin.stop)
            settings = settings.model_copy(update={"clouds": await standin.start()})
        pool = await running.enter_async_context(
            connect(settings, size=_CONNECTIONS + _CONNECTIONS_A_CLOUD * len(settings.clouds))
        )
        await asyncio.gather(migrate(pool), ensure_topics(settings))
        await accept(gaps, settings, pool)
        opened = await running.enter_async_context(accounts(settings, pool, metrics))
        publisher = await running.enter_async_context(Publisher(settings, metrics))
        mirror = Mirror(settings, pool, metrics)
        roles = {
            "mirror": mirror.run(),
            "relay": Relay(settings, pool, metrics).run(),
            "reconciler": Reconciler(settings, pool, opened, publisher, metrics).run(),
            "writeback": Writeback(settings, pool, opened, publisher, metrics).run(),
        }
        async with asyncio.TaskGroup() as tasks:
            at_work = [tasks.create_task(_for_good(name, role)) for name, role in roles.items()]
            async with run_gateway(_with_ports(settings), metrics) as (gateway, admin):
                await mirror.joined.wait()
                if demo:
                    await _lead_here(opened, gateway)
                with announcement.made(describe(gateway, admin, settings)):
                    keys.then(lambda: announcement.renew(describe(gateway, admin, settings)))
                    yield Site(gateway, settings, pool, demo, admin, stack.passfile, stack.kafka_client)
            for task in at_work:
                task.cancel()


async def _for_good(name: str, role: Coroutine[object, object, None]) -> None:
    """Run a role that ends when it is cancelled, and not before: a task group would take no notice of one that cancels itself."""
    task = asyncio.current_task()
    try:
        await role
    except asyncio.CancelledError:
        if task is None or task.cancelling():
            raise
    raise RoleEndedError(role=name)


async def _lead_here(opened: Mapping[str, Account], gateway: str) -> None:
    """Let the demo's account send its notifications to this gateway, and nowhere else: the port may be another one each time."""
    for name, account in opened.items():
        found = await triggers_of(account)
        todo = plan(found, Destination(f"{gateway}/webhooks/cloudinary/{name}", "webhook"))
        elsewhere = [trigger["id"] for trigger in found if trigger["uri"] != todo.destination.uri]
        await carry_out(account, replace(todo, remove=[*todo.remove, *elsewhere]))


def _with_ports(settings: Settings) -> Settings:
    """Let the gateway take any free ports when its usual ones are taken and nobody asked for them."""
    usual = {"gateway_port": settings.gateway_host, "admin_port": settings.admin_host}
    unasked = {name: host for name, host in usual.items() if name not in settings.model_fields_set}
    taken = [name for name, host in unasked.items() if not is_free(getattr(settings, name), host)]
    return settings.model_copy(update=dict.fromkeys(taken, 0))
