"""`rename`: an asset got another public id, or another delivery type."""

from schemas.asset import AssetName, Group
from schemas.change import Change, stated
from schemas.notification import Notification, Rename, read


def handle(notification: Notification) -> list[Change]:
    """Assert the new name, and that the asset was alive to get it."""
    body = read(Rename, notification.body)
    if body.resource_type is None or body.type is None or body.to_public_id is None:
        return []
    old_name = AssetName(body.resource_type, body.type, body.from_public_id) if body.from_public_id else None
    if body.asset_id is None and old_name is None:
        return []
    new_name = AssetName(body.resource_type, body.to_type or body.type, body.to_public_id)
    groups: dict[Group, dict[str, object]] = {Group.EXISTENCE: {"deleted_at": None}, Group.NAME: new_name._asdict()}
    groups |= stated({Group.FOLDER: body.asset_folder, Group.DISPLAY: body.display_name})
    return [Change(body.asset_id, old_name, notification.clock(), groups)]
