from typing import Any

import orjson
import pytest

from handlers.registry import interpret
from schemas.notification import Notification
from service.mirror.entry import Failure, Outcome, understand
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
