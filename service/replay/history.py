"""What the log says about one asset, from its first notification to its last."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple

from schemas.asset import Asset, AssetKey
from schemas.change import Change
from schemas.event import PUBLIC_FIELDS
from schemas.folder import FolderAct, FolderEvent, Statement
from schemas.notification import Occasion
from service.database import Pool, reachable
from service.errors import MediamirrorError
from service.kafka import topic_bounds
from service.mirror.book import Book, Step
from service.mirror.entry import Check, Entry, Record, entries_of
from service.replay.subject import AmbiguousAssetError, Subject
from service.settings import Settings
from service.signatures import check_of
from service.sql import query
from service.topic import read_topic

_MOVES = ("notification-type", b"move_or_rename_asset_folder")
# The revision counts arrivals, and the log is read in another order here.
FIELDS = tuple(name for name in PUBLIC_FIELDS if name not in ("cloud", "asset_id", "revision"))


class NothingKnownError(MediamirrorError):
    """The log says nothing about the asset {asset}. What Kafka's retention has removed is gone."""


class NotYetError(MediamirrorError):
    """The log says nothing about the asset {asset} before {first}."""


class Failed(NamedTuple):
    """What the sync log says of a record that the mirror could not process."""

    place: int  # of the first of its statements that were not applied
    reason: str


@dataclass(frozen=True, slots=True)
class Told:
    """A statement, and where it stands; None: the record could not be processed."""

    entry: Entry
    statement: Statement | None

    @property
    def occasion(self) -> Occasion:
        """When it says that it happened; of what can't be read, when it came."""
        return self.entry.occasion or Occasion(datetime.fromtimestamp(self.entry.record.timestamp / 1000, UTC))

    @property
    def type(self) -> str | None:
        """Of its notification, if that can be told."""
        return self.entry.envelope and self.entry.envelope.notification_type

    @property
    def order(self) -> tuple[str, int, int]:
        """Its place: by clock; what was told twice, in the order of the log."""
        assert self.statement is not None  # noqa: S101  # what failed has none
        return self.statement.clock, self.entry.record.partition, self.entry.record.offset


@dataclass(frozen=True, slots=True)
class Moment:
    """What a notification did to the asset."""

    told: Told
    changed: dict[str, tuple[object, object]]  # field -> (from, to)
    asset: Asset | None  # after it; None while nothing but questions is known
    reason: str | None = None  # of a question to the account, or of a failure

    @property
    def has_failed(self) -> bool:
        """Whether the record could not be processed."""
        return self.told.statement is None


@dataclass
class _Finding:
    """What a reading of the log has gathered."""

    subject: Subject
    known: Mapping[tuple[int, int], Failed]  # by partition and offset
    check: Check | None = None
    told: list[Told] = field(default_factory=list)
    moves: list[Told] = field(default_factory=list)
    failed: dict[tuple[int, int], Moment] = field(default_factory=dict)  # by partition and offset
    nameless: bool = False  # whether some bodies go by names alone

    def add(self, record: Record, needles: Sequence[bytes]) -> None:
        value = record.value or b""
        self.nameless = self.nameless or (b"public_id" in value and b'"asset_id"' not in value)
        named = record.key == self.subject.asset_id.encode() or any(needle in value for needle in needles)
        if not named and _MOVES not in record.headers:
            return
        known = self.known.get((record.partition, record.offset))
        for entry in entries_of(record, self.check):
            if entry.failure and named:
                self._fail(entry, entry.reason or entry.failure.message)
            for place, statement in enumerate(entry.statements, start=entry.place):
                if known is None or place < known.place:
                    self._hear(entry, statement)
                elif self.subject.is_meant(entry.cloud, statement):
                    self._fail(entry, known.reason)

    def _fail(self, entry: Entry, reason: str) -> None:
        where = entry.record.partition, entry.record.offset
        self.failed.setdefault(where, Moment(Told(entry, None), {}, None, reason))

    def _hear(self, entry: Entry, statement: Statement) -> None:
        self.subject = self.subject.learned(entry.cloud, statement)
        if isinstance(statement, FolderEvent):
            if statement.act is FolderAct.MOVED and self.subject.cloud in (None, entry.cloud):
                self.moves.append(Told(entry, statement))
        elif self.subject.is_meant(entry.cloud, statement) or self.subject.is_rivalled(entry.cloud, statement):
            self.told.append(Told(entry, statement))


