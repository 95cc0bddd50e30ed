"""What one notification says, in pieces, and of each asset once."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import orjson
import pytest

from handlers.pieces import in_pieces, joined
from handlers.registry import interpret
from schemas.asset import AssetName, Group
from schemas.change import GONE, Change
from schemas.clock import Clock, content_clock_of
from schemas.folder import FolderAct, FolderEvent, Statement
from schemas.notification import Notification
from service.mirror.entry import Entry, Outcome, entries_of, is_large, understand_in_pieces
from service.mirror.store import Position, after
from tests.bodies import ASSET, SIGNED_AT, envelope, triggered
from tests.folding import FakeRecord, MemoryMirror

CLOCK = Clock("0001767225600000.1.0123456789abcdef")
LATER = Clock("0001767225600000.3.0123456789abcdef")


def tagged(asset_id: str, *added: str, name: str | None = None, clock: Clock = CLOCK) -> Change:
    called = None if name is None else AssetName("image", "upload", name)
    return Change(asset_id, called, clock, {Group.ALIVE: {}}, {Group.TAGS: dict.fromkeys(added, True)})


def many(count: int) -> Iterator[Change]:
    return (tagged(f"{number:032x}", "t") for number in range(count))


def deletion(count: int, **padding: str) -> FakeRecord:
    resources = [{"asset_id": f"{number:032x}"} | padding for number in range(count)]
    return record({"notification_type": "delete", "resources": resources} | triggered(1))


def record(body: dict[str, Any]) -> FakeRecord:
    raw = orjson.dumps(body)
    return FakeRecord(raw, 7, tuple(envelope(raw, body["notification_type"]).to_headers()))


def test_statements_are_cut_by_number_and_each_piece_knows_its_place() -> None:
    pieces = list(in_pieces(many(2500)))
    assert [(piece.place, len(piece.statements), piece.ends) for piece in pieces] == [
        (0, 1000, False),
        (1000, 1000, False),
        (2000, 500, True),
    ]
    assert list(chain.from_iterable(piece.statements for piece in pieces)) == list(many(2500))
    assert [piece.ends for piece in in_pieces(many(2000))] == [False, True]
    assert [tuple(piece) for piece in in_pieces(())] == [(0, [], True)]


def test_statements_are_cut_by_bytes_too_even_those_of_one_asset() -> None:
    several = (tagged(f"{number:032x}", "t" * 1000) for number in range(100))
    assert [len(piece.statements) for piece in in_pieces(several, heaviest=25_000)] == [25, 25, 25, 25]
    one = (tagged(ASSET, f"{number:01000}") for number in range(100))
    pieces = list(in_pieces(one, heaviest=25_000))
    assert [(piece.place, len(piece.statements)) for piece in pieces] == [(0, 1), (1, 1), (2, 1), (3, 1)]


def test_what_is_said_of_one_asset_is_one_statement_wherever_it_stands() -> None:
    alternating = chain.from_iterable((tagged(ASSET, f"a{n}"), tagged("b" * 32, f"b{n}")) for n in range(500))
    ours, theirs = joined(alternating)
    assert isinstance(ours, Change)
    assert isinstance(theirs, Change)
    assert (ours.asset_id, set(ours.parts[Group.TAGS])) == (ASSET, {f"a{n}" for n in range(500)})
    assert (theirs.asset_id, len(theirs.parts[Group.TAGS])) == ("b" * 32, 500)


def test_of_what_is_said_twice_the_first_counts_and_a_whole_needs_no_parts() -> None:
    removed = tagged(ASSET)._replace(parts={Group.TAGS: {"x": GONE, "y": True}})
    (both,) = joined([tagged(ASSET, "x"), removed])
    assert isinstance(both, Change)
    assert both.parts[Group.TAGS] == {"x": True, "y": True}
    whole = Change(ASSET, None, CLOCK, {Group.TAGS: {"w": True}})
    for order in ([whole, removed], [removed, whole]):
        mirror = MemoryMirror()
        (statement,) = joined(order)
        assert isinstance(statement, Change)
        assert statement.wholes[Group.TAGS] == {"w": True}
        assert not mirror.rows


def test_statements_of_different_clocks_or_versions_stay_apart() -> None:
    apart: list[Statement] = [
        tagged(ASSET, "x"),
        tagged(ASSET, "x", clock=LATER),
        tagged(ASSET, "x")._replace(content_clock=content_clock_of(SIGNED_AT - 7, CLOCK, SIGNED_AT)),
        tagged("b" * 32, "x"),
        FolderEvent(FolderAct.CREATED, "a", CLOCK),
        FolderEvent(FolderAct.CREATED, "b", CLOCK),
    ]
    assert joined(apart) == apart


def test_every_reason_to_ask_is_kept_and_a_second_name_is_one() -> None:
    asking = [tagged(ASSET)._replace(refetch=reason) for reason in ("why", None, "why", "why else")]
    (one,) = joined([*asking, tagged(ASSET, name="n"), tagged(ASSET, name="m")])
    assert isinstance(one, Change)
    assert one.refetch == "why; why else; one notification calls it by several names"
    assert one.name == AssetName("image", "upload", "n")
    (much,) = joined(tagged(ASSET)._replace(refetch=f"{number:0100}") for number in range(1000))
    assert isinstance(much, Change)
    assert len(much.refetch or "") < 1300


def test_what_comes_before_an_error_is_given_before_it_is_raised() -> None:
    def breaking() -> Iterator[Change]:
        yield from many(1500)
        raise LookupError

    pieces = in_pieces(breaking())
    assert [len(next(pieces).statements), len(next(pieces).statements)] == [1000, 500]
    with pytest.raises(LookupError):
        next(pieces)


def test_a_large_record_comes_in_pieces_and_a_small_one_whole() -> None:
    small, large = deletion(100), deletion(2200)
    assert [is_large(small), is_large(large)] == [False, True]
    (whole,) = entries_of(small)
    assert (len(whole.statements), whole.place, whole.ends, after(whole)) == (100, 0, True, Position(8))
    pieces = list(entries_of(large))
    assert [(piece.place, len(piece.statements)) for piece in pieces] == [(0, 1000), (1000, 1000), (2000, 200)]
    assert [after(piece) for piece in pieces] == [Position(7, 1000), Position(7, 2000), Position(8)]
    silent = list(entries_of(record({"notification_type": "report", "text": "x" * 100_000})))
    assert [(entry.outcome, entry.ends) for entry in silent] == [(Outcome.IGNORED, True)]


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """What is raised behind the 1500th statement, as often as there is something."""
    failures: list[Exception] = []

    def interpreted(notification: Notification) -> Iterator[Statement]:
        for number, statement in enumerate(interpret(notification)):
            if number == 1500 and failures:
                raise failures.pop()
            yield statement

    monkeypatch.setattr("service.mirror.entry.interpret", interpreted)
    return failures


def told(pieces: list[Entry]) -> set[str | None]:
    return {one.asset_id for piece in pieces for one in piece.statements if isinstance(one, Change)}


def test_a_large_record_that_can_not_be_read_to_its_end_fails_there(breaking: list[Exception]) -> None:
    breaking += [LookupError("bug"), LookupError("bug")]
    *pieces, last = understand_in_pieces(deletion(2200))
    assert [(piece.place, len(piece.statements), piece.ends) for piece in pieces] == [(0, 1000, False), (1000, 500, False)]
    assert (last.outcome, last.place, last.ends, last.statements) == (Outcome.FAILED, 1500, True, ())
    assert last.failure is not None
    assert last.failure.exception == "LookupError"


def test_a_large_record_that_fails_once_is_read_to_its_end(breaking: list[Exception]) -> None:
    breaking.append(LookupError("passing"))
    pieces = list(understand_in_pieces(deletion(2200)))
    assert told(pieces) == {f"{number:032x}" for number in range(2200)}
    assert pieces[-1].ends
    assert not any(piece.failure for piece in pieces)


def test_as_many_changes_of_one_asset_as_fit_make_no_more_than_a_few_times_their_bytes() -> None:
    names = {"asset_id": ASSET, "resource_type": "image", "type": "upload"}
    resources = [names | {"public_id": f"p{number % 3}", "added": [f"{number:x}"]} for number in range(5000)]
    body = {"notification_type": "resource_tags_changed", "resources": resources} | triggered(1)
    mirror = MemoryMirror()
    folded = mirror.apply([body])
    assert sum(len(event.state or b"") + len(event.about) for event in folded.events) < 3 * len(orjson.dumps(body))
    assert [(line.outcome, line.asset_id) for line in folded.lines] == [(Outcome.APPLIED, ASSET)]
    assert mirror.asset(ASSET).revision == 1
    assert len(mirror.asset(ASSET).tags) == 5000
