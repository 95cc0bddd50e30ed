"""`rename`: an asset got another public id, or another delivery type."""

from handlers.folders import tidy
from handlers.resources import and_odd, question
from schemas.asset import AssetName, Group
from schemas.bodies import Rename, read
from schemas.change import Change
from schemas.notification import Notification


def renamed(notification: Notification) -> list[Change]:
    """Assert the new name, and that the asset was alive to get it."""
    body = read(Rename, notification.body)
    clock = notification.clock()
    kind = body.kind
    if kind is None or body.to_public_id is None:
        asked = question(_as_now(body), clock, "renamed, but the notification does not tell the whole name")
        return [] if asked is None else [asked]
    resource_type, delivery_type = kind
    old_name = AssetName(resource_type, delivery_type, body.from_public_id) if body.from_public_id else None
    if body.asset_id is None and old_name is None:
        asked = question(_as_now(body), clock, "renamed, but the notification does not tell from what")
        return [] if asked is None else [asked]
    new_name = AssetName(resource_type, body.to_type or delivery_type, body.to_public_id)
    wholes: dict[Group, dict[str, object]] = {Group.ALIVE: {}, Group.NAME: new_name._asdict()}
    folder = body.asset_folder if body.asset_folder is not None else body.folder
    if folder is not None:
        wholes[Group.FOLDER] = {"assigned_folder": tidy(folder)}
    if body.display_name is not None:
        wholes[Group.DISPLAY] = {"display_name": body.display_name}
    return [Change(body.asset_id, old_name, clock, wholes, refetch=and_odd(_folder_left_open(body, folder), body))]


def _folder_left_open(body: Rename, folder: str | None) -> str | None:
    """Tell whether the folder may be another one now: where folders are fixed, it is the path of the public id."""
    if folder is not None or _path_of(body.from_public_id or "") == _path_of(body.to_public_id or ""):
        return None
    return "its name has another path now, and the notification does not tell its folder"


def _path_of(public_id: str) -> str:
    return public_id.rpartition("/")[0]


def _as_now(body: Rename) -> Rename:
    """Give it as an asset that is called what it has become; the account knows no other name of it."""
    return body.model_copy(
        update={
            "public_id": body.to_public_id or body.public_id or body.from_public_id,
            "type": body.to_type or body.type,
        }
    )
