"""`delete` and `delete_by_token`: assets are gone."""

from schemas.asset import Group
from schemas.bodies import Resource, read
from schemas.change import Change
from schemas.clock import Rank
from schemas.notification import Notification


def deleted(notification: Notification) -> list[Change]:
    """Assert the end of each asset, and what it was called then, so that its tombstone tells even if it was never seen alive."""
    resources = (read(Resource, item) for item in notification.resources())
    return [_ended(notification, resource) for resource in resources if resource.names_an_asset]


def deleted_by_token(notification: Notification) -> list[Change]:
    """As `delete` if it lists what is gone. Its shape is not documented, so else the account is asked."""
    if changes := deleted(notification):
        return changes
    body = read(Resource, notification.body)
    reason = "deleted by token, in a shape that is not known"
    return [Change(body.asset_id, body.name, notification.clock(), refetch=reason)] if body.names_an_asset else []


def _ended(notification: Notification, resource: Resource) -> Change:
    wholes: dict[Group, dict[str, object]] = {Group.DELETED: {}}
    if resource.name is not None:
        wholes[Group.NAME] = resource.name._asdict()
    if resource.asset_folder is not None:
        wholes[Group.FOLDER] = {"assigned_folder": resource.asset_folder}
    if resource.display_name is not None:
        wholes[Group.DISPLAY] = {"display_name": resource.display_name}
    return Change(resource.asset_id, resource.name, notification.clock(Rank.DELETE), wholes)
