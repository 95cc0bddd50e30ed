"""Kafka goes away and comes back, under traffic."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.database import Pool
from service.embedded.kafka import EmbeddedKafka
from service.publisher import Publisher, RefusedByKafkaError
from service.settings import Settings
from service.telemetry import Metrics
from tests.bodies import upload
from tests.integration.conftest import Mirrored, eventually, mirrored_with


@pytest.fixture
async def kafka(tmp_path: Path) -> AsyncIterator[EmbeddedKafka]:
    """A broker of the test's own, to stop at will."""
    kafka = EmbeddedKafka(tmp_path, progress=print)
    await kafka.start()
    yield kafka
    await kafka.stop()


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_the_gateway_answers_503_while_kafka_is_away_and_all_recovers_by_itself(
    how: str, kafka: EmbeddedKafka, settings: Settings, pool: Pool
) -> None:
    settings = settings.model_copy(update=kafka.access | {"gateway_ack_timeout": 1.0})
    async with mirrored_with(settings, pool) as mirrored:
        statuses: list[int] = []
        sent = [0]

        async def traffic() -> None:
            while True:
                sent[0] += 1
                statuses.append(await mirrored.post(upload(f"{sent[0]:032x}", at=sent[0])))

        clients = [asyncio.create_task(traffic()) for _ in range(4)]
        try:
            await eventually(lambda: has(statuses, 200, 50))
            await (kafka.stop() if how == "stopped" else kafka.kill())
            statuses.clear()
            await eventually(lambda: has(statuses, 503, 8))
            assert 200 not in statuses[-4:]
            await eventually(lambda: answers_readyz(mirrored, 503))
            await kafka.start()
            statuses.clear()
            await eventually(lambda: has(statuses, 200, 50))
            await eventually(lambda: answers_readyz(mirrored, 200))
        finally:
            for client in clients:
                client.cancel()
            await asyncio.wait(clients)
        accepted = await mirrored.logged()
        await mirrored.caught_up()
        assert set(statuses) <= {200, 503}
        assert await mirrored.logged() >= mirrored.accepted >= 100, accepted
        assert await pool.fetchval("SELECT count(*) FROM media_assets") >= mirrored.accepted


async def has(statuses: list[int], status: int, times: int) -> bool:
    return statuses.count(status) >= times


async def answers_readyz(mirrored: Mirrored, status: int) -> bool:
    async with mirrored.session.get(f"{mirrored.admin}/readyz") as answer:
        return answer.status == status


async def test_a_record_too_large_for_kafka_is_told_apart_from_an_outage(settings: Settings) -> None:
    metrics = Metrics(CollectorRegistry())
    async with Publisher(settings, metrics) as publisher:
        await publisher.publish("key", b"small", [])
        with pytest.raises(RefusedByKafkaError, match="too_large_for_kafka"):
            await publisher.publish("k" * 12_000_000, b"small", [])
        await publisher.publish("key", b"small", [])
    assert metrics.registry.get_sample_value("mediamirror_producer_renewals_total") == 0
