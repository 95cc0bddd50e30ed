"""Runs of records, in transactions of bounded size."""

from collections.abc import Sequence
from typing import Any, cast

import orjson
import pytest

from service.mirror.applier import Applier, Run
from service.mirror.entry import Entry, LogLine, Outcome
from service.mirror.fold import fold
from service.mirror.store import Advance, FencedError, Position, Store
from tests.bodies import ASSET, delete, envelope, upload
from tests.folding import FakeRecord


class FakeStore:
    """Applies to nothing, and notes what it was given."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[tuple[int, int, int]], list[Advance]]] = []  # offset, place, statements
        self.refuses: set[int] = set()  # offsets

    async def apply(self, entries: Sequence[Entry], advances: Sequence[Advance], **_: Any) -> Sequence[LogLine]:
        if any(entry.record.offset in self.refuses and entry.failure is None for entry in entries):
            raise ValueError("refused")
        told = [(entry.record.offset, entry.place, len(entry.statements)) for entry in entries]
        self.batches.append((told, list(advances)))
        return fold(entries, (), {}).lines


class FakeGraveyard:
    def __init__(self) -> None:
        self.dead: list[int] = []

    async def write(self, failed: Sequence[Entry]) -> None:
        self.dead += [entry.record.offset for entry in failed]


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def graveyard() -> FakeGraveyard:
    return FakeGraveyard()


@pytest.fixture
def applier(store: FakeStore, graveyard: FakeGraveyard) -> Applier:
    return Applier(cast("Store", store), dead_letters=graveyard)


def record(offset: int, body: dict[str, Any], partition: int = 0) -> FakeRecord:
    raw = orjson.dumps(body)
    return FakeRecord(raw, offset, tuple(envelope(raw, body["notification_type"]).to_headers()), partition=partition)


def small(offset: int, partition: int = 0) -> FakeRecord:
    return record(offset, upload(f"{offset:032x}", at=1), partition)


def large(offset: int, count: int = 2500) -> FakeRecord:
    return record(offset, delete(*(f"{number:032x}" for number in range(count)), at=1))


def nothing(*_: Any) -> None:
    pass


async def test_small_records_go_together_and_a_large_one_alone_in_its_pieces(applier: Applier, store: FakeStore) -> None:
    runs = [
        Run(0, [small(3), large(4), small(5)], Position(2)),
        Run(7, [small(9, 7)], Position(9)),
    ]
    await applier.apply(runs, nothing)
    assert store.batches == [
        ([(3, 0, 1)], [Advance(0, Position(2), Position(4))]),
        ([(4, 0, 1000)], [Advance(0, Position(4), Position(4, 1000))]),
        ([(4, 1000, 1000)], [Advance(0, Position(4, 1000), Position(4, 2000))]),
        ([(4, 2000, 500)], [Advance(0, Position(4, 2000), Position(5))]),
        ([(5, 0, 1), (9, 0, 1)], [Advance(0, Position(5), Position(6)), Advance(7, Position(9), Position(10))]),
    ]


@pytest.mark.parametrize("place", [0, 1000, 2000])
async def test_a_record_is_taken_up_at_its_place_and_left_at_another(applier: Applier, store: FakeStore, place: int) -> None:
    await applier.apply([Run(0, [large(4)], Position(4, place))], nothing)
    assert [told[0][1] for told, _ in store.batches] == [0, 1000, 2000][place // 1000 :]
    store.batches.clear()
    await applier.apply([Run(0, [large(4)], Position(4), Position(4, place))], nothing)
    assert [told[0][1] for told, _ in store.batches] == [0, 1000, 2000][: place // 1000]


async def test_a_record_cut_elsewhere_than_when_it_was_begun_loses_nothing(applier: Applier, store: FakeStore) -> None:
    await applier.apply([Run(0, [large(4)], Position(4, 700))], nothing)
    assert [(told[0][1], advances[0].expected) for told, advances in store.batches] == [
        (0, Position(4, 700)),
        (1000, Position(4, 1000)),
        (2000, Position(4, 2000)),
    ]
    store.batches.clear()
    await applier.apply([Run(0, [large(4, 1200)], Position(4, 5000))], nothing)
    assert [advances for _, advances in store.batches] == [[Advance(0, Position(4, 5000), Position(5))]]


async def test_a_transaction_is_bounded_by_bytes_and_by_statements(applier: Applier, store: FakeStore) -> None:
    many = [record(offset, delete(*(f"{number:032x}" for number in range(400)), at=1)) for offset in range(12)]
    await applier.apply([Run(0, many, Position(0))], nothing)
    assert [len(told) for told, _ in store.batches] == [5, 5, 2]
    store.batches.clear()
    fat = [record(offset, upload(f"{offset:032x}", at=1, context={"a": "x" * 60_000})) for offset in range(150)]
    await applier.apply([Run(0, fat, Position(0))], nothing)
    assert [len(told) for told, _ in store.batches] == [70, 70, 10]


async def test_a_record_that_is_refused_fails_alone_and_is_buried_once(
    applier: Applier, store: FakeStore, graveyard: FakeGraveyard
) -> None:
    store.refuses = {1}
    stranger = FakeRecord(b"{}", 2, ())
    lines: list[LogLine] = []
    await applier.apply(
        [Run(0, [small(0), small(1), stranger, small(3)], Position(0))], lambda _entries, _advances, told: lines.extend(told)
    )
    assert sorted(graveyard.dead) == [1, 2]
    assert [(line.kafka_offset, line.outcome) for line in lines] == [
        (0, Outcome.APPLIED),
        (1, Outcome.FAILED),
        (2, Outcome.FAILED),
        (3, Outcome.APPLIED),
    ]
    assert store.batches[-1][1] == [Advance(0, Position(3), Position(4))]


async def test_a_large_record_that_is_refused_is_buried_once_and_left(
    applier: Applier, store: FakeStore, graveyard: FakeGraveyard
) -> None:
    store.refuses = {4}
    await applier.apply([Run(0, [large(4), small(5)], Position(4, 1000))], nothing)
    assert graveyard.dead == [4]
    assert store.batches == [
        ([(4, 1000, 0)], [Advance(0, Position(4, 1000), Position(5))]),
        ([(5, 0, 1)], [Advance(0, Position(5), Position(6))]),
    ]


async def test_without_a_graveyard_nothing_moves_and_what_fails_is_only_told(store: FakeStore) -> None:
    store.refuses = {1}
    failed: list[int] = []

    def applied(entries: Sequence[Entry], *_: Any) -> None:
        failed.extend(entry.record.offset for entry in entries if entry.failure)

    applier = Applier(cast("Store", store))
    await applier.apply([Run(0, [small(0), small(1), FakeRecord(b"{}", 2, ())], Position(0))], applied)
    assert failed == [1, 2]
    assert store.batches == [([(0, 0, 1)], [])]


async def test_who_is_told_that_it_is_not_theirs_any_more_stops_at_once(applier: Applier, store: FakeStore) -> None:
    def revoked(*_: Any) -> None:
        raise FencedError

    with pytest.raises(FencedError):
        await applier.apply([Run(0, [large(4), record(5, upload(ASSET, at=1))], Position(4))], revoked)
    assert len(store.batches) == 1
