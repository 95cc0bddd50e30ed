"""`upload`: an asset was stored, or stored again under its name."""

from collections.abc import Mapping
from operator import attrgetter
from typing import cast

from handlers.folders import tidy
from handlers.resources import joined
from schemas.asset import COLUMNS, AssetName, Group
from schemas.bodies import Upload, read
from schemas.change import Change
from schemas.json import JSON
from schemas.mending import fields_of
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
    asked = _left_open(body, name)
    clock = notification.clock()
    return [
        Change(body.asset_id, name, clock, wholes, content_clock=notification.content_clock(clock, body.version), refetch=asked)
    ]


def _left_open(body: Upload, name: AssetName | None) -> str | None:
    """Say what of an upload the account must be asked for."""
    context = body.context is None or _custom(body.context)[1]
    if context and name is not None and body.version is not None and body.odd is None:
        return None
    return joined(
        (
            None if name is not None else "its upload names it only in part",
            None if body.version is not None or body.existing else "its upload tells no version",
            None if context else "context can be read only in part",
            body.odd,
        )
    )


def described(body: Upload, name: AssetName | None) -> dict[Group, Mapping[str, object]]:
    """Give what a body states beside the content."""
    stated: dict[Group, Mapping[str, object]] = {}
    if name is not None:
        stated[Group.NAME] = {"resource_type": name.resource_type, "type": name.type, "public_id": name.public_id}
    if (folder := body.asset_folder if body.asset_folder is not None else body.folder) is not None:
        stated[Group.FOLDER] = {"assigned_folder": tidy(folder)}
    if body.display_name is not None:
        stated[Group.DISPLAY] = {"display_name": body.display_name}
    if body.tags is not None:
        stated[Group.TAGS] = dict.fromkeys(body.tags, True)
    if body.context is not None:
        stated[Group.CONTEXT] = _custom(body.context)[0]
    if body.metadata is not None:
        stated[Group.METADATA] = body.metadata
    if "access_control" in body.model_fields_set:
        # null says that there is no restriction
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


def _custom(context: dict[str, object]) -> tuple[dict[str, object], bool]:
    """Contextual metadata comes as `{"custom": {…}}` in bodies of the Upload API; tells whether all of it can be read."""
    custom = context.get("custom", context)
    if isinstance(custom, dict):
        return custom, True
    if not custom:
        return {}, True
    fields, is_all = fields_of(cast("JSON", custom)) or ({}, False)
    return cast("dict[str, object]", fields), is_all


def _by_kind(moderations: list[dict[str, object]]) -> dict[str, object]:
    return {str(one.get("kind", "")): {name: value for name, value in one.items() if name != "kind"} for one in moderations}
