"""The mirror as a process of its own."""

import asyncio
from collections.abc import Sequence

from aiohttp import web

from service.database import connect, require_schema
from service.health import Health
from service.http import serve
from service.kafka import ensure_topics
from service.mirror.consumer import Mirror
from service.mirror.gap import Gap, accept
from service.rights import Group
from service.settings import Settings
from service.telemetry import Metrics


async def run_mirror(settings: Settings, metrics: Metrics, gaps: Sequence[Gap]) -> None:
    """Mirror until cancelled, with /livez, /readyz and /metrics."""
    async with connect(settings) as pool:
        await require_schema(pool, Group.MIRROR)
        if gaps:
            await ensure_topics(settings, settings.notifications_topic)
            await accept(gaps, settings, pool)
        mirror = Mirror(settings, pool, metrics)
        app = web.Application()
        Health(metrics, {"mirror": mirror.is_ready}, mirror.is_alive).add_routes(app)
        async with asyncio.TaskGroup() as roles, serve(app, settings.mirror_host, settings.mirror_port, shutdown_timeout=1):
            await roles.create_task(mirror.run())
