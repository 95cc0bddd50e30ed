"""`upload`: an asset was stored, or stored again under its name."""

from schemas.asset import COLUMNS, Group
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


def stored(notification: Notification) -> list[Change]:
    """Assert all that the body states; what it leaves out is not asserted."""
    body = read(Upload, notification.body)
    if not body.names_an_asset:
        return []
    wholes = described(body) | {Group.ALIVE: {}}
    if not body.existing:
        wholes |= {
            Group.CONTENT: content(body),
            Group.DETAILS: details(body),
            Group.PLACEHOLDER: {"placeholder": bool(body.placeholder)},
        }
    return [Change(body.asset_id, body.name, notification.clock(), wholes, version=body.version or 0)]


def described(body: Upload) -> dict[Group, dict[str, object]]:
    """Give what a body states beside the content."""
    folder = body.asset_folder if body.asset_folder is not None else body.folder
    stated: dict[Group, dict[str, object] | None] = {
        Group.NAME: body.name and body.name._asdict(),
        Group.FOLDER: None if folder is None else {"assigned_folder": folder},
        Group.DISPLAY: None if body.display_name is None else {"display_name": body.display_name},
        Group.TAGS: None if body.tags is None else dict.fromkeys(body.tags, True),
        Group.CONTEXT: None if body.context is None else _custom(body.context),
        Group.METADATA: body.metadata,
        Group.ACCESS: None if body.access_control is None else {"access_control": body.access_control},
        Group.MODERATION: None if body.moderation is None else _by_kind(body.moderation),
    }
    return {group: values for group, values in stated.items() if values is not None}


def content(body: Upload) -> dict[str, object]:
    """Give the content's columns."""
    return {column: getattr(body, column) for column in COLUMNS[Group.CONTENT]}


def details(body: Upload) -> dict[str, object]:
    """Give what Cloudinary says of the content and has no column."""
    return {name: value for name, value in (body.model_extra or {}).items() if name not in _NOT_DETAILS}


def _custom(context: dict[str, object]) -> dict[str, object]:
    """Contextual metadata comes as `{"custom": {…}}` in bodies of the Upload API."""
    custom = context.get("custom")
    return custom if isinstance(custom, dict) else context


def _by_kind(moderations: list[dict[str, object]]) -> dict[str, object]:
    return {str(one.get("kind", "")): {name: value for name, value in one.items() if name != "kind"} for one in moderations}
