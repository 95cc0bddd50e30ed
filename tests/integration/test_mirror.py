"""The mirror among strangers' records, retention, other mirrors and outages of PostgreSQL."""

import asyncio
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import orjson
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from prometheus_client import CollectorRegistry

from service.database import Pool, connect
from service.kafka import ensure_topics, make_producer
from service.mirror.consumer import Mirror
from service.mirror.entry import Check, Entry, understand
from service.mirror.gap import BadGapError, Gap, NoSuchOffsetError, accept
from service.mirror.positions import ForeignOffsetError, OffsetBeyondEndError, RecordsLostError
from service.mirror.store import Advance, FencedError, Position, Store
from service.settings import Settings
from service.telemetry import Metrics
from tests.bodies import ASSET, envelope, upload
from tests.folding import FakeRecord
from tests.integration.conftest import MEDIAMIRROR, Mirrored, eventually, kafka_client, mirrored_with


def record(topic: str, offset: int, body: dict[str, Any]) -> FakeRecord:
    raw = orjson.dumps(body)
    return FakeRecord(raw, offset, tuple(envelope(raw, "upload").to_headers()), topic)


async def produce(settings: Settings, *records: tuple[bytes, Sequence[tuple[str, bytes]]], partition: int = 0) -> None:
    await ensure_topics(settings)
    producer: AIOKafkaProducer = make_producer(settings)
    await producer.start()
    try:
        for value, headers in records:
            await producer.send_and_wait(settings.notifications_topic, value, partition=partition, headers=headers)
    finally:
        await producer.stop()


def signed(body: dict[str, Any]) -> tuple[bytes, Sequence[tuple[str, bytes]]]:
    raw = orjson.dumps(body)
    return raw, envelope(raw, str(body.get("notification_type"))).to_headers()


async def delete_records(settings: Settings, before: int) -> None:
    admin = AIOKafkaAdminClient(**kafka_client(settings))
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(settings.notifications_topic, 0): RecordsToDelete(before_offset=before)})
    finally:
        await admin.close()


async def test_records_of_strangers_fail_alone(settings: Settings, pool: Pool) -> None:
    junk = envelope(b"junk", "upload").to_headers()
    await produce(settings, (b"stranger's", []), signed(upload(at=1)), (b"junk", junk), signed(upload("b" * 32, at=1)))
    async with mirrored_with(settings, pool) as mirrored:
        mirrored.accepted = 4
        await mirrored.caught_up()
    log = await pool.fetch("SELECT outcome, reason FROM media_sync_log ORDER BY kafka_offset")
    assert [line["outcome"] for line in log] == ["failed", "applied", "failed", "applied"]
    assert "not a record of the gateway" in log[0]["reason"]
    assert log[2]["reason"] == "the body is not a JSON object"


