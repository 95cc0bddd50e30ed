"""`delete` and `delete_by_token`: assets are gone."""

from collections.abc import Iterator

from schemas.asset import Group
from schemas.bodies import Resource, read
from schemas.change import Change
from schemas.clock import Rank
from schemas.notification import Notification


def deleted(notification: Notification) -> Iterator[Change]:
    """Assert the end of each asset, and what it was called then, so that its tombstone tells even if it was never seen alive."""
    resources = (read(Resource, item) for item in notification.resources())
    return (_ended(notification, resource) for resource in resources if resource.names_an_asset)


def deleted_by_token(notification: Notification) -> Iterator[Change]:
    """As `delete` if it lists what is gone. Its shape is not documented, so else the account is asked."""
    lists_some = False
    for change in deleted(notification):
        lists_some = True
        yield change
    if lists_some:
        return
    body = read(Resource, notification.body)
    if body.names_an_asset:
        reason = "deleted by token, in a shape that is not known"
        yield Change(body.asset_id, body.name, notification.clock(), refetch=reason)


def _ended(notification: Notification, resource: Resource) -> Change:
    wholes: dict[Group, dict[str, object]] = {Group.DELETED: {}}
    if resource.name is not None:
        wholes[Group.NAME] = resource.name._asdict()
    if resource.asset_folder is not None:
        wholes[Group.FOLDER] = {"assigned_folder": resource.asset_folder}
    if resource.display_name is not None:
        wholes[Group.DISPLAY] = {"display_name": resource.display_name}
    return Change(resource.asset_id, resource.name, notification.clock(Rank.DELETE), wholes)
