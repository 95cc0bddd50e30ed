"""Real Kafka and PostgreSQL, started once a run; each test has a topic and a database of its own."""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import orjson
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from service.database import Pool, connect, migrate
from service.embedded.stack import EmbeddedStack
from service.gateway.app import run_gateway
from service.gateway.signature import sign
from service.mirror.consumer import Mirror
from service.settings import Settings, load_settings
from service.sql import query
from service.telemetry import Metrics
from tests.bodies import CLOUD, KEY, SECRET


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedStack]:
    folder = tmp_path_factory.mktemp("stack")
    async with EmbeddedStack(folder, kafka_bootstrap=None, database_url=None, progress=print) as stack:
        yield stack


@pytest.fixture
async def settings(stack: EmbeddedStack) -> Settings:
    """Settings with a fresh database and a fresh topic."""
    name = f"test_{uuid4().hex}"
    admin = await asyncpg.connect(stack.database_url)
    try:
        await admin.execute(f"CREATE DATABASE {name} STRATEGY wal_log")
    finally:
        await admin.close()
    return settings_for(stack.kafka_bootstrap, stack.database_url.rpartition("/")[0] + f"/{name}", name)


@pytest.fixture
def administrator(settings: Settings) -> str:
    """The URL of the fresh database, for the superuser."""
    assert settings.database_url is not None
    return settings.database_url.get_secret_value()


def settings_for(kafka: str, database: str, name: str, **overrides: Any) -> Settings:
    options: dict[str, Any] = {
        "clouds": {CLOUD: {"keys": {KEY: SECRET.decode()}}},
        "kafka_bootstrap": kafka,
        "database_url": SecretStr(database),
        "notifications_topic": name,
        "notifications_partitions": 3,
        "mirror_group": name,
        "events_topic": f"{name}.events",
        "assets_topic": f"{name}.assets",
        "events_partitions": 3,
        "gateway_port": 0,
        "mirror_port": 0,
    }
    return load_settings(**options | overrides)


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator[Pool]:
    async with connect(settings) as pool:
        await migrate(pool)
        yield pool


async def eventually(condition: Callable[[], Awaitable[object]], *, seconds: float = 30) -> None:
    """Wait until a condition holds; fails when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"did not come true within {seconds} s"
        await asyncio.sleep(0.02)


@dataclass
class Mirrored:
    """A gateway and a mirror at work."""

    settings: Settings
    pool: Pool
    gateway: str
    mirror: Mirror
    session: aiohttp.ClientSession
    accepted: int = field(default=0)

    async def post(self, body: dict[str, Any] | bytes) -> int:
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        now = int(time.time())
        headers = {"X-Cld-Timestamp": str(now), "X-Cld-Signature": sign(raw, now, SECRET)}
        url = f"{self.gateway}/webhooks/cloudinary/{CLOUD}"
        async with self.session.post(url, data=io.BytesIO(raw), headers=headers) as answer:
            self.accepted += answer.status == 200
            return answer.status

    async def caught_up(self, *, seconds: float = 30) -> None:
        """Wait until every accepted webhook is in the sync log."""

        async def all_logged() -> bool:
            return await self.logged() >= self.accepted

        await eventually(all_logged, seconds=seconds)

    async def logged(self) -> int:
        """How many notifications the sync log tells of."""
        return int(await self.pool.fetchval("SELECT count(DISTINCT (kafka_partition, kafka_offset)) FROM media_sync_log"))

    async def lose(self, *asset_ids: str) -> None:
        """Lose rows, or all: no client's DELETE, which would mean that their files are to go."""
        lost = asset_ids or [row["asset_id"] for row in await self.rows()]
        await self.pool.execute(query("scratch", "remove_rows"), [CLOUD] * len(lost), lost)

    async def rows(self, table: str = "media_assets") -> list[asyncpg.Record]:
        return await self.pool.fetch(f"SELECT * FROM {table}")


@asynccontextmanager
async def mirrored_with(settings: Settings, pool: Pool) -> AsyncIterator[Mirrored]:
    metrics = Metrics(CollectorRegistry())
    async with AsyncExitStack() as running:
        gateway = await running.enter_async_context(run_gateway(settings, metrics))
        session = await running.enter_async_context(aiohttp.ClientSession())
        mirror = Mirror(settings, pool, metrics)
        task = asyncio.create_task(mirror.run())
        try:
            joined = asyncio.create_task(mirror.joined.wait())
            await asyncio.wait([task, joined], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                joined.cancel()
                task.result()
            yield Mirrored(settings, pool, gateway, mirror, session)
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.fixture
async def mirrored(settings: Settings, pool: Pool) -> AsyncIterator[Mirrored]:
    async with mirrored_with(settings, pool) as mirrored:
        yield mirrored


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    """The settings as a subprocess gets them."""
    assert settings.database_url is not None
    return {
        "MEDIAMIRROR_CLOUDS": orjson.dumps({CLOUD: {"keys": {KEY: SECRET.decode()}}}).decode(),
        "MEDIAMIRROR_KAFKA_BOOTSTRAP": str(settings.kafka_bootstrap),
        "MEDIAMIRROR_DATABASE_URL": settings.database_url.get_secret_value(),
        "MEDIAMIRROR_NOTIFICATIONS_TOPIC": settings.notifications_topic,
        "MEDIAMIRROR_NOTIFICATIONS_PARTITIONS": str(settings.notifications_partitions),
        "MEDIAMIRROR_MIRROR_GROUP": settings.mirror_group,
        "MEDIAMIRROR_GATEWAY_PORT": "0",
        "MEDIAMIRROR_MIRROR_PORT": "0",
        "MEDIAMIRROR_RELAY_PORT": "0",
        "MEDIAMIRROR_EVENTS_TOPIC": settings.events_topic,
        "MEDIAMIRROR_ASSETS_TOPIC": settings.assets_topic,
        "MEDIAMIRROR_EVENTS_PARTITIONS": str(settings.events_partitions),
    }


MEDIAMIRROR = str(Path(__file__).parents[2] / ".venv" / "bin" / "mediamirror")
