"""`moderation`: a verdict on an asset."""

from schemas.asset import Group
from schemas.bodies import Moderation, read
from schemas.change import Change
from schemas.clock import Rank
from schemas.notification import Notification


def judged(notification: Notification) -> list[Change]:
    """Assert the verdict of its kind. One may come after the asset's end, so it doesn't assert its existence.

    What is rejected is replaced by a placeholder; the account is asked for its new version.
    """
    body = read(Moderation, notification.body)
    if not body.names_an_asset or body.moderation_status is None:
        return []
    verdict: dict[str, object] = {"status": body.moderation_status}
    if body.moderation_updated_at is not None:
        verdict["updated_at"] = body.moderation_updated_at
    rejected = body.moderation_status == "rejected"
    clock = notification.clock(Rank.RESULT)
    return [
        Change(
            body.asset_id,
            body.name,
            clock,
            {Group.PLACEHOLDER: {"placeholder": True}} if rejected else {},
            {Group.MODERATION: {body.moderation_kind or "": verdict}},
            content_clock=notification.content_clock(clock, body.version),
            refetch="rejected: a placeholder has taken its place" if rejected else None,
        )
    ]
