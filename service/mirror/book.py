"""A batch's assets and folders, as they are after each statement."""

from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple

from handlers.merge import join, merge, newest_content, relocate
from handlers.moderation import overturned
from schemas.asset import Asset, AssetKey, AssetName, Group, key_of_name
from schemas.change import Change
from schemas.clock import Rank, epoch_of, rank_of, told_at, version_of
from schemas.folder import FolderAct, FolderEvent
from schemas.refetch import Refetch

_clock = attrgetter("clock")
_SOON = 60  # seconds in which a replica of the account may still show what was


class Step(NamedTuple):
    """An asset before and after a statement, and the groups whose fields differ."""

    before: Asset | None
    after: Asset
    changed: tuple[Group, ...]
    adopted: Asset | None = None  # the row that has become part of it


@dataclass(frozen=True, slots=True)
class Purged:
    """What is left of a row that is gone."""

    revision: int
    was: Asset | None = None  # when it was deleted by SQL; None: the mirror itself has removed it


NEVER = Purged(0)


class Book:
    """What the rows read become, and those that come back. Nothing is looked up outside it."""

    def __init__(
        self,
        rows: Iterable[Asset],
        folder_events: Mapping[str, Iterable[FolderEvent]],
        purged: Mapping[AssetKey, Purged] = MappingProxyType({}),
    ) -> None:
        self._read: Mapping[AssetKey, Asset] = {row.key: row for row in rows}
        self._now: dict[AssetKey, Asset] = dict(self._read)
        self._adopted: set[AssetKey] = set()
        self._purged = dict(purged)
        # who may be called by a name; made when a name is first looked up, which few batches do
        self._called: dict[tuple[str, AssetName], set[AssetKey]] | None = None
        self._only_named = any(key.is_name for key in self._now)  # whether some may have to be adopted
        self._seen = {cloud: {event.clock for event in events} for cloud, events in folder_events.items()}
        self._moves = {
            cloud: sorted((event for event in events if event.act is FolderAct.MOVED), key=_clock)
            for cloud, events in folder_events.items()
        }
        self._asked: dict[AssetKey, list[str]] = {}
        self.new_folder_events: list[tuple[str, FolderEvent]] = []
        self.claims: defaultdict[str, set[AssetName]] = defaultdict(set)
        self.born: defaultdict[str, set[str]] = defaultdict(set)

    def find(self, cloud: str, change: Change) -> AssetKey:
        """Give the asset that a change is about.

        A name means a live asset before a deleted one, then the one that got it last, else an asset that nobody has told of yet.
        """
        if change.asset_id is not None:
            return AssetKey(cloud, change.asset_id)
        assert change.name is not None  # noqa: S101  # a change names its asset one way or the other
        if self._called is None:
            self._called = {}
            for asset in self._now.values():
                self._index(self._called, asset)
        called = (self._now[key] for key in self._called.get((cloud, change.name), ()) if key in self._now)
        holders = [asset for asset in called if asset.name == change.name]
        if not holders:
            return key_of_name(cloud, change.name)
        return max(holders, key=lambda asset: (asset.deleted_at is None, asset.clocks.get(Group.NAME, ""), asset.asset_id)).key

    def apply(self, key: AssetKey, change: Change) -> Step:
        """Apply a change."""
        moves = self._moves.get(key.cloud, ())
        before = self._now.get(key)
        purged = self._purged.get(key, NEVER)
        if before is None:
            if key not in self._read:
                self.born[key.cloud].add(key.asset_id)
            if purged.was is not None:
                self._now[key] = purged.was
        adopted, joined = self._adopt(key, change, moves) if self._only_named else (None, ())
        merged = merge(self._now.get(key), key, change, moves)
        changed = tuple(dict.fromkeys((*joined, *merged.changed))) if joined else merged.changed
        if before is None and purged.was is not None:
            # it is told as if it were new, since that it was gone has been told
            changed = join(None, merged.asset, key, moves).changed
        # one revision a change, whatever was adopted with it
        revision = (before.revision if before else purged.revision) + bool(changed)
        after = merged.asset if merged.asset.revision == revision else merged.asset._replace(revision=revision)
        self._put(key, after)
        if before is not None and change.content_clock and (doubt := _doubt(before, change)):
            self.ask(key, doubt)
        if before is None and after.deleted_at is None and not newest_content(after.clocks):
            self.ask(key, "its upload was not seen")
        elif change.parts and (reason := overturned(after, change)):
            self.ask(key, reason)
        if (Group.NAME in changed or Group.EXISTENCE in changed) and after.deleted_at is None and (name := after.name):
            self.claims[key.cloud].add(name)
        return Step(before, after, changed, adopted)

    def apply_to_folders(self, cloud: str, event: FolderEvent) -> tuple[bool, list[Step]]:
        """Note a folder event; tells whether it is new, and what it has done to assets."""
        seen = self._seen.setdefault(cloud, set())
        if event.clock in seen:
            return False, []
        seen.add(event.clock)
        self.new_folder_events.append((cloud, event))
        if event.act is not FolderAct.MOVED:
            return True, []
        moves = self._moves.setdefault(cloud, [])
        insort(moves, event, key=_clock)
        steps: list[Step] = []
        for key, asset in sorted(self._now.items()):
            if key.cloud == cloud and (merged := relocate(asset, moves)).changed:
                self._put(key, merged.asset)
                steps.append(Step(asset, merged.asset, merged.changed))
        return True, steps

    def ask(self, key: AssetKey, reason: str) -> None:
        """Ask the account about an asset."""
        reasons = self._asked.setdefault(key, [])
        if reason not in reasons:
            reasons.append(reason)

    def dirty(self) -> list[Asset]:
        """Give the rows to write, in key order, the order in which rows are locked."""
        read = self._read.get
        return [self._now[key] for key in sorted(self._now) if self._now[key] is not read(key)]

    def created(self) -> int:
        """Count the rows that were not among those read."""
        return sum(key not in self._read for key in self._now)

    def adopted(self) -> list[AssetKey]:
        """Give the rows read that have become part of another."""
        return sorted(key for key in self._adopted if key in self._read and key not in self._now)

    def gone(self) -> Mapping[AssetKey, int]:
        """Give those that have become part of another, read or not, each with the revision of its last event."""
        return {key: self._purged[key].revision for key in sorted(self._adopted) if key not in self._now}

    def refetches(self) -> Sequence[Refetch]:
        """Give the questions to the account, in key order."""
        return [Refetch(key, reason) for key, reasons in sorted(self._asked.items()) for reason in reasons]

    def _adopt(self, key: AssetKey, change: Change, moves: Sequence[FolderEvent]) -> tuple[Asset | None, tuple[Group, ...]]:
        """Make what was only named so far part of the asset that turns out to have that name; gives it, and what that changed."""
        if change.asset_id is None or change.name is None:
            return None, ()
        named = key_of_name(key.cloud, change.name)
        other = self._now.get(named)
        if other is None or named == key:
            return None, ()
        joined = join(self._now.get(key), other, key, moves)
        del self._now[named]
        self._adopted.add(named)
        self._purged[named] = Purged(other.revision + 1)  # as its `purged` event says
        self._put(key, joined.asset)
        return other, joined.changed

    def _put(self, key: AssetKey, asset: Asset) -> None:
        self._now[key] = asset
        self._only_named = self._only_named or key.is_name
        if self._called is not None:
            self._index(self._called, asset)

    @staticmethod
    def _index(called: dict[tuple[str, AssetName], set[AssetKey]], asset: Asset) -> None:
        if (name := asset.name) is not None:
            called.setdefault((asset.cloud, name), set()).add(asset.key)


def _doubt(before: Asset, change: Change) -> str | None:
    """Tell why the account must be asked which content it has, when what is told and what is known speak of different ones."""
    told = change.content_clock
    if Group.CONTENT not in change.wholes and Group.CONTENT not in change.parts:
        return None
    known = newest_content(before.clocks)
    if version_of(told) == version_of(known):
        return None
    if told < known:
        is_odd = told_at(told) > told_at(known) and epoch_of(known) - epoch_of(told) <= _SOON
        return "it tells of older content, but later" if is_odd else None
    went_back = rank_of(told) == Rank.READING and version_of(told) < version_of(known)
    is_soon = epoch_of(told) - epoch_of(known) <= _SOON
    return "older content was read soon after newer was told of" if went_back and is_soon else None
