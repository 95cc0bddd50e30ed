from typing import Any

import orjson
import pytest

from handlers.registry import interpret
from schemas.notification import Notification
from service.mirror.entry import Failure, Outcome, understand, unreadable
from service.mirror.fold import fold
from tests.bodies import envelope, upload
from tests.folding import FakeRecord


def record(body: dict[str, Any]) -> FakeRecord:
    raw = orjson.dumps(body)
    return FakeRecord(raw, 0, tuple(envelope(raw, "upload").to_headers()))


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """What the handler raises on its next calls."""
    failures: list[Exception] = []

    def interpret_or_raise(notification: Notification) -> Any:
        if failures:
            raise failures.pop()
        return interpret(notification)

    monkeypatch.setattr("service.mirror.entry.interpret", interpret_or_raise)
    return failures


def test_a_handler_that_raises_is_tried_again(failures: list[Exception]) -> None:
    failures.append(RuntimeError("once"))
    entry = understand(record(upload(at=1)))
    assert entry.statements
    assert entry.failure is None


def test_a_handler_that_raises_twice_makes_a_failed_entry_that_still_tells_what_it_is(failures: list[Exception]) -> None:
    failures += [RuntimeError("twice\0"), KeyError("first")]
    entry = understand(record(upload(at=1)))
    assert entry.failure == Failure("RuntimeError", "twice\0", 2)
    assert entry.outcome is Outcome.FAILED
    assert not entry.statements
    assert entry.envelope is not None
    assert entry.occasion is not None
    assert entry.reason == "RuntimeError('twice\\x00')"


def test_strangers_records_fail_with_words() -> None:
    told = understand(FakeRecord(b"{}", 0, ()))
    assert told.failure is not None
    assert told.failure.exception == "schemas.envelope.NotOursError"
    assert str(told.reason).startswith("not a record of the gateway")


BROKEN = orjson.dumps(upload("0" * 31 + "7", at=1))[:-1]


def broken(raw: bytes, key: bytes | None = None) -> FakeRecord:
    return FakeRecord(raw, 0, tuple(envelope(raw, "upload").to_headers()), key=key)


def test_a_body_that_is_no_json_object_fails_and_asks_about_the_asset_that_can_be_read_off_it() -> None:
    entry = understand(broken(BROKEN))
    assert (entry.outcome, entry.reason) == (Outcome.FAILED, "the body is not a JSON object")
    assert entry.failure is not None
    folded = fold([entry], (), {})
    assert [(line.outcome, line.asset_id, line.reason) for line in folded.lines] == [
        (Outcome.FAILED, "0" * 31 + "7", "the body is not a JSON object")
    ]
    assert [question.key.asset_id for question in folded.refetches] == ["0" * 31 + "7"]
    assert not folded.assets
    assert not folded.events


def test_one_of_which_nothing_can_be_read_asks_about_its_key() -> None:
    folded = fold([understand(broken(b"\xff", key=b"0" * 32))], (), {})
    assert [(line.outcome, line.asset_id) for line in folded.lines] == [(Outcome.FAILED, "0" * 32)]
    assert [question.key.asset_id for question in folded.refetches] == ["0" * 32]


def test_one_of_which_nothing_can_be_told_at_all_asks_nothing() -> None:
    folded = fold([understand(broken(b"\xff", key=b"some digest"))], (), {})
    assert [(line.outcome, line.asset_id) for line in folded.lines] == [(Outcome.FAILED, None)]
    assert not folded.refetches


def test_what_postgresql_refuses_of_a_broken_body_is_left_out_of_its_line() -> None:
    entry = unreadable(understand(broken(BROKEN)))
    assert not entry.statements
    assert [line.outcome for line in fold([entry], (), {}).lines] == [Outcome.FAILED]