async def test_a_record_that_postgresql_refuses_fails_alone(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(record: Any, check: Check | None) -> Entry:
        entry = understand(record, check)
        if record.offset == 1:
            entry.statements[0].wholes["content"]["bytes"] = 2**63  # type: ignore[union-attr, index]  # past the reader's bounds
        return entry

    monkeypatch.setattr("service.mirror.applier.understand", spoiled)
    await produce(settings, *(signed(upload(letter * 32, at=1)) for letter in "abc"))
    async with mirrored_with(settings, pool) as mirrored:
        mirrored.accepted = 3
        await mirrored.caught_up()
        assert sorted(row["asset_id"][0] for row in await mirrored.rows()) == ["a", "c"]
    log = await pool.fetch("SELECT outcome FROM media_sync_log ORDER BY kafka_offset")
    assert [line["outcome"] for line in log] == ["applied", "failed", "applied"]
    assert await pool.fetchval("SELECT next_offset FROM media_offsets WHERE kafka_partition = 0") == 3


async def test_a_batch_is_fenced_by_its_offsets(settings: Settings, pool: Pool) -> None:
    topic = settings.notifications_topic
    store = Store(pool, topic)
    await store.prepare_log()
    await store.begin_offset(0, "cluster")
    batch = [understand(record(topic, 0, upload(at=1)))]
    assert len(await store.apply(batch, [Advance(0, Position(0), Position(1))])) == 1
    with pytest.raises(FencedError):
        await store.apply([understand(record(topic, 0, upload("b" * 32, at=1)))], [Advance(0, Position(0), Position(1))])
    assert await pool.fetchval("SELECT count(*) FROM media_assets") == 1
    assert await pool.fetchval("SELECT count(*) FROM media_sync_log") == 1


async def test_two_mirrors_that_create_one_row_at_once_lose_nothing(settings: Settings, pool: Pool) -> None:
    topic = settings.notifications_topic
    store = Store(pool, topic)
    await store.prepare_log()
    await store.begin_offset(0, "cluster")
    blocker = await asyncpg.connect(settings.database_url.get_secret_value() if settings.database_url else "")
    transaction = blocker.transaction()
    await transaction.start()
    await blocker.execute("INSERT INTO media_assets (cloud, asset_id, clocks, revision) VALUES ('acme', $1, '{}', 1)", ASSET)
    applying = asyncio.create_task(
        store.apply([understand(record(topic, 0, upload(at=1)))], [Advance(0, Position(0), Position(1))])
    )

    async def waits() -> bool:
        return bool(await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    await eventually(waits)
    await transaction.commit()
    assert len(await applying) == 1
    # folded again, on the row that was there by then; the first attempt left nothing
    assert await pool.fetchval("SELECT revision FROM media_assets") == 2
    assert await pool.fetchval("SELECT array_agg(revision) FROM media_outbox") == [2]
    assert await pool.fetchval("SELECT count(*) FROM media_sync_log") == 1
    await blocker.close()


async def test_records_removed_before_they_were_read_are_said_aloud_until_the_gap_is_accepted(
    settings: Settings, pool: Pool
) -> None:
    await produce(settings, *(signed(upload(f"{number:032x}", at=1)) for number in range(5)))
    await delete_records(settings, before=3)
    mirror = Mirror(settings, pool, Metrics(CollectorRegistry()))
    with pytest.raises(RecordsLostError) as lost:
        await mirror.run()
    assert "Records 0 up to 3" in str(lost.value)
    assert "mediamirror mirror --accept-gap 0:3" in str(lost.value)
    assert await pool.fetchval("SELECT count(*) FROM media_assets") == 0
    for impossible in (Gap(0, 2), Gap(0, 6), Gap(9, 0)):
        with pytest.raises(NoSuchOffsetError):
            await accept([impossible], settings, pool)
    await accept([Gap.parse("0:3")], settings, pool)
    async with mirrored_with(settings, pool) as mirrored:
        mirrored.accepted = 2
        await mirrored.caught_up()
    assert await pool.fetchval("SELECT count(*) FROM media_assets") == 2


@pytest.mark.parametrize("text", ["", "3", "3:", ":3", "a:b", "-1:2", "1:2:3"])
def test_a_gap_is_two_numbers(text: str) -> None:
    with pytest.raises(BadGapError):
        Gap.parse(text)


async def test_offsets_of_a_topic_or_cluster_that_is_gone_are_said_aloud(settings: Settings, pool: Pool) -> None:
    await ensure_topics(settings)
    mirror = Mirror(settings, pool, Metrics(CollectorRegistry()))
    async with mirrored_with(settings, pool):
        pass
    await pool.execute("UPDATE media_offsets SET next_offset = 7 WHERE kafka_partition = 1")
    with pytest.raises(OffsetBeyondEndError, match="up to 7, but it ends at 0"):
        await mirror.run()
    await pool.execute("UPDATE media_offsets SET next_offset = 0, kafka_cluster = 'another'")
    with pytest.raises(ForeignOffsetError, match="another"):
        await mirror.run()


async def test_an_outage_of_postgresql_is_waited_out_and_costs_nothing(mirrored: Mirrored) -> None:
    assert await mirrored.post(upload(at=1)) == 200
    await mirrored.caught_up()
    await mirrored.pool.execute("ALTER TABLE media_assets RENAME TO away")
    assert await mirrored.post(upload("b" * 32, at=1)) == 200
    admin = await asyncpg.connect(mirrored.settings.database_url.get_secret_value() if mirrored.settings.database_url else "")
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
    )
    await admin.execute("ALTER TABLE away RENAME TO media_assets")
    await admin.close()
    # the connections of the mirror's pool were cut, so we look through others
    async with connect(mirrored.settings) as intact:
        looking = replace(mirrored, pool=intact)
        await looking.caught_up()
        assert {row["asset_id"] for row in await looking.rows()} == {ASSET, "b" * 32}
        assert {line["outcome"] for line in await looking.rows("media_sync_log")} == {"applied"}


@pytest.mark.timeout(240)
async def test_kill_9_in_the_middle_of_5000_notifications_loses_and_doubles_nothing(
    settings: Settings, pool: Pool, environment: dict[str, str]
) -> None:
    total = 5_000
    await ensure_topics(settings)
    producer: AIOKafkaProducer = make_producer(settings)
    await producer.start()
    sends = []
    for number in range(total):
        value, headers = signed(upload(f"{number:032x}", at=number))
        sends.append(await producer.send(settings.notifications_topic, value, key=b"%d" % number, headers=headers))
    await asyncio.gather(*sends)
    await producer.stop()

    async def count() -> int:
        return int(await pool.fetchval("SELECT count(*) FROM media_sync_log"))

    small_batches = os.environ | environment | {"MEDIAMIRROR_MIRROR_BATCH": "20"}
    killed_at = []
    for share in (0.1, 0.4, 0.7):
        mirror = await asyncio.create_subprocess_exec(MEDIAMIRROR, "mirror", env=small_batches)

        async def reached(share: float = share) -> bool:
            return await count() > total * share

        await eventually(reached, seconds=60)
        mirror.send_signal(signal.SIGKILL)
        await mirror.wait()
        killed_at.append(await count())
    assert 0 < killed_at[0] < killed_at[1] < killed_at[2] < total, "the kills came too late to prove anything"

    mirror = await asyncio.create_subprocess_exec(MEDIAMIRROR, "mirror", env=small_batches)

    async def done() -> bool:
        return await count() >= total

    try:
        await eventually(done, seconds=60)
    finally:
        mirror.terminate()
        assert await mirror.wait() == 0
    assert await count() == total
    assert await pool.fetchval("SELECT count(DISTINCT (kafka_partition, kafka_offset, ordinal)) FROM media_sync_log") == total
    assert await pool.fetchval("SELECT count(*) FROM media_assets WHERE revision = 1") == total
