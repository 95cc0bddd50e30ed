"""`delete`: assets are gone."""

from schemas.asset import Group
from schemas.change import Change, stated
from schemas.clock import Rank
from schemas.notification import DeletedResource, Notification, read


def handle(notification: Notification) -> list[Change]:
    """Assert the end of each asset, and what it was called then, so that its tombstone tells even if it was never seen alive."""
    return [
        _ended(notification, resource)
        for resource in (read(DeletedResource, item) for item in notification.resources())
        if resource.asset_id is not None or resource.name is not None
    ]


def _ended(notification: Notification, resource: DeletedResource) -> Change:
    groups: dict[Group, dict[str, object]] = {Group.EXISTENCE: {"deleted_at": notification.event_time}}
    if resource.name is not None:
        groups[Group.NAME] = resource.name._asdict()
    groups |= stated({Group.FOLDER: resource.asset_folder, Group.DISPLAY: resource.display_name})
    return Change(resource.asset_id, resource.name, notification.clock(Rank.DELETE), groups)
