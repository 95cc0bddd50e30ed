"""`eager` and `explode`: versions were derived from an asset. They touch nothing of the asset itself."""

from collections.abc import Mapping

from handlers.resources import and_odd
from schemas.asset import Group
from schemas.bodies import Eager, Explode, read
from schemas.change import Change
from schemas.clock import Rank
from schemas.notification import Notification

_KEPT = ("format", "width", "height", "bytes")
_WHY = ("status", "reason")  # of one that failed, or isn't made yet


def derived(notification: Notification) -> list[Change]:
    """`eager`: assert each derived version by its transformation; of one that failed, its status and why."""
    body = read(Eager, notification.body)
    told: dict[str, object] = {
        str(one["transformation"]): {name: one[name] for name in (*_KEPT, *_WHY) if name in one} | _error_of(one)
        for one in body.eager
        if _is_named(one)
    }
    if not told or not body.names_an_asset:
        return []
    nameless = len(body.eager) - sum(map(_is_named, body.eager))
    refetch = f"{nameless} of its derived versions have no transformation" if nameless else None
    return [
        Change(
            body.asset_id,
            body.name,
            notification.clock(Rank.RESULT),
            parts={Group.DERIVED: told},
            refetch=and_odd(refetch, body),
        )
    ]


def exploded(notification: Notification) -> list[Change]:
    """`explode`: assert the pages that were made."""
    body = read(Explode, notification.body)
    if not body.names_an_asset or body.pages is None:
        return []
    pages: dict[str, object] = {"explode": {"pages": body.pages}}
    return [
        Change(
            body.asset_id,
            body.name,
            notification.clock(Rank.RESULT),
            parts={Group.DERIVED: pages},
            refetch=and_odd(None, body),
        )
    ]


def _is_named(one: Mapping[str, object]) -> bool:
    return isinstance(one.get("transformation"), str)


def _error_of(one: Mapping[str, object]) -> dict[str, object]:
    """Read `error`, which says in other words that a version was not made."""
    error = one.get("error")
    if not error or "status" in one:
        return {}
    return {"status": "failed", "reason": error.get("message") if isinstance(error, Mapping) else error}
