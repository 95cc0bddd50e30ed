"""One record of the log, read and understood."""

import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeAlias

import asyncpg
import structlog

from handlers.pieces import in_pieces, joined
from handlers.registry import interpret, silence_of, subject_of
from schemas.change import Change
from schemas.clock import Rank, clock_of
from schemas.envelope import Envelope, NotOursError
from schemas.folder import Statement
from schemas.json import NotAnObjectError, clean_text
from schemas.notification import Notification, Occasion, parse_notification
from schemas.salvage import salvage

log = structlog.get_logger(__name__)

_LONGEST_REASON = 1_000  # characters
_EDGES_OF_TIME = (1, 9999)  # years that may be none in another time zone
_ASSET_ID = re.compile(rb"[0-9a-f]{32}")
_LARGE = 64 * 1024  # bytes; smaller bodies, which name a few thousand assets at most, are in one piece


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
    traceback: str | None = field(default=None, compare=False)  # of a bug


class Entry(NamedTuple):
    """A record with its statements, or a piece of a large one; without any, `outcome` and `reason` say why.

    A failed one has no statements but questions.

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
    note: str | None = None  # what had to become of its body; in each of its lines
    place: int = 0  # how many of the record's statements come before these
    ends: bool = True  # whether none come after them

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


def is_large(record: Record) -> bool:
    """Tell whether a record is to be read and applied in pieces."""
    return len(record.value or b"") > _LARGE


def entries_of(record: Record, check: Check | None = None) -> Iterable[Entry]:
    """Give what a record says, in pieces if it is large."""
    return understand_in_pieces(record, check) if is_large(record) else (understand(record, check),)


def understand(record: Record, check: Check | None = None) -> Entry:
    """Read a record; one that can't be, twice, becomes a failed entry: no bug and no stranger's record stops a partition.

    So does one that `check` refuses.
    """
    try:
        return _understand(record, check)
    except Exception:  # noqa: BLE001  # what it was is told if it happens again
        try:
            return _understand(record, check)
        except Exception as error:  # noqa: BLE001  # no bug may stop a partition
            return _failed_to_understand(record, error)


def understand_in_pieces(record: Record, check: Check | None = None) -> Iterator[Entry]:
    """As `understand`, a piece at a time. What can't be read from some place on fails there; what came before it stands."""
    end = 0
    error: Exception | None = None
    for _ in range(2):
        try:
            for piece in _understand_in_pieces(record, check):
                after = piece.place + len(piece.statements)
                if after > end or piece.ends:  # else it was given by the first attempt
                    end = after
                    yield piece
        except Exception as raised:  # noqa: BLE001  # no bug may stop a partition
            error = raised
        else:
            return
    assert error is not None  # noqa: S101  # it was raised twice
    yield _failed_to_understand(record, error)._replace(place=end)


def _understand(record: Record, check: Check | None) -> Entry:
    notification = _read(record, check)
    if statements := tuple(interpret(notification)):
        said = statements if len(statements) == 1 else joined(statements)
        return Entry(record, notification.envelope, notification.occasion, said, note=_note_on(notification))
    return _silent(record, notification)


def _understand_in_pieces(record: Record, check: Check | None) -> Iterator[Entry]:
    notification = _read(record, check)
    note = _note_on(notification)
    for place, statements, ends in in_pieces(interpret(notification)):
        if statements:
            yield Entry(record, notification.envelope, notification.occasion, statements, note=note, place=place, ends=ends)
        else:
            yield _silent(record, notification)


def _read(record: Record, check: Check | None) -> Notification:
    if check is not None:
        check(record)
    return parse_notification(_envelope_of(record), record.value or b"")


def _envelope_of(record: Record) -> Envelope:
    envelope = Envelope.from_headers(record.headers)
    if "\0" in envelope.cloud or "\0" in envelope.notification_type or "\0" in envelope.digest:
        raise NotOursError("not a record of the gateway's: a header holds what no table can")
    if envelope.received_at.year in _EDGES_OF_TIME:
        raise NotOursError("not a record of the gateway's: it was received at the edge of time")
    return envelope


def _note_on(notification: Notification) -> str | None:
    return "; ".join(notification.changes) if notification.changes else None


def _silent(record: Record, notification: Notification) -> Entry:
    return Entry(
        record,
        notification.envelope,
        notification.occasion,
        asset_id=subject_of(notification),
        reason=silence_of(notification),
        note=_note_on(notification),
    )


def _failed_to_understand(record: Record, error: Exception) -> Entry:
    """Give a record that can't be read with what can be told of it in the sync log."""
    told = Entry(record)
    try:
        told = told._replace(envelope=(envelope := _envelope_of(record)))
        told = told._replace(occasion=parse_notification(envelope, record.value or b"").occasion)
    except Exception:  # noqa: BLE001  # then so much the less can be told
        log.debug("nothing more can be told of the record", partition=record.partition, offset=record.offset)
    entry = failed(told, error, attempts=2)
    return _with_questions(entry) if isinstance(error, NotAnObjectError) else entry


def _with_questions(entry: Entry) -> Entry:
    """Let an entry whose body is no JSON object ask about the assets that can be read off its bytes."""
    envelope, found = entry.envelope, salvage(entry.record.value or b"")
    ids = found.asset_ids or ((entry.asset_id,) if entry.asset_id else ())
    if envelope is None or not (ids or found.name):
        return entry
    clock = clock_of(datetime.fromtimestamp(envelope.signed_at, UTC), Rank.EVENT, envelope.digest)
    asked = [Change(asset_id, None, clock, refetch=entry.reason) for asset_id in ids]
    return entry._replace(statements=asked or [Change(None, found.name, clock, refetch=entry.reason)])


def failed(entry: Entry, error: Exception, *, attempts: int) -> Entry:
    """Give the entry as one that could not be processed."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(error, NotAnObjectError):
        message = reason = str(error) or "the body is not a JSON object"
    else:
        message = str(error)
        reason = message if isinstance(error, (NotOursError, asyncpg.PostgresError)) else repr(error)
    is_bug = not isinstance(error, (NotOursError, NotAnObjectError))
    failure = Failure(name, message, attempts, "".join(traceback.format_exception(error)) if is_bug else None)
    return Entry(
        entry.record,
        entry.envelope,
        entry.occasion,
        asset_id=_asset_of(entry.record) if entry.envelope else None,
        outcome=Outcome.FAILED,
        reason=clean_text(reason),
        failure=failure,
        place=entry.place,
    )


def _asset_of(record: Record) -> str | None:
    """Give the asset that a record is about, by its key; the body may be what can't be read."""
    return record.key.decode() if record.key and _ASSET_ID.fullmatch(record.key) else None


def unreadable(entry: Entry) -> Entry:
    """Give a failed entry without what it says of itself, which PostgreSQL refuses."""
    return entry._replace(envelope=None, occasion=None, statements=())


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
    if entry.note is not None:
        reason = f"{reason}; {entry.note}" if reason else entry.note
    if reason is not None and len(reason) > _LONGEST_REASON:
        reason = f"{reason[:_LONGEST_REASON]}…"
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
