"""What is true after a change: the only place that decides who wins.

Merging is commutative, associative and idempotent: each group, or element of a group, is a register that keeps the value with the
newest clock, and clocks are totally ordered. So the order in which notifications arrive, and how often, leaves no trace in a row.

A group's clock is that of the newest statement of its whole. An element told of later on its own has a clock of its own, under
`group.element`; an older one needs none, since the whole has decided it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from handlers.content import Told, Values, told_in_part, told_whole, united
from handlers.folders import location
from schemas.asset import COLUMNS, ELEMENTS, OF_CONTENT, VERSIONED, Asset, AssetKey, Group
from schemas.change import GONE, Change
from schemas.clock import NEVER, Clock, time_of, version_of
from schemas.folder import FolderEvent

_GROUPS = frozenset(group.value for group in Group)
_NAMES = {group: group.value for group in Group}
# Where a row holds a group's columns: (column, place, what it is when nothing is told). Elements are one column.
_PLACES = {
    group: tuple((column, Asset._fields.index(column), Asset._field_defaults[column]) for column in columns)
    for group, columns in COLUMNS.items()
}
_ELEMENTS_PLACE = {group: Asset._fields.index(group.value) for group in ELEMENTS}
_ASSET_FOLDER, _DELETED_AT, _CLOCKS, _REVISION = map(Asset._fields.index, ("asset_folder", "deleted_at", "clocks", "revision"))


class Merged(NamedTuple):
    """An asset after a change, and the groups whose fields now differ (empty: nothing that anyone can see has changed)."""

    asset: Asset
    changed: tuple[Group, ...]


def merge(asset: Asset | None, key: AssetKey, change: Change, moves: Sequence[FolderEvent] = ()) -> Merged:
    """Apply a change to the asset `key`, or to nothing yet.

    `moves`: the cloud's folder moves, in clock order. The result's `revision` is one higher if a field changed.
    """
    before = asset or Asset.unseen(key)
    clocks = dict(before.clocks)
    divided = _is_divided(clocks)
    newest = newest_content(clocks) if divided else clocks.get(Group.CONTENT, NEVER)
    won: dict[Group, Values] = {}
    for group, told in change.wholes.items():
        at = change.content_clock if group in VERSIONED else change.clock
        if divided and group in OF_CONTENT:
            values = _united(before, clocks, group, newest, told_whole(told, at))
        else:
            values = _whole(before, clocks, group, told, at, divided=divided)
        if values is not None:
            won[group] = values
    for group, told in change.parts.items():
        if group in OF_CONTENT:
            values = _united(before, clocks, group, newest, told_in_part(told, change.content_clock))
        else:
            present = won.get(group)
            values = _part(_values(before, group) if present is None else present, clocks, group, told, change.clock)
        if values is not None:
            won[group] = values
    return _after(asset, before, won, clocks, moves)


def join(asset: Asset | None, other: Asset, key: AssetKey, moves: Sequence[FolderEvent] = ()) -> Merged:
    """Apply all that is known of `other` to the asset `key`: they have turned out to be one."""
    before = asset or Asset.unseen(key)
    clocks = dict(before.clocks)
    divided = _is_divided(clocks)
    won: dict[Group, Values] = {}
    newest, their_newest = newest_content(clocks), newest_content(other.clocks)
    for group in Group:
        theirs = _values(other, group)
        parts = dict(_elements(other.clocks, group))
        values = None
        if group in OF_CONTENT:
            values = _united(before, clocks, group, newest, Told(their_newest, other.clocks.get(group, NEVER), theirs, parts))
            parts = {}
        elif (whole := other.clocks.get(group)) is not None:
            told = {name: value for name, value in theirs.items() if name not in parts}
            values = _whole(before, clocks, group, told, whole, divided=divided)
        for name, clock in parts.items():
            present = _values(before, group) if values is None else values
            after = _part(present, clocks, group, {name: theirs.get(name, GONE)}, clock)
            values = values if after is None else after
        if values is not None:
            won[group] = values
    return _after(asset, before, won, clocks, moves)


def relocate(asset: Asset, moves: Sequence[FolderEvent]) -> Merged:
    """Put an asset where the cloud's folder moves have brought it."""
    return _after(asset, asset, {}, dict(asset.clocks), moves)


def newest_content(clocks: Mapping[str, Clock]) -> Clock:
    """Give the clock of the newest statement about an asset's content, which decides what version there is."""
    own = (clock for _, clock in _elements(clocks, Group.CONTENT))
    return max(clocks.get(Group.CONTENT, NEVER), *own, NEVER)


