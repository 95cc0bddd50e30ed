"""JSON as Cloudinary sends it and PostgreSQL can hold it."""

import json
from typing import Any, NoReturn, TypeAlias, cast

import orjson

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
JSONObject: TypeAlias = dict[str, JSON]

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class NotAnObjectError(ValueError):
    """The bytes are not exactly one JSON object."""


def parse_object(raw: bytes) -> JSONObject:
    """Read exactly one JSON object; anything else, trailing bytes included, raises `NotAnObjectError`."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        value = _parse_leniently(raw)
    if not isinstance(value, dict):
        raise NotAnObjectError
    return value


def _parse_leniently(raw: bytes) -> JSON:
    """RFC 8259 allows a lone surrogate escape in a string; orjson does not, and a signed body must not be lost for it."""
    try:
        value: JSON = json.loads(raw.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise NotAnObjectError from error
    return value


def _refuse_constant(_name: str) -> NoReturn:
    raise NotAnObjectError


def storable(raw: bytes) -> JSONObject:
    """As `parse_object`, with what PostgreSQL's text can't hold (NUL, lone surrogates) replaced by U+FFFD."""
    value = parse_object(raw)
    # Both can only come from an escape, and a look at the bytes is far cheaper than one at every string.
    if b"\\" in raw and (b"\\u0000" in raw or b"\\ud" in raw or b"\\uD" in raw):
        value = {clean_text(key): _clean(item) for key, item in value.items()}
    return value


class _Pairs(list[tuple[str, JSON]]):
    """An object as the pairs it was written as."""


def members(raw: bytes, name: str) -> list[tuple[str, JSON]]:
    """Give the members of the object that `name` holds in `raw`, doubled keys too, of which a dict keeps but the last."""
    held = dict(json.loads(raw, object_pairs_hook=_Pairs)).get(name)
    return [(clean_text(key), _clean(_plain(value))) for key, value in held] if isinstance(held, _Pairs) else []


def _plain(value: Any) -> JSON:  # noqa: ANN401  # what json.loads gives
    if isinstance(value, _Pairs):
        return {key: _plain(item) for key, item in value}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return cast("JSON", value)


def _clean(value: JSON) -> JSON:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {clean_text(key): _clean(item) for key, item in value.items()}
    return value


def clean_text(text: str) -> str:
    """Give text that PostgreSQL and UTF-8 can hold."""
    return text.replace("\0", _REPLACEMENT).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
