"""What is true after a change: the only place that decides who wins.

Merging is commutative, associative and idempotent: each group, or element of a group, is a register that keeps the value with the
newest clock, and clocks are totally ordered. So the order in which notifications arrive, and how often, leaves no trace in a row.

A group's clock is that of the newest statement of its whole. An element told of later on its own has a clock of its own, under
`group.element`; an older one needs none, since the whole has decided it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from handlers.folders import location
from schemas.asset import COLUMNS, ELEMENTS, VERSIONED, Asset, AssetKey, Group
from schemas.change import GONE, Change
from schemas.clock import Clock, floor_of, time_of
from schemas.folder import FolderEvent

Values = dict[str, object]

_GROUPS = frozenset(group.value for group in Group)


@dataclass(frozen=True, slots=True)
class Merged:
    """An asset after a change, and the groups whose fields now differ (empty: nothing that anyone can see has changed)."""

    asset: Asset
    changed: tuple[Group, ...]


def merge(asset: Asset | None, key: AssetKey, change: Change, moves: Sequence[FolderEvent] = ()) -> Merged:
    """Apply a change to the asset `key`, or to nothing yet.

    `moves`: the cloud's folder moves, in clock order. The result's `revision` is one higher if a field changed.
    """
    before = asset or Asset.unseen(key)
    clocks = dict(before.clocks)
    won: dict[Group, Values] = {}
    for group, told in change.wholes.items():
        if (values := _whole(_values(before, group), clocks, group, told, change.clock_of(group))) is not None:
            won[group] = values
    for group, told in change.parts.items():
        values = won.get(group)
        if group in VERSIONED:
            # parts of a newer content are no parts of the older one
            values = _whole(_values(before, group), clocks, group, {}, floor_of(change.version))
        present = _values(before, group) if values is None else values
        if (after := _part(present, clocks, group, told, change.clock_of(group))) is not None:
            values = after
        if values is not None:
            won[group] = values
    return _after(asset, before, won, clocks, moves)


def join(asset: Asset | None, other: Asset, key: AssetKey, moves: Sequence[FolderEvent] = ()) -> Merged:
    """Apply all that is known of `other` to the asset `key`: they have turned out to be one."""
    before = asset or Asset.unseen(key)
    clocks = dict(before.clocks)
    won: dict[Group, Values] = {}
    for group in Group:
        theirs = _values(other, group)
        parts = dict(_elements(other.clocks, group))
        values = None
        if (whole := other.clocks.get(group)) is not None:
            told = {name: value for name, value in theirs.items() if name not in parts}
            values = _whole(_values(before, group), clocks, group, told, whole)
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


def _whole(values: Values, clocks: dict[str, Clock], group: Group, told: Mapping[str, object], clock: Clock) -> Values | None:
    """Put a whole group in place, but for the elements told of later; None when it comes too late itself."""
    if clock <= clocks.get(group, ""):
        return None
    after = dict(told)
    for name, own in list(_elements(clocks, group)):
        if own <= clock:
            del clocks[f"{group}.{name}"]
        elif name in values:
            after[name] = values[name]
        else:
            after.pop(name, None)
    clocks[group.value] = clock
    return after


def _part(values: Values, clocks: dict[str, Clock], group: Group, told: Mapping[str, object], clock: Clock) -> Values | None:
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


def _elements(clocks: Mapping[str, Clock], group: Group) -> Iterable[tuple[str, Clock]]:
    if len(clocks) <= len(_GROUPS) and clocks.keys() <= _GROUPS:
        return ()  # as most assets are
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


_DEFAULTS = {field.name: field.default for field in fields(Asset)}


def _columns(group: Group, values: Values) -> dict[str, Any]:
    """Give the columns that hold a group's values."""
    if group is Group.TAGS:
        return {"tags": sorted(values)}
    if group in ELEMENTS:
        return {group.value: values}
    return {column: values.get(column, _DEFAULTS[column]) for column in COLUMNS[group]}


def _after(
    asset: Asset | None, before: Asset, won: Mapping[Group, Values], clocks: Mapping[str, Clock], moves: Sequence[FolderEvent]
) -> Merged:
    updates: dict[str, Any] = {}
    changed: list[Group] = []
    for group, values in won.items():
        columns = _columns(group, values)
        updates |= columns
        # an assigned folder shows as the folder that it has become
        if group is not Group.FOLDER and columns != {column: getattr(before, column) for column in columns}:
            changed.append(group)
    assigned = updates.get("assigned_folder", before.assigned_folder)
    if assigned is not None:
        folder = location(assigned, clocks[Group.FOLDER], moves)
        if folder != before.asset_folder:
            updates["asset_folder"] = folder
            changed.append(Group.FOLDER)
    if {Group.ALIVE, Group.DELETED, Group.GONE} & won.keys():
        deleted_at = _deleted_at(clocks)
        if deleted_at != before.deleted_at:
            updates["deleted_at"] = deleted_at
            changed.append(Group.EXISTENCE)
    if asset is None and not changed:
        # a row that comes to be is a change, whatever its fields are
        changed.append(Group.EXISTENCE)
    if not updates and clocks == before.clocks and asset is not None:
        return Merged(before, ())
    return Merged(replace(before, **updates, clocks=clocks, revision=before.revision + bool(changed)), tuple(changed))
