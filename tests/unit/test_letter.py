from dataclasses import replace
from datetime import UTC, datetime

import pytest

from service.dlq.letter import BadLetterIdError, DeadLetter, Headers, headers_of, parse_id
from service.mirror.entry import Failure
from tests.folding import FakeRecord

FAILURE = Failure("KeyError", "'asset_id'", 2)
RECORD = FakeRecord(
    b"body", 7, (("cloud", b"acme"), ("dlq-topic", b"theirs"), ("cloud", b"\xff")), "notifications", 3, b"key", 1_001
)


def dead(record: FakeRecord, failure: Failure = FAILURE) -> FakeRecord:
    return replace(record, headers=tuple(headers_of(record, failure)), topic="dlq", partition=0, offset=40, timestamp=2_500)


def test_a_dead_letter_tells_its_origin_and_reason_and_gives_the_record_back_byte_for_byte() -> None:
    letter = DeadLetter.read(dead(RECORD))
    assert letter is not None
    assert (letter.key, letter.value, tuple(letter.headers)) == (RECORD.key, RECORD.value, RECORD.headers)
    assert (letter.origin.topic, letter.origin.partition, letter.origin.offset) == ("notifications", 3, 7)
    assert letter.origin.timestamp == 1_001
    assert letter.failure == FAILURE
    assert (letter.id, letter.failed_at) == ("0:40", datetime(1970, 1, 1, 0, 0, 2, 500_000, tzinfo=UTC))


def test_a_dead_letter_that_dies_again_keeps_one_set_of_our_headers_for_each_time() -> None:
    once = dead(RECORD)
    twice = DeadLetter.read(dead(once))
    assert twice is not None
    assert tuple(twice.headers) == once.headers


def test_a_long_or_unprintable_reason_is_shortened_and_escaped() -> None:
    letter = DeadLetter.read(dead(RECORD, Failure("ValueError", "\ud800" + "x" * 100_000, 2)))
    assert letter is not None
    assert letter.failure.message.startswith("\\ud800xxx")
    assert len(letter.failure.message) < 10_000


@pytest.mark.parametrize("headers", [(), RECORD.headers, (*dead(RECORD).headers[:-1], ("dlq-attempts", b"many"))])
def test_what_no_mirror_wrote_is_no_dead_letter(headers: Headers) -> None:
    assert DeadLetter.read(replace(RECORD, headers=tuple(headers))) is None


@pytest.mark.parametrize("text", ["", "1", "1:", ":1", "a:b", "-1:2", "1:2:3"])
def test_an_id_is_two_numbers(text: str) -> None:
    with pytest.raises(BadLetterIdError):
        parse_id(text)


def test_an_id_is_read_whatever_its_zeros() -> None:
    assert parse_id("0:007") == "0:7"
