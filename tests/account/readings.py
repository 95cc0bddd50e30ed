"""What the Admin API says when it is asked."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from tests.account.account import Account
from tests.account.asset import StoredAsset
from tests.account.telling import body, to_the_microsecond, to_the_second


def read_asset(account: Account, asset_id: str) -> bytes | None:
    """Answer about one asset, or nothing if it is gone without a backup."""
    account.pass_time(timedelta())
    found = [asset for asset in account.assets if asset.asset_id == asset_id and _is_visible(asset)]
    return _reading(account, found) if found else None


def list_assets(account: Account, assets: Iterable[StoredAsset]) -> bytes:
    """A page of a listing, which says less of each."""
    return _reading(account, [asset for asset in assets if _is_visible(asset)], brief=True)


def _reading(account: Account, assets: Iterable[StoredAsset], *, brief: bool = False) -> bytes:
    told: dict[str, Any] = {
        "notification_type": "snapshot",
        "resources": [_resource(asset, brief=brief) for asset in assets],
        "notification_context": {"triggered_at": to_the_microsecond(account.now)},
    }
    reading = body(told.items())
    account.note(reading.decode())
    return reading


def _is_visible(asset: StoredAsset) -> bool:
    return asset.deleted_at is None or asset.backed_up


def _resource(asset: StoredAsset, *, brief: bool) -> dict[str, Any]:
    """A deleted asset that has a backup looks like an empty placeholder. `placeholder` is said only of one."""
    resource = asset.identity | asset.content.stated(brief=brief) | asset.described() | asset.moderations()
    resource |= {"uploaded_at": to_the_second(asset.created_at)} | asset.urls
    if asset.deleted_at is not None:
        resource |= {"bytes": 0, "placeholder": True}
        resource.pop("etag", None)
    elif asset.content.placeholder:
        resource |= {"placeholder": True}
    if not brief:
        resource["derived"] = []
    return resource
