"""What people attach to assets: display names, tags, contextual and structured metadata."""

from collections.abc import Iterator
from typing import TypeAlias

from handlers.resources import Told, each
from schemas.asset import Group
from schemas.bodies import ContextChange, Resource, TagsChange
from schemas.change import GONE, Change
from schemas.notification import Notification


def display_name_changed(notification: Notification) -> Iterator[Change]:
    """`resource_display_name_changed`."""
    return each(
        notification,
        Resource,
        lambda body: None if body.new_display_name is None else {Group.DISPLAY: {"display_name": body.new_display_name}},
    )


def tags_changed(notification: Notification) -> Iterator[Change]:
    """`resource_tags_changed`: a tag both added and removed is there."""
    return each(
        notification,
        TagsChange,
        lambda body: {Group.TAGS: dict.fromkeys(body.removed, GONE) | dict.fromkeys([*body.updated, *body.added], True)},
        as_parts=True,
    )


def context_changed(notification: Notification) -> Iterator[Change]:
    """`resource_context_changed`: names with their values; when values are left out, the account is asked."""

    def tell(body: ContextChange) -> Told | str:
        removed = dict.fromkeys(_names(body.removed), GONE)
        updated, added = _named(body.updated), _named(body.added)
        if updated is None or added is None:
            return "context was changed to values that the notification leaves out"
        return {Group.CONTEXT: removed | updated | added}

    return each(notification, ContextChange, tell, as_parts=True)


def metadata_changed(notification: Notification) -> Iterator[Change]:
    """`resource_metadata_changed`: fields before and after.

    Whether they are all of the asset's fields or those that changed is not documented. Read field by field, both come out right:
    one that is new has its new value, one that was and isn't any more is gone, and of others nothing is said.
    """

    def tell(body: Resource) -> Told | str:
        if body.new_metadata is None:
            return "metadata was changed to values that the notification leaves out"
        return {Group.METADATA: {**dict.fromkeys(body.previous_metadata or (), GONE), **body.new_metadata}}

    return each(notification, Resource, tell, as_parts=True)


Items: TypeAlias = list[dict[str, object] | str] | dict[str, object]


def _names(items: Items) -> list[str]:
    """Read the names of `[{name, value}]`, of an object, or of names alone."""
    return [str(item.get("name")) if isinstance(item, dict) else item for item in items]


def _named(items: Items) -> dict[str, object] | None:
    """Read `[{name, value}]` or an object; None when there are names without values."""
    if isinstance(items, dict):
        return items
    named = {str(item["name"]): item["value"] for item in items if isinstance(item, dict) and {"name", "value"} <= item.keys()}
    return named if len(named) == len(items) else None
