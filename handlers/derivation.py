"""`eager` and `explode`: versions were derived from an asset. They touch nothing of the asset itself."""

from schemas.asset import Group
from schemas.bodies import Eager, Explode, read
from schemas.change import Change
from schemas.clock import Rank
from schemas.notification import Notification

_KEPT = ("format", "width", "height", "bytes")


def derived(notification: Notification) -> list[Change]:
    """`eager`: assert each derived version by its transformation."""
    body = read(Eager, notification.body)
    made: dict[str, object] = {
        str(one["transformation"]): {name: one[name] for name in _KEPT if name in one}
        for one in body.eager
        if "transformation" in one
    }
    if not made or not body.names_an_asset:
        return []
    return [Change(body.asset_id, body.name, notification.clock(Rank.RESULT), parts={Group.DERIVED: made})]


def exploded(notification: Notification) -> list[Change]:
    """`explode`: assert the pages that were made."""
    body = read(Explode, notification.body)
    if not body.names_an_asset:
        return []
    pages: dict[str, object] = {"explode": {"pages": body.pages}}
    return [Change(body.asset_id, body.name, notification.clock(Rank.RESULT), parts={Group.DERIVED: pages})]
