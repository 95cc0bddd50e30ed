"""What is true after a change: the only place that decides who wins.

Merging is commutative, associative and idempotent: each field group is a register that keeps the value with the newest clock, and
clocks are totally ordered. So the order in which notifications arrive, and how often, leaves no trace in a row.
"""

from dataclasses import dataclass, replace
from typing import Any

from schemas.asset import Asset, AssetKey, Group
from schemas.change import Change
from schemas.clock import Clock


@dataclass(frozen=True, slots=True)
class Merged:
    """An asset after a change, and the groups whose fields now differ (empty: nothing that anyone can see has changed)."""

    asset: Asset
    changed: tuple[Group, ...]


def merge(asset: Asset | None, key: AssetKey, change: Change) -> Merged:
    """Apply a change to the asset `key`, or to nothing yet; the result's `revision` is one higher if a field changed."""
    before = asset or Asset(cloud=key.cloud, asset_id=key.asset_id)
    won: dict[str, Any] = {}
    clocks: dict[str, Clock] = {}
    changed: list[Group] = []
    for group, fields in change.groups.items():
        clock = change.clock_of(group)
        if clock <= before.clocks.get(group, ""):
            continue
        clocks[group.value] = clock
        won |= fields
        if any(getattr(before, field) != value for field, value in fields.items()):
            changed.append(group)
    if not clocks:
        return Merged(before, ())
    if asset is None and not changed:
        # a row that comes to be is a change, whatever its fields are
        changed.append(Group.EXISTENCE)
    after = replace(before, **won, clocks={**before.clocks, **clocks}, revision=before.revision + bool(changed))
    return Merged(after, tuple(changed))
