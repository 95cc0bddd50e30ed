"""`snapshot` and `missing`: what a reading of the account said of an asset, or that it was not there. Ours, not Cloudinary's."""

from collections.abc import Iterator

from handlers.upload import content, described, details
from schemas.asset import Group
from schemas.bodies import Named, Upload, read
from schemas.change import Change
from schemas.clock import Rank
from schemas.notification import Notification


def snapshot(notification: Notification) -> Iterator[Change]:
    """Assert what the reading says of each asset; content it leaves out (listings are brief) is not asserted."""
    bodies = (read(Upload, item) for item in notification.resources())
    return (_read(notification, body) for body in bodies if body.names_an_asset)


def missing(notification: Notification) -> Iterator[Change]:
    """Assert that the account did not have these assets when it was read. When they went, and as what, a reading can't tell."""
    bodies = (read(Named, item) for item in notification.resources())
    clock = notification.clock(Rank.READING)
    # whoever has an id is not looked for by name, which another asset may have got since
    named = ((body.asset_id, None if body.asset_id else body.name) for body in bodies if body.names_an_asset)
    return (Change(asset_id, name, clock, {Group.GONE: {}}) for asset_id, name in named)


def _read(notification: Notification, body: Upload) -> Change:
    name = body.name
    wholes = described(body, name)
    if (existence := _existence(body)) is not None:
        wholes[existence] = {}
    parts: dict[Group, dict[str, object]] = {
        # its version in any case, which says what all else is about
        Group.CONTENT: {"version": None} | {name: value for name, value in content(body).items() if value is not None},
        Group.DETAILS: details(body),
    }
    if body.version is not None:
        # said of placeholders only
        wholes[Group.PLACEHOLDER] = {"placeholder": bool(body.placeholder)}
    clock = notification.clock(Rank.READING)
    content_clock = notification.content_clock(clock, body.version)
    return Change(body.asset_id, name, clock, wholes, parts, content_clock, note=body.odd)


def _existence(body: Upload) -> Group | None:
    """A deleted asset that has a backup is still listed, as an empty placeholder.

    So is one that a moderation rejected, deleted or not: its reading says nothing about that.
    """
    if not body.placeholder or body.bytes:
        return Group.ALIVE
    rejected = any(one.get("status") == "rejected" for one in body.moderation or ())
    return None if rejected else Group.GONE
