"""`move`: assets were put into another folder. Folders that move are in `folders.py`."""

from collections.abc import Iterator

from handlers.folders import tidy
from handlers.resources import Told, each
from schemas.asset import Group
from schemas.bodies import Resource
from schemas.change import Change
from schemas.notification import Notification


def moved(notification: Notification) -> Iterator[Change]:
    """Assert the folder, and the display name that the body repeats."""

    def tell(body: Resource) -> Told | str:
        folder = body.to_asset_folder if body.to_asset_folder is not None else body.to_folder
        if folder is None:
            return "moved to a folder that the notification leaves out"
        told: dict[Group, dict[str, object]] = {Group.FOLDER: {"assigned_folder": tidy(folder)}}
        if body.display_name is not None:
            told[Group.DISPLAY] = {"display_name": body.display_name}
        return told

    return each(notification, Resource, tell)
