"""Notifications that say that something has changed, but not what: the account is asked."""

from collections.abc import Iterator
from itertools import chain

from schemas.asset import Group
from schemas.bodies import Named, read
from schemas.change import Change
from schemas.notification import Notification

_ACTS = frozenset({"restore_asset_version", "publish"})  # only on what is alive; results of jobs can come after the end


def asked(notification: Notification) -> Iterator[Change]:
    """Ask for every asset named, at the top or among `resources`."""
    bodies = (read(Named, item) for item in chain([notification.body], notification.resources()))
    clock = notification.clock()
    alive: dict[Group, dict[str, object]] = {Group.ALIVE: {}} if notification.type in _ACTS else {}
    reason = f"{notification.type} does not say what has changed"
    return (Change(body.asset_id, body.name, clock, alive, refetch=reason) for body in bodies if body.names_an_asset)
