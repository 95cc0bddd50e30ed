"""One record of the log, read and understood."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import structlog

from handlers.registry import HANDLERS, interpret
from schemas.change import Change
from schemas.envelope import Envelope, NotOursError
from schemas.json import NotAnObjectError
from schemas.notification import Named, Notification, parse_notification, read

log = structlog.get_logger(__name__)


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
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A record with its changes; without any, `outcome` and `reason` say why."""

    record: Record
    envelope: Envelope | None = None
    notification: Notification | None = None
    changes: list[Change] = field(default_factory=list)
    asset_id: str | None = None  # of a notification without changes
    outcome: Outcome = Outcome.IGNORED
    reason: str | None = None

    @property
    def cloud(self) -> str:
        """The cloud that a record with changes is about."""
        return self.envelope.cloud if self.envelope else ""


@dataclass(frozen=True, slots=True)
class LogLine:
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


def understand(record: Record) -> Entry:
    """Read a record; one that can't be becomes a failed entry, so that a bug or a stranger's record never stops a partition."""
    envelope = notification = None
    try:
        envelope = Envelope.from_headers(record.headers)
        notification = parse_notification(envelope, record.value)
        changes = interpret(notification)
    except (NotOursError, NotAnObjectError) as error:
        return failed(Entry(record, envelope), str(error) or "the body is not a JSON object")
    except Exception as error:
        log.exception("handler failed", partition=record.partition, offset=record.offset)
        return failed(Entry(record, envelope, notification), repr(error))
    if changes:
        return Entry(record, envelope, notification, changes)
    known = notification.type in HANDLERS
    reason = "the body names no asset" if known else "no handler for this type"
    return Entry(record, envelope, notification, asset_id=read(Named, notification.body).asset_id, reason=reason)


def failed(entry: Entry, reason: str) -> Entry:
    """Give the entry as one that could not be processed."""
    log.error("notification failed", partition=entry.record.partition, offset=entry.record.offset, reason=reason)
    return Entry(entry.record, entry.envelope, entry.notification, outcome=Outcome.FAILED, reason=reason)


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
    envelope, notification, record = entry.envelope, entry.notification, entry.record
    return LogLine(
        cloud=envelope.cloud if envelope else None,
        asset_id=asset_id,
        notification_type=envelope.notification_type if envelope else None,
        outcome=outcome,
        reason=reason,
        changed=changed,
        triggered_at=notification.triggered_at if notification else None,
        triggered_by=notification.triggered_by if notification else None,
        received_at=envelope.received_at if envelope else None,
        digest=envelope.digest if envelope else None,
        kafka_topic=record.topic,
        kafka_partition=record.partition,
        kafka_offset=record.offset,
        ordinal=ordinal,
    )
