"""A record that could not be processed, as it lies on the dead-letter topic.

Key, value and headers are the record's own, byte for byte; behind its headers stand ours, always the same ones in the same
order, so that they can be taken off again even if the record has some of these names itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NewType, Self

from service.errors import MediamirrorError
from service.mirror.entry import Failure, Record

Headers = Sequence[tuple[str, bytes]]
LetterId = NewType("LetterId", str)  # "partition:offset" on the dead-letter topic

_NAMES = ("dlq-topic", "dlq-partition", "dlq-offset", "dlq-timestamp", "dlq-exception", "dlq-message", "dlq-attempts")
# All of ours must fit into what the topic takes beyond the largest record.
_LONGEST_TEXT = 8_000
_EPOCH = datetime.fromtimestamp(0, UTC)


class BadLetterIdError(MediamirrorError):
    """A dead letter's id is PARTITION:OFFSET, two whole numbers, as `mediamirror dlq list` prints it; got {text!r}."""

    exit_code = 2


def parse_id(text: str) -> LetterId:
    """Read `PARTITION:OFFSET`; raises `BadLetterIdError`."""
    partition, _, offset = text.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise BadLetterIdError(text=text)
    return LetterId(f"{int(partition)}:{int(offset)}")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the record lies on the topic that it came by, and since when."""

    topic: str
    partition: int
    offset: int
    timestamp: int  # ms


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record of the dead-letter topic, read."""

    partition: int
    offset: int
    failed_at: datetime
    origin: Origin
    failure: Failure
    key: bytes | None
    value: bytes | None
    headers: Headers  # the original ones

    @property
    def id(self) -> LetterId:
        """What the commands call it."""
        return LetterId(f"{self.partition}:{self.offset}")

    @classmethod
    def read(cls, record: Record) -> Self | None:
        """Read a record of the dead-letter topic; None for one that no mirror wrote."""
        theirs, ours = record.headers[: -len(_NAMES)], record.headers[-len(_NAMES) :]
        if tuple(name for name, _ in ours) != _NAMES:
            return None
        try:
            topic, partition, offset, timestamp, exception, message, attempts = (value.decode() for _, value in ours)
            origin = Origin(topic, int(partition), int(offset), int(timestamp))
            failure = Failure(exception, message, int(attempts))
        except (ValueError, AttributeError):  # AttributeError: a header may be null
            return None
        failed_at = _EPOCH + timedelta(milliseconds=record.timestamp)
        return cls(record.partition, record.offset, failed_at, origin, failure, record.key, record.value, tuple(theirs))

    def header(self, name: str) -> str | None:
        """Give one of the original headers as text."""
        value = dict(self.headers).get(name)
        return None if value is None else value.decode(errors="backslashreplace")


def headers_of(record: Record, failure: Failure) -> Headers:
    """Give the headers of a record's dead letter."""
    ours = (
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        failure.exception,
        failure.message,
        failure.attempts,
    )
    texts = (str(value)[:_LONGEST_TEXT].encode(errors="backslashreplace") for value in ours)
    return [*record.headers, *zip(_NAMES, texts, strict=True)]
