"""The relay as a process of its own."""

import asyncio

from aiohttp import web

from service.database import connect, require_schema
from service.events.relay import Relay
from service.health import Health
from service.http import serve
from service.kafka import require_kafka
from service.rights import Group
from service.settings import Settings
from service.telemetry import Metrics


async def run_relay(settings: Settings, metrics: Metrics) -> None:
    """Relay until cancelled, with /livez, /readyz and /metrics. One that is not the leader stands by, and is ready."""
    require_kafka(settings)
    async with connect(settings) as pool:
        await require_schema(pool, Group.RELAY)
        relay = Relay(settings, pool, metrics)
        app = web.Application()
        Health(metrics, {"postgresql": relay.is_ready}).add_routes(app)
        async with asyncio.TaskGroup() as roles, serve(app, settings.relay_host, settings.relay_port, shutdown_timeout=1):
            await roles.create_task(relay.run())
