"""Notifications that say that something has changed, but not what: the account is asked."""

from collections.abc import Iterator
from itertools import chain

from handlers.resources import and_odd, question
from schemas.asset import Group
from schemas.bodies import Named, read
from schemas.change import Change
from schemas.notification import Notification

_ACTS = frozenset({"restore_asset_version", "publish"})  # only on what is alive; results of jobs can come after the end


def asked(notification: Notification) -> Iterator[Change]:
    """Ask for every asset named, at the top or among `resources`."""
    alive: dict[Group, dict[str, object]] = {Group.ALIVE: {}} if notification.type in _ACTS else {}
    reason = f"{notification.type or 'a notification without a type'} does not say what has changed"
    clock = notification.clock()
    for item in chain([notification.body], notification.resources()):
        body = read(Named, item)
        if body.names_an_asset:
            yield Change(body.asset_id, body.name, clock, alive, refetch=and_odd(reason, body))
        elif (change := question(body, clock, reason)) is not None:
            yield change


def asked_because(notification: Notification, reason: str) -> Iterator[Change]:
    """Ask for every asset named, be it only in part, and assert nothing."""
    clock = notification.clock()
    for item in chain([notification.body], notification.resources()):
        if (change := question(read(Named, item), clock, reason)) is not None:
            yield change
