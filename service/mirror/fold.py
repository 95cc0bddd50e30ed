"""A batch, folded in memory: what it needs read, what the rows become, what the sync log says."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from schemas.asset import Asset, AssetKey, AssetName, key_of_name
from schemas.change import Change
from schemas.event import Cause, MediaEvent, asset_event, folder_event, purge_event
from schemas.folder import FolderAct, FolderEvent
from schemas.refetch import Refetch
from service.mirror.book import Book, Purged, Step
from service.mirror.entry import Entry, LogLine, Outcome, log_line


@dataclass(slots=True)
class Wanted:
    """The rows of one cloud that a batch may change: by id, or by name, and those in folders that it moves."""

    ids: set[str] = field(default_factory=set)
    names: set[AssetName] = field(default_factory=set)  # told without an id
    only_named: set[str] = field(default_factory=set)  # ids that these assets may have got while nobody had told their own
    moves: list[FolderEvent] = field(default_factory=list)
    folders_change: bool = False


@dataclass(frozen=True, slots=True)
class Folded:
    """What a batch writes."""

    assets: Sequence[Asset]  # changed rows only
    created: int  # how many of them were not among the rows read
    adopted: Sequence[AssetKey]  # rows that have become part of another
    gone: Mapping[AssetKey, int]  # the same, and those that never were rows, each with the revision of its last event
    folder_events: Sequence[tuple[str, FolderEvent]]  # (cloud, event), new ones only
    refetches: Sequence[Refetch]
    claims: Mapping[str, set[AssetName]]  # names that were taken, by cloud
    born: Mapping[str, Collection[str]]  # by cloud, ids of which there was no row when the batch first told of them
    events: Sequence[MediaEvent]
    lines: Sequence[LogLine]


def wanted(entries: Iterable[Entry]) -> dict[str, Wanted]:
    """Tell which rows a batch needs, by cloud, in their order: that in which clouds are locked."""
    clouds: dict[str, Wanted] = {}
    for entry in entries:
        if not entry.statements:
            continue
        cloud = entry.cloud
        need = clouds.get(cloud) or clouds.setdefault(cloud, Wanted())
        for statement in entry.statements:
            if isinstance(statement, FolderEvent):
                need.folders_change = True
                if statement.act is FolderAct.MOVED:
                    need.moves.append(statement)
                continue
            if statement.asset_id is not None:
                need.ids.add(statement.asset_id)
            elif statement.name is not None:
                need.names.add(statement.name)
            if statement.name is not None:
                # what was only named so far may turn out to be this asset
                need.only_named.add(key_of_name(cloud, statement.name).asset_id)
    return dict(sorted(clouds.items()))


def fold(
    entries: Iterable[Entry],
    rows: Iterable[Asset],
    folder_events: Mapping[str, Iterable[FolderEvent]],
    purged: Mapping[AssetKey, Purged] = MappingProxyType({}),
    *,
    silently: bool = False,
) -> Folded:
    """Apply the entries in order to the rows read.

    `folder_events`: by cloud, the moves, or all if the batch has some. `purged`: what is left of rows that are gone.
    `silently`: make no events of what happens to assets, which is a third of the work.
    """
    book = Book(rows, folder_events, purged)
    lines: list[LogLine] = []
    events: list[MediaEvent] = []
    for entry in entries:
        if not entry.statements:
            lines.append(log_line(entry, entry.asset_id, entry.outcome, reason=entry.reason, ordinal=entry.place))
            continue
        told: list[LogLine] = []
        for statement in entry.statements:
            ordinal = entry.place + len(told)
            if isinstance(statement, Change):
                step, line = _apply(book, entry, statement, ordinal)
                told.append(line)
                if step is not None and not silently:
                    events += _events_of(entry, step)
            else:
                told += _apply_to_folders(book, entry, statement, ordinal, events)
        lines += told
    return Folded(
        assets=book.dirty(),
        created=book.created(),
        adopted=book.adopted(),
        gone=book.gone(),
        folder_events=book.new_folder_events,
        refetches=book.refetches(),
        claims=book.claims,
        born=book.born,
        events=events,
        lines=lines,
    )


def _apply(book: Book, entry: Entry, change: Change, ordinal: int) -> tuple[Step | None, LogLine]:
    key = book.find(entry.cloud, change)
    if change.refetch is not None:
        book.ask(key, change.refetch)
    if not (change.wholes or change.parts):
        outcome = Outcome.FAILED if entry.failure else Outcome.REFETCH
        return None, log_line(entry, key.asset_id, outcome, reason=change.reason, ordinal=ordinal)
    step = book.apply(key, change)
    outcome = Outcome.APPLIED if step.changed else Outcome.REFETCH if change.refetch else Outcome.UNCHANGED
    return step, log_line(entry, key.asset_id, outcome, changed=step.changed, reason=change.reason, ordinal=ordinal)


def _apply_to_folders(book: Book, entry: Entry, event: FolderEvent, ordinal: int, events: list[MediaEvent]) -> list[LogLine]:
    """Note a folder event; a move has a line for each asset that it moves, too."""
    is_new, steps = book.apply_to_folders(entry.cloud, event)
    if is_new:
        events.append(folder_event(entry.cloud, event, _moment(entry), _cause(entry)))
    outcome = Outcome.APPLIED if is_new else Outcome.UNCHANGED
    what = f"folder {event.path}" + (f" to {event.to_path}" if event.to_path else "")
    lines = [log_line(entry, None, outcome, changed=("folder",) if is_new else (), reason=what, ordinal=ordinal)]
    for number, step in enumerate(steps, start=1):
        events += _events_of(entry, step)
        moved = log_line(entry, step.after.asset_id, Outcome.APPLIED, changed=step.changed, reason=what, ordinal=ordinal + number)
        lines.append(moved)
    return lines


def _events_of(entry: Entry, step: Step) -> list[MediaEvent]:
    events = [purge_event(step.adopted, _moment(entry), _cause(entry))] if step.adopted else []
    if step.changed:
        events.append(asset_event(step.before, step.after, step.changed, _moment(entry), _cause(entry)))
    return events


def _moment(entry: Entry) -> datetime:
    assert entry.occasion is not None  # noqa: S101  # statements come from a notification
    return entry.occasion.event_time


def _cause(entry: Entry) -> Cause:
    envelope, occasion, record = entry.envelope, entry.occasion, entry.record
    assert envelope is not None  # noqa: S101  # statements come from a notification
    assert occasion is not None  # noqa: S101  # the same
    return Cause(envelope.notification_type, occasion.triggered_by, record.topic, record.partition, record.offset)