def _united(before: Asset, clocks: dict[str, Clock], group: Group, newest: Clock, told: Told) -> Values | None:
    """Put a group of the content in place; None when what is told changes nothing that is known of it.

    `newest`: of the content before.
    """
    known = Told(newest, clocks.get(group, NEVER), _values(before, group), dict(_elements(clocks, group)))
    after = united(known, told)
    if (after.whole, after.own) == (known.whole, known.own) and version_of(after.newest) == version_of(newest):
        return None
    for name in known.own.keys() - after.own.keys():
        del clocks[f"{group}.{name}"]
    if after.whole:
        clocks[_NAMES[group]] = after.whole
    for name, clock in after.own.items():
        clocks[f"{group}.{name}"] = clock
    return after.values


def _whole(before: Asset, clocks: dict[str, Clock], group: Group, told: Values, clock: Clock, *, divided: bool) -> Values | None:
    """Put a whole group in place, but for the elements told of later; None when it comes too late itself."""
    if clock <= clocks.get(group, ""):
        return None
    clocks[_NAMES[group]] = clock
    if not divided or not (elements := _elements(clocks, group)):
        return told
    values = _values(before, group)
    after = dict(told)
    for name, own in elements:
        if own <= clock:
            del clocks[f"{group}.{name}"]
        elif name in values:
            after[name] = values[name]
        else:
            after.pop(name, None)
    return after


def _part(values: Values, clocks: dict[str, Clock], group: Group, told: Values, clock: Clock) -> Values | None:
    """Put single elements in place; None when all of them come too late."""
    if clock <= clocks.get(group, ""):
        return None
    after = None
    for name, value in told.items():
        own = f"{group}.{name}"
        if clock <= clocks.get(own, ""):
            continue
        clocks[own] = clock
        after = dict(values) if after is None else after
        if value is GONE:
            after.pop(name, None)
        else:
            after[name] = value
    return after


def _is_divided(clocks: Mapping[str, Clock]) -> bool:
    """Tell whether any element has a clock of its own. Those of most assets have none."""
    return not clocks.keys() <= _GROUPS


def _elements(clocks: Mapping[str, Clock], group: Group) -> Sequence[tuple[str, Clock]]:
    """Give the group's elements that have clocks of their own."""
    prefix = f"{group}."
    return [(name[len(prefix) :], clock) for name, clock in clocks.items() if name.startswith(prefix)]


def _values(asset: Asset, group: Group) -> Values:
    """Give a group's present values: by column, or by element."""
    if group is Group.TAGS:
        return dict.fromkeys(asset.tags, True)
    if group in ELEMENTS:
        return dict(getattr(asset, group.value))
    return {column: getattr(asset, column) for column in COLUMNS[group]}


def _deleted_at(clocks: Mapping[str, Clock]) -> datetime | None:
    """Give when an asset ended, unless it was alive later: when the last delete says, or else when it was last not found."""
    alive = clocks.get(Group.ALIVE, "")
    for end in (Group.DELETED, Group.GONE):
        if (clock := clocks.get(end)) is not None and clock > alive:
            return time_of(clock)
    return None


def _after(
    asset: Asset | None, before: Asset, won: Mapping[Group, Values], clocks: dict[str, Clock], moves: Sequence[FolderEvent]
) -> Merged:
    row: list[object] = list(before)
    changed: list[Group] = []
    for group, values in won.items():
        if _put(row, group, values):
            changed.append(group)
    assigned = won[Group.FOLDER].get("assigned_folder") if Group.FOLDER in won else before.assigned_folder
    if assigned is not None:
        folder = location(str(assigned), clocks[Group.FOLDER], moves)
        if folder != before.asset_folder:
            row[_ASSET_FOLDER] = folder
            changed.append(Group.FOLDER)
    if Group.ALIVE in won or Group.DELETED in won or Group.GONE in won:
        deleted_at = _deleted_at(clocks)
        if deleted_at != before.deleted_at:
            row[_DELETED_AT] = deleted_at
            changed.append(Group.EXISTENCE)
    if asset is None and not changed:
        # a row that comes to be is a change, whatever its fields are
        changed.append(Group.EXISTENCE)
    if not won and not changed:
        return Merged(before, ())
    row[_CLOCKS] = clocks
    row[_REVISION] = before.revision + bool(changed)
    return Merged(Asset._make(row), tuple(changed))


def _put(row: list[object], group: Group, values: Values) -> bool:
    """Put a group's values in a row; tells whether anyone sees a difference."""
    if (place := _ELEMENTS_PLACE.get(group)) is not None:
        present = row[place]
        row[place] = now = sorted(values) if group is Group.TAGS else values
        return now != present
    differs = False
    for column, place, default in _PLACES[group]:
        value = values.get(column, default)
        differs = differs or value != row[place]
        row[place] = value
    # an assigned folder shows as the folder that it has become
    return differs and group is not Group.FOLDER
