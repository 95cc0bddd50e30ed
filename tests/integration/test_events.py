"""Media events: each change once, in order, with enough in it to act."""

import asyncio
import os
import random
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from prometheus_client import CollectorRegistry
from referencing import Registry, Resource

from schemas.contract import FOLDER, documents
from schemas.event import EventType, MediaEvent
from service.database import Connection, Pool
from service.embedded.kafka import EmbeddedKafka
from service.events.relay import Relay
from service.kafka import ensure_topics, partition_bounds
from service.partitioner import partition_for
from service.settings import Settings
from service.sql import query
from service.telemetry import Metrics
from service.topic import read_topic
from tests.bodies import ASSET, BEGINNING, CLOUD, delete, rename, triggered, upload
from tests.integration.conftest import MEDIAMIRROR, Mirrored, eventually, kafka_client, mirrored_with
from tests.integration.test_order import produce

# What the mirror keeps to itself.
INTERNAL = {"clocks", "assigned_folder", "updated_at"}


@asynccontextmanager
async def relaying(settings: Settings, pool: Pool) -> AsyncIterator[Relay]:
    relay = Relay(settings, pool, Metrics(CollectorRegistry()))
    task = asyncio.create_task(relay.run())
    try:
        await relay.leading.wait()
        yield relay
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def relayed(mirrored: Mirrored) -> AsyncIterator[Mirrored]:
    async with relaying(mirrored.settings, mirrored.pool):
        yield mirrored


async def emptied(pool: Pool, *, seconds: float = 30) -> None:
    """Wait until the relay has sent all."""

    async def is_empty() -> bool:
        return not await pool.fetchval("SELECT count(*) FROM media_outbox")

    await eventually(is_empty, seconds=seconds)


async def read_all(settings: Settings, topic: str) -> list[Any]:
    bounds = await partition_bounds(settings, topic)
    return [record async for records in read_topic(settings, topic, bounds) for record in records]


async def events_of(settings: Settings) -> list[Any]:
    """All events, as the field's own package reads them."""
    return [
        from_binary_event(KafkaMessage(headers=dict(record.headers), key=record.key, value=record.value))
        for record in await read_all(settings, settings.events_topic)
    ]


def as_published(row: Any) -> dict[str, Any]:
    """A row as subscribers see it."""
    told = {name: value for name, value in dict(row).items() if name not in INTERNAL}
    public: dict[str, Any] = orjson.loads(orjson.dumps(told))
    return public


async def test_each_change_is_an_event_that_tells_enough_to_act(relayed: Mirrored) -> None:
    first = upload(at=1, tags=["a"])
    for body in (
        first,
        first,
        rename(at=2, to="new"),
        delete(at=3, public_id="new"),
        upload(at=4),
    ):
        assert await relayed.post(body) == 200
    await relayed.caught_up()
    await emptied(relayed.pool)
    events = await events_of(relayed.settings)
    assert [event.get_type() for event in events] == [
        "media.asset.created",
        "media.asset.renamed",
        "media.asset.deleted",
        "media.asset.restored",
    ]
    assert [event.get_extension("revision") for event in events] == ["1", "2", "3", "4"]
    assert [event.get_id() for event in events] == [f"{CLOUD}/{ASSET}/{revision}" for revision in (1, 2, 3, 4)]
    assert {(event.get_source(), event.get_subject(), event.get_extension("partitionkey")) for event in events} == {
        (f"/cloudinary/{CLOUD}", ASSET, ASSET)
    }
    assert [(event.get_time() - BEGINNING).total_seconds() for event in events] == [1, 2, 3, 4]
    renamed = events[1].get_data()
    assert renamed["changed"] == {"public_id": {"from": f"name-of-{ASSET}", "to": "new"}}
    assert renamed["asset"]["public_id"] == "new"
    assert renamed["asset"]["tags"] == ["a"]
    assert renamed["cause"].items() >= {
        "notification_type": "rename", "triggered_by": "api:333333333333333", "topic": relayed.settings.notifications_topic,
    }.items()  # fmt: skip
    (row,) = await relayed.rows()
    assert events[-1].get_data()["asset"] == as_published(row)


