"""`mediamirror poller`: the poller as a process of its own."""

import asyncio
from contextlib import AsyncExitStack

import structlog
from aiohttp import web

from service import supervisor
from service.cloudinary.client import Account
from service.health import Health
from service.http import serve
from service.kafka import require_kafka
from service.options import DATA_DIR, DataDir
from service.poller.poller import Poller
from service.publisher import Publisher
from service.reloading import KeyReload
from service.running import FILE, joined
from service.settings import Settings, load_settings
from service.telemetry import Metrics, configure_logging

log = structlog.get_logger(__name__)


def poller(*, data_dir: DataDir = DATA_DIR) -> None:
    """Receive notifications from a poll:// channel instead of webhooks: verify, put on Kafka, acknowledge."""
    own = load_settings()
    settings = joined(own, data_dir)
    configure_logging(settings.log_level, settings.log_format)
    # keys that are not configured here are those of the `up` that runs there, which writes them anew when they change
    theirs = [] if own.clouds else [data_dir / FILE]
    keys = KeyReload(settings, load=lambda: joined(load_settings(), data_dir), files=theirs)
    supervisor.run(run_poller(settings, Metrics()), keys)


async def run_poller(settings: Settings, metrics: Metrics) -> None:
    """Drain the channel of every cloud until cancelled, with /livez, /readyz and /metrics. Needs no PostgreSQL."""
    clouds = settings.require_clouds()
    require_kafka(settings)
    async with AsyncExitStack() as running:
        publisher = await running.enter_async_context(Publisher(settings, metrics))
        # Without a budget: the channel is no part of the Admin API.
        accounts = [
            await running.enter_async_context(Account(name, cloud, settings, None, metrics)) for name, cloud in clouds.items()
        ]
        pollers = [Poller(settings, account, publisher, metrics) for account in accounts]
        app = web.Application()
        checks = {f"channel of {account.name}": one.is_ready for account, one in zip(accounts, pollers, strict=True)}
        Health(metrics, {"kafka": publisher.is_ready, **checks}).add_routes(app)
        await running.enter_async_context(serve(app, settings.poller_host, settings.poller_port, shutdown_timeout=1))
        log.info("poller runs", channel=settings.poller_channel, clouds=sorted(clouds))
        async with asyncio.TaskGroup() as tasks:
            for one in pollers:
                tasks.create_task(one.run())
    log.info("poller stopped")
