"""A batch, folded in memory: what the rows become, and what the sync log says."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from handlers.merge import Merged, merge
from schemas.asset import Asset, AssetKey, AssetName, Group
from schemas.change import Change
from service.mirror.entry import Entry, LogLine, Outcome, log_line


@dataclass(frozen=True, slots=True)
class Wanted:
    """The rows that a batch may change: those with these keys, and those called by these names."""

    keys: Sequence[AssetKey]
    names: Sequence[tuple[str, AssetName]]  # (cloud, name)


@dataclass(frozen=True, slots=True)
class Folded:
    """What a batch writes."""

    assets: Sequence[Asset]  # changed rows only
    created: int  # how many of them were not among the rows read
    lines: Sequence[LogLine]


def wanted(entries: Iterable[Entry]) -> Wanted:
    """Tell which rows a batch needs."""
    keys: set[AssetKey] = set()
    names: set[tuple[str, AssetName]] = set()
    for entry in entries:
        for change in entry.changes:
            if change.asset_id is not None:
                keys.add(AssetKey(entry.cloud, change.asset_id))
            elif change.name is not None:
                keys.add(_key_of_name(entry.cloud, change.name))
                names.add((entry.cloud, change.name))
    return Wanted(sorted(keys), sorted(names))


def fold(entries: Iterable[Entry], rows: Iterable[Asset]) -> Folded:
    """Apply the entries in order to the rows read."""
    book = _Book(rows)
    lines: list[LogLine] = []
    for entry in entries:
        if not entry.changes:
            lines.append(log_line(entry, entry.asset_id, entry.outcome, reason=entry.reason))
        for ordinal, change in enumerate(entry.changes):
            merged = book.apply(entry.cloud, change)
            outcome = Outcome.APPLIED if merged.changed else Outcome.UNCHANGED
            lines.append(log_line(entry, merged.asset.asset_id, outcome, changed=merged.changed, ordinal=ordinal))
    return Folded(book.dirty(), book.created(), lines)


class _Book:
    """The batch's assets as they are after each change."""

    def __init__(self, rows: Iterable[Asset]) -> None:
        self._read: Mapping[AssetKey, Asset] = {row.key: row for row in rows}
        self._now: dict[AssetKey, Asset] = dict(self._read)
        self._called: dict[tuple[str, AssetName], set[AssetKey]] = {}
        for row in self._now.values():
            self._index(row)

    def apply(self, cloud: str, change: Change) -> Merged:
        key = AssetKey(cloud, change.asset_id) if change.asset_id is not None else self._find(cloud, change)
        merged = merge(self._now.get(key), key, change)
        self._now[key] = merged.asset
        if Group.NAME in merged.changed:
            self._index(merged.asset)
        return merged

    def dirty(self) -> list[Asset]:
        """Give the rows to write, in key order, the order in which rows are locked."""
        return [asset for key, asset in sorted(self._now.items()) if asset is not self._read.get(key)]

    def created(self) -> int:
        return len(self._now) - len(self._read)

    def _index(self, asset: Asset) -> None:
        if asset.name is not None:
            self._called.setdefault((asset.cloud, asset.name), set()).add(asset.key)

    def _find(self, cloud: str, change: Change) -> AssetKey:
        """Give the asset that holds a name: a live one before a deleted one, then the one named last."""
        assert change.name is not None  # noqa: S101  # a change names its asset one way or the other
        called = (self._now[key] for key in self._called.get((cloud, change.name), ()))
        holders = [asset for asset in called if asset.name == change.name]
        if not holders:
            return _key_of_name(cloud, change.name)
        return max(holders, key=lambda asset: (asset.deleted_at is None, asset.clocks.get(Group.NAME, ""), asset.asset_id)).key


def _key_of_name(cloud: str, name: AssetName) -> AssetKey:
    return AssetKey(cloud, str(name))
