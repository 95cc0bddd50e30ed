"""Records that name very many assets, through real Kafka and PostgreSQL, a piece at a time."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
import pytest
from prometheus_client import CollectorRegistry

from handlers.registry import interpret
from schemas.change import Change
from schemas.folder import Statement
from schemas.notification import Notification
from service.database import Pool
from service.kafka import make_producer
from service.mirror.applier import Applier, Run
from service.mirror.consumer import Mirror
from service.mirror.entry import Entry, LogLine
from service.mirror.fold import fold
from service.mirror.positions import Positions
from service.mirror.store import Advance, FencedError, Position, Store
from service.replay.history import history, read_failures
from service.replay.replay import Replay, Selection
from service.replay.subject import Subject
from service.settings import Settings
from service.telemetry import Metrics
from tests.bodies import CLOUD, delete, envelope, upload
from tests.folding import FakeRecord
from tests.integration.conftest import eventually, mirrored_with
from tests.integration.test_deadletter import letters_of, produce
from tests.integration.test_rebuild import rebuilt, verified

COUNT = 3_500  # in four pieces
SMALL = "f" * 32
Signed = tuple[bytes | None, bytes | None, Sequence[tuple[str, Any]]]


def asset(number: int) -> str:
    return f"{number:032x}"


def signed(body: dict[str, Any]) -> Signed:
    raw = orjson.dumps(body)
    return b"key", raw, envelope(raw, body["notification_type"]).to_headers()


def huge(at: float = 1) -> Signed:
    return signed(delete(*map(asset, range(COUNT)), at=at))


class KilledError(Exception):
    """What ends a mirror here, between two transactions."""


def killed_behind(position: Position, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = Positions.advance

    def advance_and_die(self: Positions, advances: Sequence[Advance]) -> None:
        advance(self, advances)
        if any(one.next == position for one in advances):
            raise KilledError

    monkeypatch.setattr(Positions, "advance", advance_and_die)


async def positions(pool: Pool) -> dict[int, Position]:
    rows = await pool.fetch("SELECT * FROM media_offsets")
    return {row["kafka_partition"]: Position(row["next_offset"], row["next_place"]) for row in rows}


async def places(pool: Pool, outcome: str = "applied") -> list[int]:
    rows = await pool.fetch("SELECT ordinal FROM media_sync_log WHERE kafka_offset = 0 AND outcome = $1 ORDER BY 1", outcome)
    return [row["ordinal"] for row in rows]


async def assert_all_applied_once(pool: Pool) -> None:
    assert await places(pool) == list(range(COUNT))
    assert await pool.fetchval("SELECT count(*) FROM media_assets WHERE deleted_at IS NOT NULL") == COUNT
    assert await pool.fetchval("SELECT count(*) FROM media_assets WHERE revision <> 1") == 0
    events = await pool.fetchrow("SELECT count(*) AS events, count(DISTINCT event_id) AS ids FROM media_outbox")
    assert events is not None
    assert (events["events"], events["ids"]) == (COUNT + 1, COUNT + 1), "and the small record's"


async def test_a_mirror_that_dies_between_two_pieces_goes_on_where_it_was_and_verify_agrees_at_every_place(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await produce(settings, huge(), signed(upload(SMALL, at=1)))
    for place in (1000, 2000, 3000):
        with monkeypatch.context() as patched:
            killed_behind(Position(0, place), patched)
            with pytest.raises(KilledError):
                await Mirror(settings, pool, Metrics(CollectorRegistry())).run()
        assert (await positions(pool))[1] == Position(0, place)
        assert await places(pool) == list(range(place))
        verdict, found = await verified(settings, pool)
        assert (verdict.read, verdict.in_flight, found) == (1, 2, [])
    async with mirrored_with(settings, pool) as mirrored:
        mirrored.accepted = 2
        await mirrored.caught_up()
    assert (await positions(pool))[1] == Position(2)
    await assert_all_applied_once(pool)
    assert (await verified(settings, pool))[1] == []


async def test_a_partition_that_changes_hands_between_two_pieces_loses_and_doubles_nothing(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await produce(settings, huge(), signed(upload(SMALL, at=1)))
    apply = Store.apply
    within, others_are_there = asyncio.Event(), asyncio.Event()

    async def apply_when_others_are_there(
        self: Store, entries: Sequence[Entry], advances: Sequence[Advance] = (), **options: Any
    ) -> Sequence[LogLine]:
        if any(advance.expected.place == 1000 for advance in advances):
            within.set()
            await others_are_there.wait()
        return await apply(self, entries, advances, **options)

    monkeypatch.setattr(Store, "apply", apply_when_others_are_there)
    members = [
        Mirror(settings.model_copy(update={"mirror_instance_id": name}), pool, Metrics(CollectorRegistry()))
        for name in ("first", "second", "third")
    ]
    running = [asyncio.create_task(members[0].run())]
    try:
        await within.wait()
        running += [asyncio.create_task(member.run()) for member in members[1:]]
        await asyncio.gather(*(member.joined.wait() for member in members[1:]))
        others_are_there.set()

        async def ended() -> bool:
            return (await positions(pool))[1] == Position(2)

        await eventually(ended, seconds=60)
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)
    await assert_all_applied_once(pool)


async def test_two_mirrors_at_one_record_are_fenced_at_every_place(settings: Settings, pool: Pool) -> None:
    store = Store(pool, settings.notifications_topic)
    await store.prepare_log()
    await store.begin_offset(0, "cluster")
    _, value, headers = huge()
    record = FakeRecord(value or b"", 0, tuple(headers), settings.notifications_topic)

    async def member() -> int:
        fenced = 0
        while (at := (await store.positions())[0][1]) < Position(1):
            try:
                await Applier(store, dead_letters=_Nowhere()).apply([Run(0, [record], at)], lambda *_: None)
            except FencedError:
                fenced += 1
        return fenced

    assert sum(await asyncio.gather(member(), member())) >= 1
    assert await places(pool) == list(range(COUNT))
    assert await pool.fetchval("SELECT count(DISTINCT event_id) FROM media_outbox") == COUNT


class _Nowhere:
    async def write(self, failed: Sequence[Entry]) -> None:
        raise AssertionError(failed)


async def test_other_partitions_go_on_while_a_large_record_is_applied(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = Store.apply

    async def small_ones_are_there() -> bool:
        return bool(await pool.fetchval("SELECT count(*) = 20 FROM media_assets WHERE deleted_at IS NULL"))

    async def apply_large_ones_last(
        self: Store, entries: Sequence[Entry], advances: Sequence[Advance] = (), **options: Any
    ) -> Sequence[LogLine]:
        if any(advance.expected.place == 1000 for advance in advances):
            await eventually(small_ones_are_there)
        return await apply(self, entries, advances, **options)

    monkeypatch.setattr(Store, "apply", apply_large_ones_last)
    await produce(settings, huge())
    await produce_elsewhere(settings, *(signed(upload(asset(10**6 + number), at=1)) for number in range(20)))
    async with mirrored_with(settings, pool) as mirrored:
        mirrored.accepted = 21
        await mirrored.caught_up()
        assert await small_ones_are_there()

        async def ended() -> bool:
            return (await positions(pool))[1] == Position(1)

        await eventually(ended)


async def produce_elsewhere(settings: Settings, *records: Signed) -> None:
    producer = make_producer(settings)
    await producer.start()
    try:
        for number, (key, value, headers) in enumerate(records):
            await producer.send_and_wait(
                settings.notifications_topic, value, key=key, partition=2 * (number % 2), headers=list(headers)
            )
    finally:
        await producer.stop()


async def test_a_replay_of_a_large_record_brings_back_what_was_lost_and_nothing_else(settings: Settings, pool: Pool) -> None:
    await produce(settings, huge(), signed(upload(SMALL, at=1)))
    async with mirrored_with(settings, pool) as mirrored:
        mirrored.accepted = 2
        await mirrored.caught_up()
        await mirrored.lose(asset(0), asset(1700), asset(COUNT - 1))
    told: list[LogLine] = []
    replay = Replay(settings, pool, Selection(), tell=told.append)
    await replay.run({1: (0, 2)}, lambda _: None)
    summary = replay.summary
    assert (summary.read, summary.applied, summary.unchanged, summary.failed, summary.complete) == (2, 1, 1, 0, True)
    assert [line.asset_id for line in told] == [asset(0), asset(1700), asset(COUNT - 1)]
    assert (await verified(settings, pool))[1] == []
    one = Replay(settings, pool, Selection(CLOUD, [Subject(CLOUD, asset(1700))]))
    await one.run({1: (0, 2)}, lambda _: None)
    assert (one.summary.read, one.summary.unchanged, one.summary.skipped) == (2, 1, 1)


Bug = Callable[[pytest.MonkeyPatch], None]


def unreadable_from_1500(patch: pytest.MonkeyPatch) -> None:
    def interpreted(notification: Notification) -> Iterator[Statement]:
        for number, statement in enumerate(interpret(notification)):
            if number == 1500:
                raise LookupError("a bug")
            yield statement

    patch.setattr("service.mirror.entry.interpret", interpreted)


def unmergeable_at_1500(patch: pytest.MonkeyPatch) -> None:
    def folded(entries: Sequence[Entry], *others: Any, **options: Any) -> Any:
        if any(isinstance(one, Change) and one.asset_id == asset(1500) for entry in entries for one in entry.statements):
            raise LookupError("a bug")
        return fold(entries, *others, **options)

    patch.setattr("service.mirror.store.fold", folded)


@pytest.mark.parametrize(("bug", "place"), [(unreadable_from_1500, 1500), (unmergeable_at_1500, 1000)])
async def test_a_large_record_that_fails_within_is_set_aside_once_and_every_tool_agrees(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch, bug: Bug, place: int
) -> None:
    await produce(settings, huge(), signed(upload(SMALL, at=1)))
    with monkeypatch.context() as patched:
        bug(patched)
        async with mirrored_with(settings, pool) as mirrored:
            mirrored.accepted = 2
            await mirrored.caught_up()

            async def ended() -> bool:
                return (await positions(pool))[1] == Position(2)

            await eventually(ended)
        assert (await places(pool), await places(pool, "failed")) == (list(range(place)), [place])
        assert {row["asset_id"] for row in await mirrored.rows()} == {*map(asset, range(place)), SMALL}
        assert [letter.failure.exception for letter in await letters_of(settings)] == ["LookupError"]
        verdict, found = await verified(settings, pool)
        assert (verdict.read, verdict.failed, found) == (2, 1, [])
        assert (await rebuilt(settings, pool)).failed == 1
        replay = Replay(settings, pool, Selection())
        await replay.run({1: (0, 2)}, lambda _: None)
        assert (replay.summary.read, replay.summary.unchanged, replay.summary.failed) == (2, 1, 1)
    for number, is_applied in ((0, True), (place, False)):
        subject = Subject(CLOUD, asset(number))
        failures = await read_failures(settings, pool, subject)
        (moment,) = await history(settings, subject, failures, progress=lambda _: None, expect=lambda _: None)
        assert (moment.has_failed, moment.told.type) == (not is_applied, "delete")
    # mended, it is as if it had never been there
    replay = Replay(settings, pool, Selection())
    await replay.run({1: (0, 2)}, lambda _: None)
    assert (replay.summary.applied, replay.summary.failed) == (1, 0)
    verdict, found = await verified(settings, pool)
    assert (verdict.failed, found) == (0, [])
