"""Events that can't be sent as they are: reduced, or set aside, and nobody else's wait for them."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import jsonschema
import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownError
from prometheus_client import CollectorRegistry
from referencing import Registry, Resource

from schemas.contract import FOLDER
from schemas.event import EventType, MediaEvent
from service.database import Pool
from service.events import alone as alone_module
from service.events.aside import drop, retry
from service.events.backlog import read_backlog
from service.events.limits import Limits
from service.events.relay import Relay
from service.settings import Settings
from service.telemetry import Metrics
from tests.bodies import ASSET, BEGINNING, CLOUD, triggered, upload
from tests.integration.conftest import MEDIAMIRROR, Mirrored, eventually, kafka_client, mirrored_with
from tests.integration.test_events import copy_of, emptied, events_of, put, read_all, relaying

ABOUT = b'{"changed":{},"cause":{}}'


def junk(size: int) -> str:
    """Text that compression makes little smaller."""
    return random.Random(size).randbytes(size // 2).hex()


async def insert(pool: Pool, asset: str, number: int, **columns: Any) -> int:
    """Put a row in the outbox as anybody might who has a client for SQL."""
    row = {
        "cloud": CLOUD,
        "subject": asset,
        "type": EventType.UPDATED,
        "event_id": f"{CLOUD}/{asset}/{number}",
        "event_time": BEGINNING,
        "revision": number,
        "state": orjson.dumps({"asset_id": asset, "revision": number}),
        "about": ABOUT,
    } | columns
    values = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    sql = f"INSERT INTO media_outbox ({', '.join(row)}) VALUES ({values}) RETURNING id"
    return int(await pool.fetchval(sql, *row.values()))


async def aside(pool: Pool) -> list[tuple[str, int | None, str | None]]:
    rows = await pool.fetch("SELECT subject, revision, reason FROM media_outbox_aside ORDER BY id")
    return [(row["subject"], row["revision"], row["reason"]) for row in rows]


async def sent(settings: Settings, asset: str) -> list[str]:
    """The revisions of an asset that are on the topic."""
    return [event.get_extension("revision") for event in await events_of(settings) if event.get_subject() == asset]


@asynccontextmanager
async def topics(settings: Settings, most: dict[str, int]) -> AsyncIterator[None]:
    """Topics that take records of so many bytes at the most."""
    admin = AIOKafkaAdminClient(**kafka_client(settings))
    await admin.start()
    await admin.create_topics(
        [NewTopic(topic, 3, 1, topic_configs={"max.message.bytes": str(size)}) for topic, size in most.items()]
    )
    await admin.close()
    yield


async def test_an_asset_too_large_for_kafka_goes_out_reduced_and_all_others_whole(settings: Settings, pool: Pool) -> None:
    named = {"asset_id": ASSET, "public_id": "x", "resource_type": "image", "type": "upload"}
    async with mirrored_with(settings, pool) as mirrored, relaying(settings, pool):
        assert await mirrored.post(upload(at=1, info={"ocr": junk(6 * 1024**2)})) == 200
        for turn in (2, 3):
            entry = {"name": f"k{turn}", "value": junk(3 * 1024**2)}
            body = {"notification_type": "resource_context_changed", "resources": [named | {"added": [entry]}]}
            assert await mirrored.post(body | triggered(turn)) == 200
            assert await mirrored.post(upload("b" * 32, at=turn, bytes=turn)) == 200
        await mirrored.caught_up()
        await emptied(pool)
    assert await sent(settings, ASSET) == ["1", "2", "3"]
    assert await sent(settings, "b" * 32) == ["1", "2"]
    last = [event.get_data() for event in await events_of(settings) if event.get_subject() == ASSET][-1]
    assert last["asset"]["revision"] == 3
    assert last["asset"]["omitted"]
    assert set(last["asset"]["omitted"]) <= set(last["omitted"])
    assert not set(last["asset"]["omitted"]) & set(last["asset"])
    assert (await copy_of(settings))[ASSET] == last["asset"]
    await obey_the_contract(settings)


async def obey_the_contract(settings: Settings) -> None:
    registry: Registry[Any] = Registry().with_resources(
        (file.name, Resource.from_contents(orjson.loads(file.read_bytes()))) for file in FOLDER.glob("*.schema.json")
    )
    for topic, schema in (
        (settings.events_topic, "media.events.asset.schema.json"),
        (settings.assets_topic, "media.assets.schema.json"),
    ):
        validator = jsonschema.Draft202012Validator({"$ref": schema}, registry=registry)
        for record in await read_all(settings, topic):
            validator.validate(orjson.loads(record.value))


@pytest.mark.parametrize(("events_take", "assets_take"), [(100_000, 100_000), (20_000, 1_000_000), (1_000_000, 5_000)])
async def test_topics_that_take_less_than_ours_get_what_they_take(
    settings: Settings, pool: Pool, events_take: int, assets_take: int
) -> None:
    async with topics(settings, {settings.events_topic: events_take, settings.assets_topic: assets_take}):
        for number in range(1, 6):
            state = {"cloud": CLOUD, "asset_id": ASSET, "revision": number, "details": {"ocr": junk(200_000)}, "etag": "e"}
            await put(pool, ASSET, number, orjson.dumps(state))
            for other in "bc":
                await put(pool, other * 32, number, orjson.dumps({"asset_id": other * 32, "revision": number}))
        async with relaying(settings, pool):
            await emptied(pool, seconds=60)
    assert await aside(pool) == []
    assert list(dict.fromkeys(await sent(settings, ASSET))) == ["1", "2", "3", "4", "5"]
    assert list(dict.fromkeys(await sent(settings, "b" * 32))) == ["1", "2", "3", "4", "5"]
    state = (await copy_of(settings))[ASSET]
    assert (state["revision"], state["etag"]) == (5, "e")
    assert state.get("omitted", []) == (["details"] if assets_take < 200_000 else [])
    event = [one.get_data() for one in await events_of(settings) if one.get_subject() == ASSET][-1]
    assert event.get("omitted", []) == (["details"] if events_take < 200_000 else [])


async def test_a_topic_that_takes_only_small_batches_gets_all_of_many_events(settings: Settings, pool: Pool) -> None:
    async with topics(settings, {settings.events_topic: 4_000, settings.assets_topic: 4_000}):
        for number in range(600):
            await put(pool, f"{number:032x}", 1, orjson.dumps({"revision": 1, "etag": junk(1000 + number)}))
        async with relaying(settings, pool):
            await emptied(pool, seconds=60)
    assert {event.get_subject() for event in await events_of(settings)} == {f"{number:032x}" for number in range(600)}
    assert not await aside(pool)


ODD: dict[str, tuple[dict[str, Any], str]] = {
    "a newer type": ({"type": "media.asset.transcribed", "about": b"{}"}, "unknown type media.asset.transcribed"),
    "a state cut off": ({"state": b'{"asset_id":'}, "its state is no JSON object"),
    "a state in another encoding": ({"state": b"\xff\xfe{}"}, "its state is no JSON object"),
    "a list for a state": ({"state": b"[1]"}, "its state is no JSON object"),
    "nothing to tell": ({"about": b""}, "what it tells is no JSON object"),
    "an empty object": ({"about": b"{}"}, "what it tells is no JSON object"),
    "no subject": ({"subject": ""}, "it has no subject"),
    "no revision": ({"revision": None}, "it is about an asset, and has no revision"),
    "a folder with a state": ({"revision": None, "type": EventType.FOLDER_CREATED}, "it has a state, and is about no asset"),
    "a time beyond Python's": ({"event_time": None}, ""),  # set below, since Python can't
    "a subject larger than a record": ({"subject": "s" * 12_000_000}, "too large"),
}


@pytest.mark.parametrize("odd", ODD)
async def test_a_row_that_can_t_be_sent_is_set_aside_and_the_others_go_on(odd: str, settings: Settings, pool: Pool) -> None:
    columns, reason = ODD[odd]
    await insert(pool, "before", 1)
    if odd == "a time beyond Python's":
        id_ = await insert(pool, ASSET, 1)
        await pool.execute("UPDATE media_outbox SET event_time = '20000-01-01' WHERE id = $1", id_)
    else:
        id_ = await insert(pool, ASSET, 1, **columns)
    await insert(pool, "after", 1)
    async with relaying(settings, pool):
        await emptied(pool)
        assert await sent(settings, "before") == await sent(settings, "after") == ["1"]
        (row,) = await pool.fetch("SELECT id, reason FROM media_outbox_aside")
        assert row["id"] == id_
        assert reason in row["reason"]


async def test_what_comes_behind_waits_in_order_until_the_first_is_retried(settings: Settings, pool: Pool) -> None:
    await insert(pool, ASSET, 1)
    await insert(pool, ASSET, 2, type="media.asset.new")
    await insert(pool, ASSET, 3)
    await insert(pool, "other", 1)
    async with relaying(settings, pool):
        await emptied(pool)
        await insert(pool, ASSET, 4)
        await emptied(pool)
        assert await aside(pool) == [(ASSET, 2, "unknown type media.asset.new"), (ASSET, 3, None), (ASSET, 4, None)]
        assert (await sent(settings, ASSET), await sent(settings, "other")) == (["1"], ["1"])
        # still not known: all wait as they did
        assert await retry(pool, {(CLOUD, ASSET)}) == 3
        await emptied(pool)
        assert [revision for _, revision, _ in await aside(pool)] == [2, 3, 4]
        await pool.execute("UPDATE media_outbox_aside SET type = $1", EventType.UPDATED)
        assert await retry(pool, {(CLOUD, ASSET)}) == 3
        await emptied(pool)
        await insert(pool, ASSET, 5)
        await emptied(pool)
    assert await aside(pool) == []
    assert await sent(settings, ASSET) == ["1", "2", "3", "4", "5"]


async def test_a_newer_relay_sends_by_itself_what_an_older_one_did_not_know(settings: Settings, pool: Pool) -> None:
    await insert(pool, ASSET, 1, type="media.asset.new")
    await insert(pool, ASSET, 2)
    async with relaying(settings, pool):
        await emptied(pool)
    assert [revision for _, revision, _ in await aside(pool)] == [1, 2]
    # what it is called stands for a version that knows it
    await pool.execute("UPDATE media_outbox_aside SET type = $1 WHERE revision = 1", EventType.UPDATED)
    async with relaying(settings, pool):
        await emptied(pool)
        assert await sent(settings, ASSET) == ["1", "2"]
    assert await aside(pool) == []


async def test_a_dropped_event_leaves_a_gap_and_those_behind_it_go_on(settings: Settings, pool: Pool) -> None:
    bad = await insert(pool, ASSET, 1, type="media.asset.new")
    await insert(pool, ASSET, 2)
    async with relaying(settings, pool):
        await emptied(pool)
        assert await drop(pool, [bad], {(CLOUD, ASSET)}) == (set(), 1)
        await emptied(pool)
    assert await sent(settings, ASSET) == ["2"]
    assert (await copy_of(settings))[ASSET]["revision"] == 2


async def test_the_state_of_an_asset_is_right_though_its_last_event_is_dropped(settings: Settings, pool: Pool) -> None:
    async with mirrored_with(settings, pool) as mirrored:
        for turn in (1, 2):
            assert await mirrored.post(upload(at=turn, bytes=turn)) == 200
            await mirrored.caught_up()
        bad = await pool.fetchval("UPDATE media_outbox SET type = 'media.asset.new' WHERE revision = 2 RETURNING id")
        async with relaying(settings, pool):
            await emptied(pool)
            assert await drop(pool, [bad], {(CLOUD, ASSET)}) == ({bad}, 1)
            await emptied(pool)
        assert await sent(settings, ASSET) == ["1"]
        assert (await copy_of(settings))[ASSET]["bytes"] == 2
    assert await aside(pool) == []


class Refusing(alone_module.Alone):
    """As if Kafka refused some records for a reason that may be its own."""

    error: KafkaError = UnknownError()
    refused: frozenset[bytes] = frozenset()

    async def _deliver(self, record: Any) -> int:
        if record[1] in self.refused:
            if isinstance(self.error, KafkaConnectionError):
                raise self.error
            raise alone_module._DoubtError((record[0], 0), self.error)
        await super()._deliver(record)
        return 0


def row(subject: str, revision: int = 1) -> MediaEvent:
    return MediaEvent(CLOUD, subject, EventType.UPDATED, f"{subject}/{revision}", BEGINNING, revision, b'{"a":1}', ABOUT)


async def alone(settings: Settings, rows: Sequence[MediaEvent], refused: set[str], error: KafkaError) -> alone_module.Outcome:
    async with Refusing(settings, Limits()) as sender:
        sender.error, sender.refused = error, frozenset(subject.encode() for subject in refused)
        return await sender.send(list(enumerate(rows)))


async def test_what_kafka_refuses_alone_while_it_takes_others_is_refused_for_good(settings: Settings, pool: Pool) -> None:
    async with relaying(settings, pool):  # makes the topics
        rows = [row("a"), row("b"), row("a", 2), row("c")]
        outcome = await alone(settings, rows, {"a"}, UnknownError())
        assert outcome.acked == [1, 3]
        assert list(outcome.refused) == [0]
        assert "UnknownError" in outcome.refused[0]


async def test_what_kafka_refuses_while_it_takes_nothing_is_an_outage(settings: Settings, pool: Pool) -> None:
    async with relaying(settings, pool):
        with pytest.raises(UnknownError):
            await alone(settings, [row("a"), row("b")], {"a", "b"}, UnknownError())
        with pytest.raises(KafkaConnectionError):
            await alone(settings, [row("a"), row("b")], {"b"}, KafkaConnectionError())


async def test_the_metrics_tell_what_waits_and_for_how_long_whoever_leads(settings: Settings, pool: Pool) -> None:
    registry = CollectorRegistry()
    for revision in (1, 2, 3):
        await insert(pool, ASSET, revision)
    await pool.execute("UPDATE media_outbox SET written_at = now() - interval '1 hour' WHERE revision = 2")
    await pool.execute("UPDATE media_outbox SET written_at = now() - interval '2 hours' WHERE revision = 1")
    async with pool.acquire() as leader:
        await leader.execute("SELECT pg_advisory_lock(hashtext('media_outbox'), 0)")
        metrics = Metrics(registry)
        task = asyncio.create_task(Relay(settings, pool, metrics).run())

        async def told() -> bool:
            return registry.get_sample_value("mediamirror_outbox") == 3

        await eventually(told)
        oldest = registry.get_sample_value("mediamirror_outbox_oldest_seconds") or 0
        assert 7200 <= oldest < 7300
        assert metrics.states["outbox"]()["late"] is True
        task.cancel()
        await asyncio.wait([task])
        await leader.execute("SELECT pg_advisory_unlock_all()")


async def test_a_backlog_beyond_what_is_counted_is_about_right(pool: Pool) -> None:
    told = [(CLOUD, "a", "t", "e", BEGINNING, 1, b"{}", ABOUT, True)] * 15_000
    await pool.copy_records_to_table("media_outbox", records=told, columns=MediaEvent._fields)

    async def about_right() -> bool:
        return 14_000 <= (await read_backlog(pool)).waiting <= 16_000

    await eventually(about_right)
    await pool.execute("DELETE FROM media_outbox WHERE id > (SELECT min(id) + 4 FROM media_outbox)")
    assert (await read_backlog(pool)).waiting == 5


async def run(*arguments: object, env: dict[str, str]) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        MEDIAMIRROR,
        "outbox",
        *map(str, arguments),
        env=os.environ | env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_the_command_lists_shows_retries_and_drops(settings: Settings, pool: Pool, environment: dict[str, str]) -> None:
    assert await run("list", env=environment) == (0, "nothing is set aside\n", "")
    bad = await insert(pool, ASSET, 1, type="media.asset.n\x1b[2Jew")
    await insert(pool, ASSET, 2)
    worse = await insert(pool, "x", 1, state=b"\x9b")
    async with relaying(settings, pool):
        await emptied(pool)

        code, out, _ = await run("list", "--json", env=environment)
        rows = [orjson.loads(line) for line in out.splitlines()]
        assert code == 0
        assert [(row["id"], row["behind"]) for row in rows] == [(bad, 1), (worse, 0)]
        assert "n\\x1b[2Jew" in (await run("list", env=environment))[1]

        code, out, _ = await run("show", worse, env=environment)
        assert code == 0
        assert "state: \\x9b" in out
        assert (await run("show", 99, env=environment))[0] == 1
        assert (await run("retry", env=environment))[0] == 2
        assert (await run("retry", bad, "--all", env=environment))[0] == 2

        assert (await run("retry", bad, env=environment))[1] == "1 to be sent, 1 behind them\n"
        await emptied(pool)
        assert len(await aside(pool)) == 3

        assert (await run("drop", bad, env=environment))[0] == 2
        code, out, _ = await run("drop", bad, "--dry-run", "--json", env=environment)
        assert (code, [orjson.loads(line)["id"] for line in out.splitlines()]) == (0, [bad])
        assert len(await aside(pool)) == 3
        code, out, _ = await run("drop", "--all", "--yes", "--json", env=environment)
        assert (code, orjson.loads(out)) == (0, {"dropped": 2, "states_kept": 0, "returned": 1})
        await emptied(pool)
    assert await aside(pool) == []
    assert await sent(settings, ASSET) == ["2"]


async def test_the_age_of_the_oldest_is_that_of_the_row_not_of_what_it_tells(mirrored: Mirrored) -> None:
    assert await mirrored.post(upload(at=1)) == 200
    await mirrored.caught_up()
    backlog = await read_backlog(mirrored.pool)
    assert backlog.waiting == 1
    assert 0 < backlog.oldest < 60 < (datetime.now(UTC) - BEGINNING).total_seconds()
