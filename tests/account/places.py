"""Folders, and which assets lie in them."""

from collections.abc import Iterable

from tests.account.account import Account, is_at_or_below
from tests.account.asset import StoredAsset
from tests.account.telling import ByPublicId


def move(account: Account, assets: Iterable[StoredAsset], folder: str) -> None:
    """Put assets into a folder."""
    told = ByPublicId()
    for asset in assets:
        resource_type, delivery_type, public_id = asset.name
        moved = {
            "asset_id": asset.asset_id,
            "resource_type": resource_type,
            "type": delivery_type,
            "from_asset_folder": asset.asset_folder,
            "to_asset_folder": folder,
            "display_name": asset.display_name,
        }
        told.append((public_id, moved))
        asset.asset_folder = folder
    account.tell("move", {"resources": told})


def create_folder(account: Account, path: str) -> None:
    account.folders.add(path)
    account.tell("create_folder", {"source": "api", "folder_path": path, "folder_name": path.rsplit("/", 1)[-1]})


def delete_folder(account: Account, path: str) -> None:
    """Only one that holds no assets; empty folders below it go too."""
    account.folders = {folder for folder in account.folders if not is_at_or_below(folder, path)}
    account.tell("delete_folder", {"source": "api", "folder_path": path, "folder_name": path.rsplit("/", 1)[-1]})


def move_folder(account: Account, path: str, to_path: str) -> None:
    """Move or rename it, with all that is in it. Nothing is told of each asset."""

    def moved(folder: str) -> str:
        return to_path + folder[len(path) :] if is_at_or_below(folder, path) else folder

    account.folders = {moved(folder) for folder in account.folders}
    for asset in account.assets:
        asset.asset_folder = moved(asset.asset_folder)
    account.tell("move_or_rename_asset_folder", {"from_path": path, "to_path": to_path, "status": "completed"})