async def test_folders_and_purges_are_events_too(relayed: Mirrored) -> None:
    named = {"public_id": "x", "resource_type": "image", "type": "upload"}
    bodies = [
        {"notification_type": "create_folder", "folder_path": "a"} | triggered(1),
        upload(at=2, public_id="y", asset_folder="a"),
        {"notification_type": "move_or_rename_asset_folder", "from_path": "a", "to_path": "b"} | triggered(3),
        {"notification_type": "resource_tags_changed", "resources": [named | {"added": ["t"]}]} | triggered(4),
        upload("c" * 32, at=5, public_id="x", tags=None),
        {"notification_type": "delete_folder", "folder_path": "b"} | triggered(6),
    ]
    for body in bodies:
        assert await relayed.post(body) == 200
        await relayed.caught_up()
    await emptied(relayed.pool)
    told = defaultdict(list)
    for event in await events_of(relayed.settings):
        told[event.get_subject()].append((event.get_type(), event.get_extension("revision")))
    assert told["a"] == [("media.folder.created", None), ("media.folder.moved", None)]
    assert told["b"] == [("media.folder.deleted", None)]
    assert told[ASSET] == [("media.asset.created", "1"), ("media.asset.updated", "2")]
    assert told["image/upload/x"] == [("media.asset.created", "1"), ("media.asset.purged", "2")]
    assert told["c" * 32] == [("media.asset.created", "1")]
    assert await copy_of(relayed.settings) == await table_of(relayed.pool)


async def copy_of(settings: Settings) -> dict[str, Any]:
    """A complete copy of the mirror, made from `media.assets` alone."""
    copy: dict[str, Any] = {}
    for record in await read_all(settings, settings.assets_topic):
        key = record.key.decode()
        if record.value is None:
            copy.pop(key, None)
        else:
            copy[key] = orjson.loads(record.value)
    return copy


async def table_of(pool: Pool) -> dict[str, Any]:
    return {row["asset_id"]: as_published(row) for row in await pool.fetch("SELECT * FROM media_assets")}


async def test_the_compacted_topic_alone_is_a_copy_of_the_mirror(settings: Settings, pool: Pool) -> None:
    eager = {
        "cleanup.policy": "compact",
        "segment.ms": "1000",
        "min.cleanable.dirty.ratio": "0.01",
        "max.compaction.lag.ms": "1000",
    }
    admin = AIOKafkaAdminClient(**kafka_client(settings))
    await admin.start()
    await admin.create_topics([NewTopic(settings.assets_topic, 1, 1, topic_configs={"cleanup.policy": "compact"} | eager)])
    await admin.close()
    async with mirrored_with(settings, pool) as mirrored, relaying(settings, pool):
        turn = 0

        async def compacted() -> bool:
            """Write on, since only a segment that is full or old, and not the last, is compacted."""
            nonlocal turn
            turn += 1
            for number in range(20):
                assert await mirrored.post(upload(f"{number:032x}", at=turn, bytes=turn)) == 200
            await mirrored.caught_up()
            await emptied(pool)
            written = await pool.fetchval("SELECT sum(revision) FROM media_assets")
            return len(await read_all(settings, settings.assets_topic)) < int(written) / 2

        await eventually(compacted, seconds=60)
        assert await copy_of(settings) == await table_of(pool)


async def test_a_relay_stands_by_until_the_leader_is_gone(mirrored: Mirrored) -> None:
    async with relaying(mirrored.settings, mirrored.pool):
        second = Relay(mirrored.settings, mirrored.pool, Metrics(CollectorRegistry()))
        task = asyncio.create_task(second.run())
        assert await mirrored.post(upload(at=1)) == 200
        await mirrored.caught_up()
        await emptied(mirrored.pool)
        assert not second.leading.is_set()
    await asyncio.wait_for(second.leading.wait(), 10)
    assert await mirrored.post(rename(at=2, to="new")) == 200
    await mirrored.caught_up()
    await emptied(mirrored.pool)
    task.cancel()
    await asyncio.wait([task])
    assert [event.get_extension("revision") for event in await events_of(mirrored.settings)] == ["1", "2"]


def test_the_contracts_are_those_of_the_models() -> None:
    on_disk = {file.name: file.read_text() for file in FOLDER.iterdir()}
    assert on_disk == documents(), "stale: run python -m schemas.contract"


async def test_a_subscriber_written_from_the_contract_alone_works(relayed: Mirrored) -> None:
    for body in (upload(at=1), {"notification_type": "create_folder", "folder_path": "a"} | triggered(2), delete(at=3)):
        assert await relayed.post(body) == 200
    await relayed.caught_up()
    await emptied(relayed.pool)
    contract = orjson.loads((FOLDER / "asyncapi.json").read_bytes())
    registry: Registry[Any] = Registry().with_resources(
        (file.name, Resource.from_contents(orjson.loads(file.read_bytes()))) for file in FOLDER.glob("*.schema.json")
    )
    topics = {"media.events": relayed.settings.events_topic, "media.assets": relayed.settings.assets_topic}
    seen: dict[str, int] = defaultdict(int)
    for channel in contract["channels"].values():
        for record in await read_all(relayed.settings, topics[channel["address"]]):
            headers = {name: value.decode() for name, value in record.headers}
            (message,) = (one for one in channel["messages"].values() if matches(headers, one["headers"]))
            schema = {"$ref": message["payload"]["$ref"]}
            jsonschema.Draft202012Validator(schema, registry=registry).validate(orjson.loads(record.value))
            seen[message["name"]] += 1
    assert seen == {"assetEvent": 2, "folderEvent": 1, "assetState": 2}


