"""Assets get other names."""

from collections.abc import Callable

from tests.account import contents
from tests.account.account import Account
from tests.account.asset import StoredAsset
from tests.account.telling import timestamp


def rename(account: Account, asset: StoredAsset, public_id: str, delivery_type: str | None = None) -> None:
    """To another public id, another delivery type, or both."""
    before = asset.name
    to_type = {} if delivery_type in (None, before.type) else {"to_type": delivery_type}
    asset.name = before._replace(public_id=public_id, type=delivery_type or before.type)
    account.tell(
        "rename",
        {
            "timestamp": timestamp(account.now),
            "request_id": account.fresh_id(),
            "resource_type": before.resource_type,
            "type": before.type,
            **to_type,
            "asset_id": asset.asset_id,
            "asset_folder": asset.asset_folder,
            "display_name": asset.display_name,
            "from_public_id": before.public_id,
            "to_public_id": public_id,
        },
    )


def rename_over(account: Account, asset: StoredAsset, victim: StoredAsset, wait: Callable[[], None]) -> None:
    """To a public id that is taken: what had it is deleted first. (Whether Cloudinary tells of that is not documented.)"""
    contents.delete(account, [victim], backed_up=False)
    wait()
    rename(account, asset, victim.name.public_id, victim.name.type)


def swap(account: Account, one: StoredAsset, other: StoredAsset, wait: Callable[[], None]) -> None:
    """Two assets take each other's public id, through a third."""
    ours, theirs = one.name.public_id, other.name.public_id
    rename(account, one, "for-the-moment")
    wait()
    rename(account, other, ours)
    wait()
    rename(account, one, theirs)


def publish(account: Account, asset: StoredAsset) -> None:
    """Its delivery type becomes `upload`. The body says only which asset."""
    account.tell("publish", asset.identity)
    asset.name = asset.name._replace(type="upload")
    account.change_silently(asset, f"is now {asset.name}")
