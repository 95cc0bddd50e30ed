"""What the log says about one asset, from its first notification to its last."""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter

from schemas.asset import Asset, AssetKey
from schemas.change import Change
from schemas.event import PUBLIC_FIELDS
from schemas.folder import FolderAct, FolderEvent, Statement
from schemas.notification import Occasion
from service.errors import MediamirrorError
from service.kafka import topic_bounds
from service.mirror.book import Book, Step
from service.mirror.entry import Check, Entry, Record, understand
from service.replay.subject import AmbiguousAssetError, Subject
from service.settings import Settings
from service.signatures import check_of
from service.topic import read_topic

_MOVES = ("notification-type", b"move_or_rename_asset_folder")
# The revision counts arrivals, and the log is read in another order here.
FIELDS = tuple(name for name in PUBLIC_FIELDS if name not in ("cloud", "asset_id", "revision"))


class NothingKnownError(MediamirrorError):
    """The log says nothing about the asset {asset}. What Kafka's retention has removed is gone."""


class NotYetError(MediamirrorError):
    """The log says nothing about the asset {asset} before {first}."""


@dataclass(frozen=True, slots=True)
class Told:
    """A statement, and where it stands."""

    entry: Entry
    statement: Statement

    @property
    def occasion(self) -> Occasion:
        """When it says that it happened."""
        assert self.entry.occasion is not None  # noqa: S101  # statements come from a notification
        return self.entry.occasion

    @property
    def type(self) -> str:
        """Of its notification."""
        assert self.entry.envelope is not None  # noqa: S101  # the same
        return self.entry.envelope.notification_type

    @property
    def order(self) -> tuple[str, int, int]:
        """Its place: by clock; what was told twice, in the order of the log."""
        return self.statement.clock, self.entry.record.partition, self.entry.record.offset


@dataclass(frozen=True, slots=True)
class Moment:
    """What a notification did to the asset."""

    told: Told
    changed: dict[str, tuple[object, object]]  # field -> (from, to)
    asset: Asset | None  # after it; None while nothing but questions is known
    reason: str | None = None  # of a question to the account


@dataclass
class _Finding:
    """What a reading of the log has gathered."""

    subject: Subject
    check: Check | None = None
    told: list[Told] = field(default_factory=list)
    moves: list[Told] = field(default_factory=list)
    nameless: bool = False  # whether some bodies go by names alone

    def add(self, record: Record, needles: Sequence[bytes]) -> None:
        value = record.value or b""
        self.nameless = self.nameless or (b"public_id" in value and b'"asset_id"' not in value)
        moves = _MOVES in record.headers
        if not moves and not any(needle in value for needle in needles):
            return
        entry = understand(record, self.check)
        for statement in entry.statements:
            self.subject = self.subject.learned(entry.cloud, statement)
            if isinstance(statement, FolderEvent):
                if statement.act is FolderAct.MOVED and self.subject.cloud in (None, entry.cloud):
                    self.moves.append(Told(entry, statement))
            elif self.subject.is_meant(entry.cloud, statement) or self.subject.is_rivalled(entry.cloud, statement):
                self.told.append(Told(entry, statement))


async def history(
    settings: Settings, subject: Subject, *, progress: Callable[[int], None], expect: Callable[[int], None]
) -> list[Moment]:
    """Read the log from its beginning to its end of now, and give the asset's moments in clock order.

    `expect` is told how many notifications there are to read, `progress` how many were read. It is read a second time if the
    asset turns out to have had other names, by which older bodies may mean it. Raises `NothingKnownError`,
    `AmbiguousAssetError` or `NoSuchTopicError`.
    """
    topic = settings.notifications_topic
    check = check_of(settings)
    ranges = await topic_bounds(settings, topic)
    while True:
        expect(sum(latest - earliest for earliest, latest in ranges.values()))
        finding = _Finding(subject, check)
        needles = subject.needles()
        async with aclosing(read_topic(settings, topic, ranges)) as batches:
            async for records in batches:
                for record in records:
                    finding.add(record, needles)
                progress(len(records))
        if not finding.nameless or finding.subject == subject:
            break
        subject = finding.subject
    return moments(finding.subject, [*finding.told, *finding.moves])


def moments(subject: Subject, told: Sequence[Told]) -> list[Moment]:
    """Fold statements in clock order, and give what they did to the asset."""
    clouds = sorted({one.entry.cloud for one in told if subject.is_meant(one.entry.cloud, one.statement)})
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
