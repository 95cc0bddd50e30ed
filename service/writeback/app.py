"""The write-back as a process of its own."""

import asyncio

from aiohttp import web

from service.cloudinary.client import accounts
from service.database import connect, require_schema
from service.health import Health
from service.http import serve
from service.kafka import require_kafka
from service.publisher import Publisher
from service.rights import Group
from service.settings import Settings
from service.telemetry import Metrics
from service.writeback.writeback import Writeback


async def run_writeback(settings: Settings, metrics: Metrics) -> None:
    """Work operations off until cancelled, with /livez, /readyz and /metrics."""
    require_kafka(settings)
    async with connect(settings, size=8) as pool:
        await require_schema(pool, Group.WRITEBACK)
        async with accounts(settings, pool, metrics) as opened, Publisher(settings, metrics) as publisher:
            writeback = Writeback(settings, pool, opened, publisher, metrics)
            app = web.Application()
            Health(metrics, {"writeback": writeback.is_ready}).add_routes(app)
            address = (settings.writeback_host, settings.writeback_port)
            async with asyncio.TaskGroup() as roles, serve(app, *address, shutdown_timeout=1):
                await roles.create_task(writeback.run())
