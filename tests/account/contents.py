"""Files come, are replaced, go, and come back."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.account.account import Account, Job
from tests.account.asset import Content, Name, StoredAsset
from tests.account.telling import timestamp


def file(account: Account, resource_type: str, size: int) -> Content:
    """A file that is stored now. Two within one second get the same version."""
    is_raw, is_video = resource_type == "raw", resource_type == "video"
    return Content(
        version=account.fresh_version(),
        version_id=account.fresh_id(),
        etag=account.fresh_id(),
        bytes=1000 + size,
        format=None if is_raw else "mp4" if is_video else ("png", "jpg")[size % 2],
        width=None if is_raw else 100 + size,
        height=None if is_raw else 50 + size,
        duration=1.5 + size if is_video else None,
        pages=None if is_raw else size % 3,
    )


def upload(
    account: Account, name: Name, size: int, *, moderations: Sequence[str] = (), given: Mapping[str, Any] | None = None
) -> None:
    """Store a file, over the one of that name if there is one. An asset keeps the labels that the call doesn't give."""
    content = file(account, name.resource_type, size)
    asset = account.holder(name)
    if asset is None:
        asset = StoredAsset(account.fresh_id(), name, content, account.now.replace(microsecond=0), display_name=name.public_id)
        account.assets.append(asset)
        said = {}
    else:
        asset.replace_content(content)
        said = {"overwritten": True}
    for label, value in (given or {}).items():
        setattr(asset, label, value)
    if moderations:
        asset.moderation = {kind: {"status": "pending"} for kind in moderations}
        said |= asset.moderations()
        # a file that was replaced before its verdict gets none of that kind
        account.jobs = [job for job in account.jobs if job.asset is not asset or job.kind not in moderations]
        account.jobs += [Job("moderation", asset, content, account.now, kind) for kind in moderations]
    account.tell("upload", _uploaded(account, asset) | said)


def upload_without_overwrite(account: Account, asset: StoredAsset) -> None:
    """The public id is taken, so nothing is stored, and the account describes what is there."""
    account.tell("upload", _uploaded(account, asset) | asset.moderations() | {"existing": True})


def _uploaded(account: Account, asset: StoredAsset) -> dict[str, Any]:
    return {
        "timestamp": timestamp(account.now),
        "request_id": account.fresh_id(),
        **asset.identity,
        **asset.content.stated(),
        **asset.described(),
        **asset.urls,
        "etag": asset.content.etag,
        "placeholder": asset.content.placeholder,
        "api_key": "333333333333333",
    }


def delete(account: Account, assets: Iterable[StoredAsset], *, backed_up: bool) -> None:
    """One or many, in one body."""
    told = []
    for asset in assets:
        asset.deleted_at = account.now
        asset.backed_up = backed_up
        told.append(
            {
                **asset.identity,
                "version": asset.content.version,
                "asset_folder": asset.asset_folder,
                "display_name": asset.display_name,
            }
        )
    account.tell("delete", {"resources": told})


def restorable(account: Account) -> list[StoredAsset]:
    """Live assets with earlier versions, and deleted ones with a backup whose name is free."""
    return [
        asset
        for asset in account.assets
        if (asset.earlier if asset.deleted_at is None else asset.backed_up and account.holder(asset.name) is None)
    ]


def restore(account: Account, asset: StoredAsset, which: int, *, renumbered: bool) -> None:
    """Bring back what was deleted, as it was or as an earlier file, or an earlier file of what is there.

    That gets a new version, or keeps its old one, which is lower (which of these Cloudinary does is not known). The body says
    only which asset.
    """
    files = [asset.content, *asset.earlier] if asset.deleted_at is not None else asset.earlier
    chosen = files[which % len(files)]
    if renumbered:
        chosen = chosen._replace(version=account.fresh_version(), version_id=account.fresh_id())
    asset.deleted_at = None
    if chosen != asset.content:
        asset.replace_content(chosen)
    account.tell("restore_asset_version", asset.identity)
    account.change_silently(asset, f"was restored: {asset.content}")
