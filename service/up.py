"""Every role in one process, on an embedded Kafka and PostgreSQL unless others are named."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import SecretStr

from service.database import Pool, connect, migrate
from service.embedded.ports import is_free
from service.embedded.stack import EmbeddedStack
from service.events.relay import Relay
from service.gateway.app import run_gateway
from service.kafka import ensure_topics
from service.mirror.consumer import Mirror
from service.mirror.gap import Gap, accept
from service.running import FILE, announced, describe
from service.settings import Cloud, Settings
from service.telemetry import Metrics

log = structlog.get_logger(__name__)

DEMO_CLOUD = "demo"


@dataclass(frozen=True, slots=True)
class Site:
    """A small site that is up."""

    gateway: str
    settings: Settings
    pool: Pool


def with_demo_cloud(settings: Settings, data_dir: Path) -> Settings:
    """Give settings with one cloud of our own making, whose key and secret stay the same between runs."""
    file = data_dir / "demo-cloud.json"
    if not file.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(json.dumps({str(secrets.randbelow(9 * 10**14) + 10**14): secrets.token_urlsafe(20)}))
    keys = {key: SecretStr(secret) for key, secret in json.loads(file.read_text()).items()}
    return settings.model_copy(update={"clouds": {DEMO_CLOUD: Cloud(keys=keys)}})


@asynccontextmanager
async def run_site(
    settings: Settings,
    data_dir: Path,
    *,
    ready_file: Path | None,
    gaps: Sequence[Gap],
    progress: Callable[[str], None],
) -> AsyncIterator[Site]:
    """Run gateway, mirror and relay; gives the site once a webhook sent to it would become a row."""
    settings.require_clouds()
    metrics = Metrics()
    database_url = settings.database_url.get_secret_value() if settings.database_url else None
    async with EmbeddedStack(
        data_dir, kafka_bootstrap=settings.kafka_bootstrap, database_url=database_url, progress=progress
    ) as stack:
        settings = settings.model_copy(
            update={"kafka_bootstrap": stack.kafka_bootstrap, "database_url": SecretStr(stack.database_url)}
        )
        async with connect(settings) as pool:
            await asyncio.gather(migrate(pool), ensure_topics(settings))
            await accept(gaps, settings, pool)
            mirror = Mirror(settings, pool, metrics)
            async with asyncio.TaskGroup() as roles:
                running = [roles.create_task(role.run()) for role in (mirror, Relay(settings, pool, metrics))]
                async with run_gateway(_with_port(settings), metrics) as gateway:
                    await mirror.joined.wait()
                    files = [data_dir / FILE, *([ready_file] if ready_file else [])]
                    with announced(describe(gateway, settings), *files):
                        yield Site(gateway, settings, pool)
                for task in running:
                    task.cancel()


def _with_port(settings: Settings) -> Settings:
    """Let the gateway take any free port when its usual one is taken and nobody asked for it."""
    asked = "gateway_port" in settings.model_fields_set
    free = asked or is_free(settings.gateway_port, settings.gateway_host)
    return settings if free else settings.model_copy(update={"gateway_port": 0})
