"""In what a row differs from a reading of its asset: pure, and by the mirror's own understanding of readings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from handlers.merge import Merged, merge
from handlers.registry import interpret
from schemas.asset import COLUMNS, Asset, AssetKey, Group
from schemas.change import Change
from schemas.clock import latest_time
from schemas.envelope import Envelope
from schemas.event import PUBLIC_FIELDS
from schemas.folder import FolderEvent
from schemas.notification import Notification, Occasion
from service.cloudinary.announcer import Told
from service.cloudinary.reading import Reading

# Later than any clock of a row, so that the reading wins whatever it differs in.
_END = datetime(2286, 1, 1, tzinfo=UTC)
# A change may reach the mirror between the reading and the look at the row, and then lies after the reading by so much at most.
_RACE = timedelta(minutes=10)


class Kind(StrEnum):
    """What sort of drift it is."""

    MISSING = "missing"  # the account has it, the mirror never heard of it
    EXTRA = "extra"  # the mirror has it, the account does not
    STALE = "stale"  # the account has other content: newer, or older that was restored
    FIELD = "field"  # something else differs
    TOMBSTONE = "tombstone"  # one of both says that it was deleted, and the other that it was not


@dataclass(frozen=True, slots=True)
class Difference:
    """What the reading would change."""

    kind: Kind | None  # None: the mirror lacks what no notification had told yet; a reading completes it, but it is no drift
    fields: Mapping[str, Mapping[str, object]]  # column -> {"mirror": …, "account": …}


def is_gone(reading: Reading) -> bool:
    """Tell whether a reading says that the asset was deleted: what has a backup is still listed, as a placeholder."""
    if not reading.resource.get("placeholder"):
        return False  # as of nearly all, without reading it whole
    change = _change(reading, reading.read_at)
    return change is not None and Group.GONE in change.wholes


def difference(row: Asset | None, cloud: str, reading: Reading, moves: Sequence[FolderEvent]) -> Difference | None:
    """Compare a row with a reading of its asset; None when nothing that anyone can see differs.

    `moves`: the cloud's folder moves, in clock order.
    """
    change = _change(reading, _END)
    if change is None or (Group.GONE in change.wholes and (row is None or row.deleted_at is not None)):
        return None
    if row is None:
        return Difference(Kind.MISSING, {})
    key = AssetKey(cloud, reading.asset_id)
    merged = merge(row, key, change, moves)
    if not merged.changed or _has_moved_on(row, key, reading, moves):
        return None
    fields = {
        name: {"mirror": getattr(row, name), "account": getattr(merged.asset, name)}
        for name in PUBLIC_FIELDS
        if name != "revision" and getattr(row, name) != getattr(merged.asset, name)
    }
    if merged.asset.deleted_at is not None:
        fields["deleted_at"]["account"] = reading.read_at
    return Difference(_kind(row, merged), fields)


def _has_moved_on(row: Asset, key: AssetKey, reading: Reading, moves: Sequence[FolderEvent]) -> bool:
    """Tell whether all that differs was changed after the reading, so that it is the mirror that knows better."""
    change = _change(reading, reading.read_at)
    if change is None or merge(row, key, change, moves).changed:
        return False
    return latest_time(row.clocks.values()) - reading.read_at < _RACE


def _kind(row: Asset, merged: Merged) -> Kind | None:
    after = merged.asset
    if (row.deleted_at is None) != (after.deleted_at is None):
        return Kind.TOMBSTONE
    if (after.version or 0) != (row.version or 0):
        return Kind.STALE
    return None if _only_completes(row, merged) else Kind.FIELD


def _only_completes(row: Asset, merged: Merged) -> bool:
    """Tell whether the reading only says more of the same content, such as when it was uploaded."""
    if not set(merged.changed) <= {Group.CONTENT, Group.DETAILS, Group.MODERATION}:
        return False
    if _verdicts(row) != _verdicts(merged.asset):
        return False
    kept = all(getattr(row, name) in (None, getattr(merged.asset, name)) for name in COLUMNS[Group.CONTENT])
    return kept and all(name in merged.asset.details and merged.asset.details[name] == row.details[name] for name in row.details)


def _verdicts(asset: Asset) -> dict[str, object]:
    """Give the moderations by kind; a reading tells of each in other words than the notification of it does."""
    return {kind: one.get("status") if isinstance(one, Mapping) else one for kind, one in asset.moderation.items()}


def _change(reading: Reading, at: datetime) -> Change | None:
    """Give what the reading asserts, as if it had been made `at`."""
    envelope = Envelope("", Told.SNAPSHOT, at, "f" * 64, "", int(at.timestamp()), "")
    notification = Notification(envelope, b"", {"resources": [dict(reading.resource)]}, Occasion(at))
    changes = [statement for statement in interpret(notification) if isinstance(statement, Change)]
    return changes[0] if changes else None
