"""One record of the log, read and understood."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeAlias

import asyncpg
import structlog

from handlers.registry import interpret, silence_of
from schemas.bodies import Named, read
from schemas.envelope import Envelope, NotOursError
from schemas.folder import Statement
from schemas.json import NotAnObjectError, clean_text
from schemas.notification import Occasion, parse_notification

log = structlog.get_logger(__name__)

_ASSET_ID = re.compile(rb"[0-9a-f]{32}")


class Outcome(StrEnum):
    """What became of a notification, for one asset."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    IGNORED = "ignored"
    REFETCH = "refetch"
    FAILED = "failed"


class Record(Protocol):
    """What we need of a Kafka record (aiokafka's `ConsumerRecord`)."""

    topic: str
    partition: int
    offset: int
    headers: tuple[tuple[str, bytes], ...]
    key: bytes | None
    timestamp: int  # ms

    @property
    def value(self) -> bytes | None:
        """Read-only, so that what is never null fits, too."""


Check: TypeAlias = Callable[[Record], None]  # raises what is wrong with a record


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a record could not be processed."""

    exception: str  # its class
    message: str
    attempts: int


class Entry(NamedTuple):
    """A record with its statements; without any, `outcome` and `reason` say why.

    Its body is not kept: a thousand of them are megabytes, which push all else out of the processor's caches.
    """

    record: Record
    envelope: Envelope | None = None
    occasion: Occasion | None = None
    statements: Sequence[Statement] = ()
    asset_id: str | None = None  # of a notification without statements
    outcome: Outcome = Outcome.IGNORED
    reason: str | None = None
    failure: Failure | None = None  # of a failed one

    @property
    def cloud(self) -> str:
        """The cloud that a record with statements is about."""
        return self.envelope.cloud if self.envelope else ""


class LogLine(NamedTuple):
    """A row of `media_sync_log`, in the order of its columns here; PostgreSQL adds `applied_at`."""

    cloud: str | None
    asset_id: str | None
    notification_type: str | None
    outcome: Outcome
    reason: str | None
    changed: tuple[str, ...]
    triggered_at: datetime | None
    triggered_by: str | None
    received_at: datetime | None
    digest: str | None
    kafka_topic: str
    kafka_partition: int
    kafka_offset: int
    ordinal: int


def understand(record: Record, check: Check | None = None) -> Entry:
    """Read a record; one that can't be, twice, becomes a failed entry: no bug and no stranger's record stops a partition.

    So does one that `check` refuses.
    """
    try:
        return _understand(record, check)
    except Exception:  # noqa: BLE001  # what it was is told if it happens again
        return _understand_again(record, check)


def _understand(record: Record, check: Check | None) -> Entry:
    if check is not None:
        check(record)
    envelope = Envelope.from_headers(record.headers)
    notification = parse_notification(envelope, record.value or b"")
    if statements := interpret(notification):
        return Entry(record, envelope, notification.occasion, statements)
    asset_id = read(Named, notification.body).asset_id
    return Entry(record, envelope, notification.occasion, asset_id=asset_id, reason=silence_of(notification))


def _understand_again(record: Record, check: Check | None) -> Entry:
    """Try a last time, and keep what can be told of the record for its line in the sync log."""
    told = Entry(record)
    try:
        told = told._replace(envelope=(envelope := Envelope.from_headers(record.headers)))
        told = told._replace(occasion=parse_notification(envelope, record.value or b"").occasion)
        return _understand(record, check)
    except Exception as error:
        if not isinstance(error, (NotOursError, NotAnObjectError)):
            log.exception("handler failed", partition=record.partition, offset=record.offset)
        return failed(told, error, attempts=2)


def failed(entry: Entry, error: Exception, *, attempts: int) -> Entry:
    """Give the entry as one that could not be processed."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(error, NotAnObjectError):
        message = reason = str(error) or "the body is not a JSON object"
    else:
        message = str(error)
        reason = message if isinstance(error, (NotOursError, asyncpg.PostgresError)) else repr(error)
    log.error("notification failed", partition=entry.record.partition, offset=entry.record.offset, reason=reason)
    failure = Failure(name, message, attempts)
    return Entry(
        entry.record,
        entry.envelope,
        entry.occasion,
        asset_id=_asset_of(entry.record) if entry.envelope else None,
        outcome=Outcome.FAILED,
        reason=clean_text(reason),
        failure=failure,
    )


def _asset_of(record: Record) -> str | None:
    """Give the asset that a record is about, by its key; the body may be what can't be read."""
    return record.key.decode() if record.key and _ASSET_ID.fullmatch(record.key) else None


def unreadable(entry: Entry) -> Entry:
    """Give a failed entry without what it says of itself, which PostgreSQL refuses."""
    return entry._replace(envelope=None, occasion=None)


def log_line(
    entry: Entry,
    asset_id: str | None,
    outcome: Outcome,
    *,
    changed: tuple[str, ...] = (),
    reason: str | None = None,
    ordinal: int = 0,
) -> LogLine:
    """Give the sync-log line of an entry for one of its assets."""
    envelope, occasion, record = entry.envelope, entry.occasion, entry.record
    # by position, which is twice as fast as by name
    return LogLine(
        envelope.cloud if envelope else None,
        asset_id,
        envelope.notification_type if envelope else None,
        outcome,
        reason,
        changed,
        occasion.triggered_at if occasion else None,
        occasion.triggered_by if occasion else None,
        envelope.received_at if envelope else None,
        envelope.digest if envelope else None,
        record.topic,
        record.partition,
        record.offset,
        ordinal,
    )
