"""`upload`: an asset was stored, or stored again under its name."""

from schemas.asset import Group
from schemas.change import Change, stated
from schemas.notification import Notification, Upload, read

# Said about the call or derivable from the columns, so not kept in `details`.
_NOT_DETAILS = frozenset(
    {
        "api_key",
        "notification_context",
        "notification_type",
        "overwritten",
        "request_id",
        "secure_url",
        "signature",
        "signature_key",
        "timestamp",
        "url",
    }
)


def handle(notification: Notification) -> list[Change]:
    """Assert all that the body states; what it leaves out is not asserted."""
    body = read(Upload, notification.body)
    if body.asset_id is None and body.name is None:
        return []
    groups: dict[Group, dict[str, object]] = {Group.EXISTENCE: {"deleted_at": None}}
    if body.name is not None:
        groups[Group.NAME] = body.name._asdict()
    if not body.existing:
        groups[Group.CONTENT] = _content(body)
    groups |= stated(
        {
            Group.FOLDER: body.asset_folder if body.asset_folder is not None else body.folder,
            Group.DISPLAY: body.display_name,
            Group.TAGS: None if body.tags is None else sorted(set(body.tags)),
            Group.CONTEXT: None if body.context is None else _custom(body.context),
            Group.METADATA: body.metadata,
            Group.ACCESS: body.access_control,
            Group.MODERATION: body.moderation,
        }
    )
    return [Change(body.asset_id, body.name, notification.clock(), groups, version=body.version or 0)]


def _content(body: Upload) -> dict[str, object]:
    return {
        "format": body.format,
        "version": body.version,
        "version_id": body.version_id,
        "bytes": body.bytes,
        "width": body.width,
        "height": body.height,
        "duration": body.duration,
        "etag": body.etag,
        "placeholder": body.placeholder,
        "created_at": body.created_at,
        "uploaded_at": body.uploaded_at,
        "details": {name: value for name, value in (body.model_extra or {}).items() if name not in _NOT_DETAILS},
    }


def _custom(context: dict[str, object]) -> dict[str, object]:
    """Contextual metadata comes as `{"custom": {…}}` in bodies of the Upload API."""
    custom = context.get("custom")
    return custom if isinstance(custom, dict) else context
