"""`access_control_changed`: who may see an asset."""

from collections.abc import Iterator

from handlers.resources import each
from schemas.asset import Group
from schemas.bodies import Resource
from schemas.change import Change
from schemas.notification import Notification


def access_changed(notification: Notification) -> Iterator[Change]:
    """Assert the rules that hold now."""
    return each(
        notification,
        Resource,
        lambda body: None if body.new_access_control is None else {Group.ACCESS: {"access_control": body.new_access_control}},
    )