def matches(headers: dict[str, str], schema: dict[str, Any]) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(headers))


@pytest.mark.timeout(300)
async def test_ten_thousand_notifications_and_crashes_of_everything_leave_each_revision_once_in_order(
    settings: Settings, pool: Pool, environment: dict[str, str], tmp_path: Path
) -> None:
    kafka = EmbeddedKafka(tmp_path, progress=print)
    await kafka.start()
    settings = settings.model_copy(update=kafka.access)
    here = {
        "MEDIAMIRROR_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "MEDIAMIRROR_KAFKA_SASL_PASSWORD": kafka.access["kafka_sasl_password"].get_secret_value(),
    }
    env = os.environ | environment | here | {"MEDIAMIRROR_MIRROR_BATCH": "50"}
    shuffler = random.Random(3)
    assets = [f"{number:032x}" for number in range(500)]
    bodies = [history_step(asset, step) for asset in assets for step in range(20)]
    shuffler.shuffle(bodies)
    await ensure_topics(settings)
    await produce(settings, CLOUD, bodies, scattered=True)

    async def start(role: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(MEDIAMIRROR, role, env=env)

    async def past(share: float) -> bool:
        applied = await pool.fetchval("SELECT coalesce(sum(next_offset), 0) FROM media_offsets")
        return bool(applied >= len(bodies) * share)

    roles = {"mirror": await start("mirror"), "relay": await start("relay")}
    try:
        for share, victim in (
            (0.1, "relay"),
            (0.2, "mirror"),
            (0.35, "relay"),
            (0.45, "kafka"),
            (0.6, "mirror"),
            (0.75, "relay"),
        ):
            await eventually(lambda share=share: past(share), seconds=60)  # type: ignore[misc]
            if victim == "kafka":
                await kafka.kill()
                await kafka.start()
                continue
            roles[victim].send_signal(signal.SIGKILL)
            await roles[victim].wait()
            roles[victim] = await start(victim)
        await eventually(lambda: past(1), seconds=90)
        await emptied(pool, seconds=60)
    finally:
        for process in roles.values():
            process.terminate()
        assert [await process.wait() for process in roles.values()] == [0, 0]
    try:
        revisions: dict[str, list[int]] = defaultdict(list)
        last: dict[str, Any] = {}
        ids: set[str] = set()
        for event in await events_of(settings):
            if event.get_id() in ids:
                continue
            ids.add(event.get_id())
            revisions[event.get_subject()].append(int(event.get_extension("revision")))
            last[event.get_subject()] = event.get_data()["asset"]
        table = await table_of(pool)
        assert set(revisions) == set(assets) == set(table)
        for asset, row in table.items():
            assert revisions[asset] == list(range(1, row["revision"] + 1)), asset
            assert last[asset] == row
        assert await copy_of(settings) == table
    finally:
        await kafka.stop()


def history_step(asset: str, step: int) -> dict[str, Any]:
    match step % 4:
        case 0:
            return upload(asset, at=step)
        case 1:
            return rename(asset, at=step, to=f"{asset}-{step}")
        case 2:
            resource = {"asset_id": asset, "public_id": "x", "resource_type": "image", "type": "upload", "added": [f"tag{step}"]}
            return {"notification_type": "resource_tags_changed", "resources": [resource]} | triggered(step)
        case _:
            return delete(asset, at=step)


async def test_what_is_already_there_sends_nothing(relayed: Mirrored) -> None:
    bodies = [upload(f"{number:032x}", at=1) for number in range(50)]
    for body in bodies * 3:
        assert await relayed.post(body) == 200
    await relayed.caught_up()
    await emptied(relayed.pool)
    assert len(await read_all(relayed.settings, relayed.settings.events_topic)) == 50


async def test_the_mirror_and_the_relay_do_not_wait_for_each_other(settings: Settings, pool: Pool) -> None:
    async with mirrored_with(settings, pool) as mirrored:
        assert await mirrored.post(upload(at=1)) == 200
        await mirrored.caught_up()
        assert await pool.fetchval("SELECT count(*) FROM media_outbox") == 1
    async with relaying(settings, pool):
        await emptied(pool)


async def put(pool: Connection | Pool, asset: str, revision: int, state: bytes | None = b"{}") -> None:
    """Put an event in the outbox, as the mirror does."""
    told = MediaEvent(
        CLOUD, asset, EventType.UPDATED, f"{CLOUD}/{asset}/{revision}", BEGINNING, revision, state, b'{"changed":{}}'
    )
    await pool.copy_records_to_table("media_outbox", records=[told], columns=MediaEvent._fields)


async def test_a_backlog_is_sent_in_the_order_of_revisions_each_once(settings: Settings, pool: Pool) -> None:
    assets, revisions = [f"{number:032x}" for number in range(5)], range(1, 701)
    told = [
        MediaEvent(CLOUD, asset, EventType.UPDATED, f"{asset}/{revision}", BEGINNING, revision, state, b'{"changed":{}}')
        for revision in revisions
        for asset in assets
        # so much that a partition's share of what is read at once fills several of Kafka's batches
        for state in [orjson.dumps({"revision": revision, "filling": random.Random(revision).randbytes(1000).hex()})]
    ]
    await pool.copy_records_to_table("media_outbox", records=told, columns=MediaEvent._fields)
    async with relaying(settings, pool):
        await emptied(pool)
    sent = defaultdict(list)
    for event in await events_of(settings):
        sent[event.get_subject()].append(int(event.get_extension("revision")))
        assert event.get_data()["asset"]["revision"] == sent[event.get_subject()][-1]
    assert sent == {asset: list(revisions) for asset in assets}
    kept = defaultdict(list)
    for record in await read_all(settings, settings.assets_topic):
        kept[record.key.decode()].append(orjson.loads(record.value)["revision"])
    assert kept == sent


async def test_the_largest_event_is_sent_in_its_turn(settings: Settings, pool: Pool) -> None:
    largest = orjson.dumps({"filling": random.Random(1).randbytes(5 * 1024**2 - 100).hex()})
    for revision, state in ((1, b"{}"), (2, largest), (3, b"{}"), (4, largest), (5, largest)):
        await put(pool, ASSET, revision, state)
    async with relaying(settings, pool):
        await emptied(pool)
    sizes = [len(record.value) for record in await read_all(settings, settings.assets_topic)]
    assert sizes == [2, len(largest), 2, len(largest), len(largest)]
    assert [event.get_extension("revision") for event in await events_of(settings)] == ["1", "2", "3", "4", "5"]


async def test_topics_with_partitions_of_their_own_number_keep_each_key_in_its_partition(settings: Settings, pool: Pool) -> None:
    admin = AIOKafkaAdminClient(**kafka_client(settings))
    await admin.start()
    await admin.create_topics([NewTopic(settings.assets_topic, 7, 1), NewTopic(settings.events_topic, 4, 1)])
    await admin.close()
    assets = [f"{number:032x}" for number in range(30)]
    for asset in assets:
        await put(pool, asset, 1)
    async with relaying(settings, pool):
        await emptied(pool)
    for topic, partitions in ((settings.assets_topic, 7), (settings.events_topic, 4)):
        found = {record.key.decode(): record.partition for record in await read_all(settings, topic)}
        assert found == {asset: partition_for(asset.encode(), range(partitions), ()) for asset in assets}


async def test_an_event_that_commits_late_is_read_before_its_assets_next(pool: Pool) -> None:
    async with pool.acquire() as late:
        transaction = late.transaction()
        await put(pool, "a", 1)
        await transaction.start()
        await put(late, "late", 1)
        await put(pool, "b", 1)
        with_kafka = await pool.fetch(query("outbox", "next"), 0, 10, 1024, [])
        await transaction.commit()
    await put(pool, "late", 2)
    then = await pool.fetch(query("outbox", "next"), 0, 10, 1024, [row["id"] for row in with_kafka])
    assert [(row["subject"], row["revision"]) for row in with_kafka] == [("a", 1), ("b", 1)]
    assert [(row["subject"], row["revision"]) for row in then] == [("late", 1), ("late", 2)]


async def test_what_is_read_at_once_is_bounded_in_bytes(pool: Pool) -> None:
    for revision in range(1, 6):
        await put(pool, ASSET, revision, b'"%b"' % (b"x" * 998))
    about = len(b'{"changed":{}}')
    for most, rows in ((1, 1), (1000, 1), (1000 + about, 2), (3 * (1000 + about), 4)):
        assert len(await pool.fetch(query("outbox", "next"), 0, 10, most, [])) == rows


async def test_the_subscriber_of_the_readme_works(relayed: Mirrored) -> None:
    for body in (upload(at=1), rename(at=2, to="new")):
        assert await relayed.post(body) == 200
    await relayed.caught_up()
    await emptied(relayed.pool)
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    code = readme.partition("```python\n")[2].partition("```\n")[0]
    # as its reader does for a Kafka that asks for a password
    code = code.replace('"bootstrap_servers": "localhost:9092"', f"**{kafka_client(relayed.settings)}")
    code = code.replace("media.events", relayed.settings.events_topic)
    subscriber = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert subscriber.stdout is not None
    async with asyncio.timeout(20):
        told = [(await subscriber.stdout.readline()).decode().split()[:2] for _ in range(2)]
    subscriber.terminate()
    await subscriber.wait()
    assert told == [["media.asset.created", ASSET], ["media.asset.renamed", ASSET]]
