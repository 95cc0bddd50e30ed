"""`rename`: an asset got another public id, or another delivery type."""

from schemas.asset import AssetName, Group
from schemas.bodies import Rename, read
from schemas.change import Change
from schemas.notification import Notification


def renamed(notification: Notification) -> list[Change]:
    """Assert the new name, and that the asset was alive to get it."""
    body = read(Rename, notification.body)
    if body.resource_type is None or body.type is None or body.to_public_id is None:
        return []
    old_name = AssetName(body.resource_type, body.type, body.from_public_id) if body.from_public_id else None
    if body.asset_id is None and old_name is None:
        return []
    new_name = AssetName(body.resource_type, body.to_type or body.type, body.to_public_id)
    wholes: dict[Group, dict[str, object]] = {Group.ALIVE: {}, Group.NAME: new_name._asdict()}
    if body.asset_folder is not None:
        wholes[Group.FOLDER] = {"assigned_folder": body.asset_folder}
    if body.display_name is not None:
        wholes[Group.DISPLAY] = {"display_name": body.display_name}
    return [Change(body.asset_id, old_name, notification.clock(), wholes)]
