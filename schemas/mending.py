"""Reading what isn't quite in shape: as much of an odd field as can be read, and which fields were odd."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Self, TypeAlias

from pydantic import ValidationError

from schemas.json import JSON, JSONObject, fits

# What a name, with its two kinds and the cloud, and a path may have in a B-tree's entry of 2,704.
MOST_BYTES: Mapping[str, int] = MappingProxyType({"name": 1_800, "kind": 200, "path": 2_000})
_MOST_TEXT = 10_000  # characters of any other text

_BYTES_OF = (
    dict.fromkeys(("asset_id", "public_id", "from_public_id", "to_public_id"), MOST_BYTES["name"])
    | dict.fromkeys(("resource_type", "type", "to_type"), MOST_BYTES["kind"])
    | dict.fromkeys(
        ("asset_folder", "folder", "to_asset_folder", "to_folder", "folder_path", "from_path", "to_path"), MOST_BYTES["path"]
    )
)
_NAMES = ("external_id", "name", "key", "id")  # how an element of a list of fields is called
_VERSION = re.compile(r"\s*v?(\d+)\s*")
_SAYS_NOTHING = (None, "")


class Mending(NamedTuple):
    """A body that can be read."""

    body: JSONObject
    long: Mapping[str, str]  # texts of more characters than usual, but of few enough bytes
    odd: tuple[str, ...]  # which fields can't be read, or only in part

    def without(self, error: ValidationError) -> Self:
        """Give it without the fields that can't be read for all the mending."""
        names = _fields_of(error)
        body = {name: value for name, value in self.body.items() if name not in names}
        return self._replace(body=body, odd=(*self.odd, *(f"{name} can't be read" for name in names)))


# What can be read of a value, and whether that is all of it; None when there is nothing to read.
Mended: TypeAlias = tuple[JSON, bool] | None


def mended(body: JSONObject, error: ValidationError, texts: Collection[str]) -> Mending:
    """Mend the fields that `error` is about. `texts`: those that are lists of texts."""
    names = _fields_of(error)
    kept = {name: value for name, value in body.items() if name not in names}
    long: dict[str, str] = {}
    odd: list[str] = []
    for name in names:
        value = body.get(name)
        if value in _SAYS_NOTHING:
            continue
        if isinstance(value, str) and name in _BYTES_OF:
            if fits(value, _BYTES_OF[name]):
                long[name] = value
            else:
                odd.append(f"{name} is too long ({len(value.encode()):,} bytes)")
            continue
        mend = _texts if name in texts else _MENDERS.get(name)
        found = mend(value) if mend else None
        if found is not None:
            kept[name], is_all = found
        if found is None or not is_all:
            odd.append(f"{name} can be read only in part" if found else f"{name} can't be read")
    return Mending(kept, long, tuple(odd))


def _fields_of(error: ValidationError) -> dict[str, None]:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return dict.fromkeys(str(problem["loc"][0]) for problem in problems if problem["loc"])


def _number(value: JSON) -> Mended:
    """Read `"v1719310887"`, as it stands in delivery URLs."""
    found = _VERSION.fullmatch(value) if isinstance(value, str) and len(value) <= len(str(2**64)) else None
    return (number, True) if found and (number := int(found[1])) < 2**63 else None


def _texts(value: JSON) -> Mended:
    """Read a list of texts, also one told as `"a,b"`, as Cloudinary's API takes it, or as a single one."""
    if isinstance(value, str):
        value = [text for part in value.split(",") if (text := part.strip())]
    elif _is_number(value):
        value = [str(value)]
    if isinstance(value, dict):
        value = _in_order(value)
    if not isinstance(value, list):
        return None
    texts: list[JSON] = [str(one) for one in value if _is_short_text(one) or _is_number(one)]
    return _part(texts, value)


def _objects(value: JSON) -> Mended:
    """Read a list of objects, also one alone."""
    if isinstance(value, dict):
        return (_in_order(value) or [value]) if value else [], True
    if not isinstance(value, list):
        return None
    return _part([one for one in value if isinstance(one, dict)], value)


def _verdicts(value: JSON) -> Mended:
    """Read moderations, also told by their kind."""
    if isinstance(value, dict) and "status" not in value and "kind" not in value:
        told: list[JSON] = [
            {"kind": kind, **(one if isinstance(one, dict) else {"status": one})}
            for kind, one in value.items()
            if isinstance(one, (dict, str))
        ]
        return _part(told, value)
    return _objects(value)


def fields_of(value: JSON) -> Mended:
    """Read names with values: from a list of objects that each hold one, or from `"a=b|c=d"`, as Cloudinary's API takes it."""
    if isinstance(value, str):
        pairs = [part.split("=", 1) for part in re.split(r"(?<!\\)\|", value)]
        read: JSONObject = {pair[0].strip(): pair[1] for pair in pairs if len(pair) > 1}
        return _part(read, pairs)
    if not isinstance(value, list):
        return None
    named: JSONObject = {}
    count = 0
    for one in value:
        if isinstance(one, dict) and (pair := _pair(one)):
            named[pair[0]] = pair[1]
            count += 1
    return (named, count == len(value)) if count or not value else None


def _pair(one: JSONObject) -> tuple[str, JSON] | None:
    name = next((name for key in _NAMES if _is_short_text(name := one.get(key)) and name), None)
    if name is not None and "value" in one:
        return str(name), one["value"]
    return next(iter(one.items())) if len(one) == 1 and name is None else None


def _changes_of_fields(value: JSON) -> Mended:
    """Read `[{name, value}]` of which an element is odd, or what else tells fields."""
    if isinstance(value, str):
        return fields_of(value) if "=" in value else _texts(value)
    if not isinstance(value, list):
        return None
    return _part([one for one in value if isinstance(one, dict) or _is_short_text(one)], value)


def _part(read: list[JSON] | JSONObject, of: Iterable[object]) -> Mended:
    """Give what was read; nothing, if there was something and none of it could be."""
    most = len(list(of))
    return (read, len(read) == most) if read or not most else None


def _in_order(value: JSONObject) -> list[JSON]:
    """Read a list that was written as `{"0": …, "1": …}`."""
    return list(value.values()) if value and all(key.isdecimal() for key in value) else []


def _is_short_text(value: JSON) -> bool:
    return isinstance(value, str) and len(value) <= _MOST_TEXT


def _is_number(value: JSON) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_MENDERS: Mapping[str, Callable[[JSON], Mended]] = MappingProxyType(
    dict.fromkeys(("version", "bytes", "width", "height", "pages"), _number)
    | dict.fromkeys(("access_control", "new_access_control", "eager"), _objects)
    | {"moderation": _verdicts}
    | dict.fromkeys(("context", "metadata", "previous_metadata", "new_metadata"), fields_of)
    | dict.fromkeys(("added", "removed", "updated"), _changes_of_fields)
)
