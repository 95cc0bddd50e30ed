"""Work that ends later than it was ordered. Bodies give the order's time to the microsecond, and the end's to the second.

So jobs end on whole seconds here: what a body cannot tell must not matter.
"""

from datetime import timedelta
from typing import Any

from tests.account.account import Account, Job
from tests.account.asset import StoredAsset
from tests.account.telling import timestamp, to_the_second


def order(account: Account, job_type: str, asset: StoredAsset) -> None:
    """`eager` or `info`; a moderation is ordered with the upload."""
    account.jobs.append(Job(job_type, asset, asset.content, account.now))
    account.note(f"{job_type} is ordered for {asset.asset_id}")


def derive(account: Account, job: Job, transformations: list[str], *, fail: bool = False) -> None:
    """`eager`: versions are derived, or the last of them fails."""
    account.reach_the_next_second()
    public_id, version = job.asset.name.public_id, job.content.version
    told = []
    for transformation in transformations:
        made: dict[str, Any] = {"width": 10, "height": 10, "bytes": version % 1000 + len(account.told), "format": "webp"}
        if fail and transformation == transformations[-1]:
            made = {"status": "failed", "reason": "too short"}
        url = f"https://res.cloudinary.com/acme/{job.asset.name.resource_type}/{job.asset.name.type}/{transformation}/v{version}/{public_id}"
        told.append({"transformation": transformation, **made, "secure_url": url})
        job.asset.derived[transformation] = made
    fields = {
        "timestamp": timestamp(account.now),
        "request_id": account.fresh_id(),
        "eager": told,
        "batch_id": account.fresh_id(),
        "asset_id": job.asset.asset_id,
        "public_id": public_id,
    }
    account.tell("eager", fields, ordered_at=job.ordered_at)


def judge(account: Account, job: Job, status: str) -> None:
    """`moderation`: a verdict. A rejected file is replaced by a placeholder, a little later, and nothing tells of that."""
    account.reach_the_next_second()
    asset = job.asset
    verdict = {"status": status, "updated_at": to_the_second(account.now)}
    asset.moderation = {**asset.moderation, job.kind: verdict}
    fields = {
        "moderation_response": {},
        "moderation_status": status,
        "moderation_kind": job.kind,
        "moderation_updated_at": verdict["updated_at"],
        **_named(job),
        "etag": None if status == "rejected" else job.content.etag,
    }
    account.tell("moderation", fields, ordered_at=job.ordered_at)
    if status != "rejected":
        return
    # another file of the same second may have taken its place: then the verdict leaves open which one it means
    account.change_silently(asset, "may have become a placeholder")
    if asset.deleted_at is None and asset.content == job.content:
        account.pass_time(timedelta(seconds=1.5))
        placeholder = asset.content._replace(
            version=account.fresh_version(),
            version_id=account.fresh_id(),
            etag=None,
            bytes=0,
            duration=None,
            pages=None,
            placeholder=True,
        )
        asset.replace_content(placeholder)
        account.note(f"untold: {asset.asset_id} is a placeholder: {asset.content}")


def overturn(account: Account, asset: StoredAsset, kind: str) -> None:
    """`moderation`: what was rejected is approved after all, and the file is back, as a new version."""
    account.reach_the_next_second()
    content = asset.earlier[-1]._replace(version=int(account.now.timestamp()), version_id=account.fresh_id())
    asset.replace_content(content)
    verdict = {"status": "approved", "updated_at": to_the_second(account.now)}
    asset.moderation = {**asset.moderation, kind: verdict}
    fields = {
        "moderation_status": "approved",
        "moderation_kind": kind,
        "moderation_updated_at": verdict["updated_at"],
        "asset_id": asset.asset_id,
        "public_id": asset.name.public_id,
        "version": content.version,
        **asset.urls,
        "etag": content.etag,
    }
    account.tell("moderation", fields)
    account.change_silently(asset, f"has got its file back: {content}")


def inform(account: Account, job: Job, tags: set[str], *, as_object: bool) -> None:
    """`info`: an add-on has a result. Auto-tagging adds tags, and nothing tells of that."""
    account.reach_the_next_second()
    found = [{"tag": tag, "confidence": 0.9} for tag in sorted(tags)]
    fields = {
        "info_kind": "google_tagging",
        "info_status": "complete",
        **_named(job),
        "info_data": {"tags": found} if as_object else found,
    }
    account.tell("info", fields, ordered_at=job.ordered_at)
    if job.asset.deleted_at is None and tags - job.asset.tags:
        job.asset.tags = job.asset.tags | tags
        account.change_silently(job.asset, f"is tagged {sorted(job.asset.tags)}")


def _named(job: Job) -> dict[str, Any]:
    """Neither resource type nor delivery type, but in the URL."""
    return {
        "asset_id": job.asset.asset_id,
        "public_id": job.asset.name.public_id,
        "uploaded_at": to_the_second(job.asset.created_at),
        "version": job.content.version,
        **job.asset.urls,
    }
