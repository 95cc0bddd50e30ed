"""What answers of the Admin API list: resources, read so that an odd one among them changes nothing for the others. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import orjson

from schemas.json import NotAnObjectError, storable
from service.cloudinary.answer import Answer
from service.cloudinary.errors import UnavailableError

Resource = Mapping[str, Any]  # as the Admin API gives it

# What a listing leaves out unless it is asked for: by flags, or, which then overrides the flags, field by field. A server that
# does not know `fields` heeds the flags; for one that refuses them, they are left out.
FLAGS: Mapping[str, bool] = {"tags": True, "context": True, "metadata": True, "moderations": True}
FIELDS = (
    "asset_id", "public_id", "resource_type", "type", "format", "version", "version_id", "created_at", "uploaded_at", "bytes",
    "width", "height", "duration", "pages", "etag", "placeholder", "asset_folder", "folder", "display_name", "original_filename",
    "tags", "context", "metadata", "moderation", "access_control",
)  # fmt: skip
# Of these, what nearly every asset has. Some have no version (such as those of social networks), so one alone proves nothing.
_CERTAIN = frozenset({"asset_id", "public_id", "resource_type", "type", "version", "tags"})


@dataclass(frozen=True, slots=True)
class Listed:
    """What one answer lists."""

    resources: Sequence[Resource]
    cursor: str | None  # of what it has left out
    read_at: datetime

    @property
    def heeds_fields(self) -> bool:
        """Whether it has what was asked for field by field: one asset that is shown with all that is certain is enough."""
        return not self.resources or any(one.keys() >= _CERTAIN for one in self.resources)

    @property
    def shown(self) -> frozenset[str]:
        """Of what any of its assets something is said."""
        return frozenset(name for one in self.resources for name in one)


def gains(by_flags: Listed, by_fields: Listed) -> bool:
    """Tell whether asking by flags brought what is certain, and what asking field by field did not bring."""
    return bool((by_flags.shown & _CERTAIN) - by_fields.shown)


def listed_by(answer: Answer, cloud: str) -> Listed:
    """Read an answer as the mirror will read it off the log; one without a list is no empty list: raises `UnavailableError`."""
    found = answer.body.get("resources")
    if not isinstance(found, list):
        raise UnavailableError(said="an answer that lists nothing, not even nothing", function="resources", cloud=cloud)
    cursor = answer.body.get("next_cursor") or None
    if cursor is not None and not (isinstance(cursor, str) and cursor.isprintable()):
        raise UnavailableError(said="a cursor that is no text", function="resources", cloud=cloud)
    return Listed(_storable(found), cursor, answer.read_at)


def both(by_flags: Listed, by_fields: Listed) -> Listed:
    """Put together what two answers say of the same assets, where both speak of the same content."""
    more = {one["asset_id"]: one for one in by_fields.resources if isinstance(one.get("asset_id"), str)}
    return Listed(
        [_together(one, more.get(str(one.get("asset_id")))) for one in by_flags.resources],
        by_flags.cursor,
        min(by_flags.read_at, by_fields.read_at),
    )


def _together(by_flags: Resource, by_fields: Resource | None) -> Resource:
    if by_fields is None or by_fields.get("version", by_flags.get("version")) != by_flags.get("version"):
        return by_flags
    return {**by_fields, **by_flags}


def _storable(found: Sequence[object]) -> list[Resource]:
    """Give the objects among what was listed; the whole at once, and one by one when something in it can't be read."""
    try:
        return _objects(_read(found))
    except NotAnObjectError:
        return [resource for one in found for resource in _alone(one)]


def _alone(one: object) -> list[Resource]:
    try:
        return _objects(_read([one]))
    except NotAnObjectError:
        return []


def _read(found: Sequence[object]) -> Iterable[object]:
    body = {"resources": found}
    try:
        read = storable(orjson.dumps(body))
    except TypeError:  # for lone surrogates, and for numbers of more than 64 bits, which the second time become approximate
        try:
            read = storable(json.dumps(storable(json.dumps(body).encode())).encode())
        except (ValueError, RecursionError) as error:
            raise NotAnObjectError from error
    return cast("list[object]", read["resources"])


def _objects(read: Iterable[object]) -> list[Resource]:
    return [one for one in read if isinstance(one, dict)]


def stated(resource: Resource) -> Resource:
    """Give a resource with what was asked for and left out, which is how Cloudinary says that there is none.

    Tags are always shown to those who ask, if only as an empty list. Where they are not, the question was not heeded, and that
    something is left out says nothing.
    """
    return {"context": {}, "metadata": {}, **resource} if "tags" in resource else resource


def unrestricted(resource: Resource) -> Resource:
    """State it where a resource is shown with null for restrictions, which means that there are none."""
    if "access_control" in resource and resource["access_control"] is None:
        return {**resource, "access_control": []}
    return resource