async def read_failures(settings: Settings, pool: Pool, subject: Subject) -> dict[tuple[int, int], Failed]:
    """Give the records, by partition and offset, that the mirror could not process, as far as the sync log reaches back.

    Those that it has applied to the asset since are not among them.
    """
    with reachable():
        rows = await pool.fetch(query("subject", "failures"), settings.notifications_topic, subject.asset_id)
    return {(row["kafka_partition"], row["kafka_offset"]): Failed(row["ordinal"], row["reason"]) for row in rows}


async def history(
    settings: Settings,
    subject: Subject,
    failures: Mapping[tuple[int, int], Failed] = MappingProxyType({}),
    *,
    progress: Callable[[int], None],
    expect: Callable[[int], None],
) -> list[Moment]:
    """Read the log from its beginning to its end of now, and give the asset's moments in clock order.

    What could not be processed is among them, by its time. `failures`: what is known to have failed when it was to be written.
    `expect` is told how many notifications there are to read, `progress` how many were read. It is read a second time if the
    asset turns out to have had other names, by which older bodies may mean it. Raises `NothingKnownError`,
    `AmbiguousAssetError` or `NoSuchTopicError`.
    """
    topic = settings.notifications_topic
    check = check_of(settings)
    ranges = await topic_bounds(settings, topic)
    while True:
        expect(sum(latest - earliest for earliest, latest in ranges.values()))
        finding = _Finding(subject, failures, check)
        needles = subject.needles()
        async with aclosing(read_topic(settings, topic, ranges)) as batches:
            async for records in batches:
                for record in records:
                    finding.add(record, needles)
                progress(len(records))
        if not finding.nameless or finding.subject == subject:
            break
        subject = finding.subject
    failed = list(finding.failed.values())
    if failed and not finding.told:
        return sorted(failed, key=_event_time)
    return sorted([*moments(finding.subject, [*finding.told, *finding.moves]), *failed], key=_event_time)


def moments(subject: Subject, told: Sequence[Told]) -> list[Moment]:
    """Fold statements in clock order, and give what they did to the asset."""
    clouds = sorted({one.entry.cloud for one in told if one.statement and subject.is_meant(one.entry.cloud, one.statement)})
    if not clouds:
        raise NothingKnownError(asset=subject.asset_id)
    if len(clouds) > 1:
        raise AmbiguousAssetError(asset=subject.asset_id, known=", ".join(f"{subject.asset_id} of {cloud}" for cloud in clouds))
    key = AssetKey(clouds[0], subject.asset_id)
    book = Book((), {})
    ours = {key}
    found: list[tuple[AssetKey, Moment]] = []
    for one in sorted((one for one in told if one.entry.cloud == key.cloud), key=attrgetter("order")):
        if isinstance(one.statement, FolderEvent):
            _, steps = book.apply_to_folders(key.cloud, one.statement)
            found += [(step.after.key, _moment(one, step)) for step in steps]
            continue
        assert one.statement is not None  # noqa: S101  # what failed is not folded
        about = book.find(key.cloud, one.statement)
        if not (one.statement.wholes or one.statement.parts):
            found.append((about, Moment(one, {}, None, one.statement.refetch)))
            continue
        step = book.apply(about, one.statement)
        if step.adopted is not None and about == key:
            ours.add(step.adopted.key)
        found.append((about, _moment(one, step)))
    return [moment for about, moment in found if about in ours]


def state_at(asset_id: str, history: Sequence[Moment], at: datetime) -> Asset:
    """Give the asset as of a time; raises `NotYetError` when nothing was known of it."""
    known = [moment for moment in history if moment.asset is not None]
    before = [moment for moment in known if moment.told.occasion.event_time <= at]
    if not before:
        first = min((moment.told.occasion.event_time for moment in known), default=None)
        raise NotYetError(asset=asset_id, first=first.isoformat(sep=" ") if first else "now")
    asset = before[-1].asset
    assert asset is not None  # noqa: S101  # these are the known ones
    return asset


def _moment(told: Told, step: Step) -> Moment:
    reason = told.statement.refetch if isinstance(told.statement, Change) else None
    before = step.before or Asset.unseen(step.after.key)
    changed = {name: (old, new) for name in FIELDS if (old := getattr(before, name)) != (new := getattr(step.after, name))}
    return Moment(told, changed, step.after, reason)


def _event_time(moment: Moment) -> datetime:
    return moment.told.occasion.event_time
