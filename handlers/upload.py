"""`upload`: an asset was stored, or stored again under its name."""

from collections.abc import Mapping
from operator import attrgetter

from schemas.asset import COLUMNS, AssetName, Group
from schemas.bodies import Upload, read
from schemas.change import Change
from schemas.notification import Notification

# Said about the call, or derivable from the columns, so not kept in `details`.
_NOT_DETAILS = frozenset(
    [
        "api_key",
        "derived",
        "last_updated",
        "next_cursor",
        "notification_context",
        "notification_type",
        "overwritten",
        "request_id",
        "signature",
        "signature_key",
        "timestamp",
    ]
)


_content_of = attrgetter(*COLUMNS[Group.CONTENT])


def stored(notification: Notification) -> list[Change]:
    """Assert all that the body states; what it leaves out is not asserted."""
    body = read(Upload, notification.body)
    name = body.name
    if body.asset_id is None and name is None:
        return []
    wholes = described(body, name)
    wholes[Group.ALIVE] = {}
    if not body.existing:
        wholes[Group.CONTENT] = content(body)
        wholes[Group.DETAILS] = details(body)
        wholes[Group.PLACEHOLDER] = {"placeholder": bool(body.placeholder)}
    clock = notification.clock()
    return [Change(body.asset_id, name, clock, wholes, content_clock=notification.content_clock(clock, body.version))]


def described(body: Upload, name: AssetName | None) -> dict[Group, Mapping[str, object]]:
    """Give what a body states beside the content."""
    stated: dict[Group, Mapping[str, object]] = {}
    if name is not None:
        stated[Group.NAME] = {"resource_type": name.resource_type, "type": name.type, "public_id": name.public_id}
    if (folder := body.asset_folder if body.asset_folder is not None else body.folder) is not None:
        stated[Group.FOLDER] = {"assigned_folder": folder}
    if body.display_name is not None:
        stated[Group.DISPLAY] = {"display_name": body.display_name}
    if body.tags is not None:
        stated[Group.TAGS] = dict.fromkeys(body.tags, True)
    if body.context is not None:
        stated[Group.CONTEXT] = _custom(body.context)
    if body.metadata is not None:
        stated[Group.METADATA] = body.metadata
    if body.access_control is not None:
        stated[Group.ACCESS] = {"access_control": body.access_control}
    if body.moderation is not None:
        stated[Group.MODERATION] = _by_kind(body.moderation)
    return stated


def content(body: Upload) -> dict[str, object]:
    """Give the content's columns."""
    return dict(zip(COLUMNS[Group.CONTENT], _content_of(body), strict=True))


def details(body: Upload) -> dict[str, object]:
    """Give what Cloudinary says of the content and has no column."""
    return {name: value for name, value in (body.model_extra or {}).items() if name not in _NOT_DETAILS}


def _custom(context: dict[str, object]) -> dict[str, object]:
    """Contextual metadata comes as `{"custom": {…}}` in bodies of the Upload API."""
    custom = context.get("custom")
    return custom if isinstance(custom, dict) else context


def _by_kind(moderations: list[dict[str, object]]) -> dict[str, object]:
    return {str(one.get("kind", "")): {name: value for name, value in one.items() if name != "kind"} for one in moderations}
