"""`moderation`: a verdict on an asset."""

from collections.abc import Mapping

from handlers.resources import and_odd
from schemas.asset import Asset, Group
from schemas.bodies import Moderation, read
from schemas.change import Change
from schemas.clock import Rank, version_of
from schemas.notification import Notification

_REJECTED = "rejected"


def judged(notification: Notification) -> list[Change]:
    """Assert the verdict of its kind. One may come after the asset's end, so it doesn't assert its existence.

    What is rejected is replaced by a placeholder; the account is asked for its new version.
    """
    body = read(Moderation, notification.body)
    verdicts = _verdicts(body)
    if not body.names_an_asset or not verdicts:
        return []
    rejected = any(verdict.get("status") == _REJECTED for verdict in verdicts.values())
    reason = "rejected: a placeholder has taken its place" if rejected else None
    clock = notification.clock(Rank.RESULT)
    return [
        Change(
            body.asset_id,
            body.name,
            clock,
            {Group.PLACEHOLDER: {"placeholder": True}} if rejected else {},
            {Group.MODERATION: verdicts},
            content_clock=notification.content_clock(clock, body.version),
            refetch=and_odd(reason, body),
        )
    ]


def overturned(asset: Asset, change: Change) -> str | None:
    """Say why an asset must be asked about after a verdict: it may have got its file back. None when it need not."""
    if Group.MODERATION not in change.parts or asset.deleted_at is not None:
        return None
    if asset.placeholder and Group.PLACEHOLDER not in change.wholes:
        return "a verdict on a placeholder: its file may be back"
    if int(version_of(change.content_clock)) > (asset.version or 0):
        return "a verdict on newer content than is known"
    return None


def _verdicts(body: Moderation) -> dict[str, Mapping[str, object]]:
    if body.moderation_status is None:
        told = (one for one in body.moderation if isinstance(one.get("status"), str))
        return {str(one.get("kind", "")): {name: value for name, value in one.items() if name != "kind"} for one in told}
    verdict: dict[str, object] = {"status": body.moderation_status}
    if body.moderation_updated_at is not None:
        verdict["updated_at"] = body.moderation_updated_at
    return {body.moderation_kind or "": verdict}
