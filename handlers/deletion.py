"""`delete` and `delete_by_token`: assets are gone."""

from collections.abc import Iterator

from handlers.failure import failure_of
from handlers.folders import tidy
from handlers.resources import of_each, question
from schemas.asset import Group
from schemas.bodies import Resource, read
from schemas.change import Change
from schemas.clock import Rank
from schemas.json import JSONObject
from schemas.notification import Notification


def deleted(notification: Notification) -> Iterator[Change]:
    """Assert the end of each asset, and what it was called then, so that its tombstone tells even if it was never seen alive."""

    def change(body: Resource, item: JSONObject) -> Change | None:
        failure = failure_of(item)
        if failure is None and body.names_an_asset:
            return _ended(notification, body)
        return question(body, notification.clock(), failure or "deleted, but named only in part")

    return of_each(notification.body, notification.resources(), Resource, change)


def deleted_by_token(notification: Notification) -> Iterator[Change]:
    """As `delete` if it lists what is gone. Its shape is not documented, so else the account is asked."""
    if any(True for _ in notification.resources()):
        return deleted(notification)
    asked = question(read(Resource, notification.body), notification.clock(), "deleted by token, in a shape that is not known")
    return iter(() if asked is None else (asked,))


def _ended(notification: Notification, resource: Resource) -> Change:
    wholes: dict[Group, dict[str, object]] = {Group.DELETED: {}}
    if resource.name is not None:
        wholes[Group.NAME] = resource.name._asdict()
    if resource.asset_folder is not None:
        wholes[Group.FOLDER] = {"assigned_folder": tidy(resource.asset_folder)}
    if resource.display_name is not None:
        wholes[Group.DISPLAY] = {"display_name": resource.display_name}
    # what can't be read matters little now, and nobody can be asked about it
    return Change(resource.asset_id, resource.name, notification.clock(Rank.DELETE), wholes, note=resource.odd)
