"""What people attach to assets: display names, tags, contextual and structured metadata."""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from handlers.resources import Told, each
from schemas.asset import Group
from schemas.bodies import ContextChange, Resource, TagsChange
from schemas.change import GONE, Change
from schemas.notification import Notification

_CHANGES = frozenset({"added", "removed", "updated"})


def display_name_changed(notification: Notification) -> Iterator[Change]:
    """`resource_display_name_changed`."""

    def tell(body: Resource) -> Told | str:
        if body.new_display_name is None:
            return "got a display name that the notification leaves out"
        return {Group.DISPLAY: {"display_name": body.new_display_name}}

    return each(notification, Resource, tell)


def tags_changed(notification: Notification) -> Iterator[Change]:
    """`resource_tags_changed`: a tag both added and removed is there."""

    def tell(body: TagsChange) -> Told | str:
        if body.model_fields_set.isdisjoint(_CHANGES):
            return "tags were changed to what the notification leaves out"
        return {Group.TAGS: dict.fromkeys(body.removed, GONE) | dict.fromkeys([*body.updated, *body.added], True)}

    return each(notification, TagsChange, tell, as_parts=True)


def context_changed(notification: Notification) -> Iterator[Change]:
    """`resource_context_changed`: names with their values; when values are left out, the account is asked."""

    def tell(body: ContextChange) -> Told | str | tuple[Told, str]:
        if body.model_fields_set.isdisjoint(_CHANGES):
            return "context was changed to what the notification leaves out"
        removed, updated, added = _names(body.removed), _named(body.updated), _named(body.added)
        told: Told = {Group.CONTEXT: {**dict.fromkeys(removed, GONE), **updated, **added}}
        if (len(removed), len(updated), len(added)) == (len(body.removed), len(body.updated), len(body.added)):
            return told
        return told, "context was changed to values that the notification leaves out"

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


def _names(items: Items) -> Mapping[str, None]:
    """Read the names of `[{name, value}]`, of an object, or of names alone; those without one are left out."""
    names = (item.get("name") if isinstance(item, dict) else item for item in items)
    return dict.fromkeys(name for name in names if isinstance(name, str))


def _named(items: Items) -> Mapping[str, object]:
    """Read `[{name, value}]` or an object; what lacks its name or its value is left out."""
    if isinstance(items, dict):
        return items
    whole = (item for item in items if isinstance(item, dict) and "value" in item)
    return {name: item["value"] for item in whole if isinstance(name := item.get("name"), str)}
