"""JSON as Cloudinary sends it, and as PostgreSQL and Kafka can hold it."""

import json
import math
import re
from typing import Any, NamedTuple, NoReturn, TypeAlias, cast

import orjson

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
JSONObject: TypeAlias = dict[str, JSON]

# orjson writes 254 levels. An event wraps what a body says of an asset in three, and a few are to spare.
DEEPEST = 245
_SPARE = 254 - DEEPEST
_LONGEST = len(str(2**63))  # a number with fewer digits fits in 64 bits

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# What can be told of bytes at a glance: digits as 0, what opens a level as [, what else may stand before a number as a colon.
_OUTLINE = bytes(
    ord("0") if byte in b"0123456789" else ord("[") if byte in b"[{" else ord(":") if byte in b":,- \t\r\n" else ord(".")
    for byte in range(256)
)
_LARGE_NUMBERS = (b":" + b"0" * _LONGEST, b"[" + b"0" * _LONGEST)
# a string, or a run of brackets
_TOKENS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]+|[\]}]+', re.DOTALL)
_STRING, _OPENING = ord('"'), b"[{"


class NotAnObjectError(ValueError):
    """The bytes are not exactly one JSON object."""


class Storable(NamedTuple):
    """An object of which PostgreSQL and Kafka can hold all, and what had to become of it for that."""

    value: JSONObject
    raw: bytes  # what it was read from: of a very deep body, without what was cut
    changes: tuple[str, ...] = ()  # in words
    is_cut: bool = False  # something was left out


def parse_object(raw: bytes) -> JSONObject:
    """Read exactly one JSON object; anything else, trailing bytes included, raises `NotAnObjectError`.

    What lies deeper than any program reads is cut, and numbers that have more than 64 bits may become text.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        value = _parse_leniently(_cut(raw), _Numbers())
    return _an_object(value)


def storable(raw: bytes) -> JSONObject:
    """As `parse_object`, with all that PostgreSQL and Kafka can't hold replaced or left out."""
    return make_storable(raw).value


def make_storable(raw: bytes) -> Storable:
    """As `storable`, and tell what was changed. Never fails for an object.

    An ordinary body costs a few looks at its bytes, which are far cheaper than one at every value.
    """
    outline = raw.translate(_OUTLINE)
    try:
        value = orjson.loads(raw)
        # orjson makes floats of large numbers, so that `12345678901234567890123` would be another name
        is_usual = not (_LARGE_NUMBERS[0] in outline or _LARGE_NUMBERS[1] in outline) and (
            outline.count(b"[") <= DEEPEST or _is_shallow(value)
        )
    except orjson.JSONDecodeError:
        is_usual = False
    if not is_usual:
        return _made_storable(None, raw)
    return _made_storable(_an_object(value), raw) if b"\\" in raw else Storable(_an_object(value), raw)


def _made_storable(value: JSONObject | None, raw: bytes) -> Storable:
    """Do what ordinary bodies don't need. `value`: what was read, if it may stay so but for its texts."""
    kept, numbers = raw, _Numbers()
    if value is None:
        kept = _cut(raw)
        value = _an_object(_parse_leniently(kept, numbers))
    changes = []
    # Both can only come from an escape.
    if b"\\" in kept and (b"\\u0000" in kept or b"\\ud" in kept or b"\\uD" in kept):
        before, value = value, cast("JSONObject", _clean(value))
        if value != before:
            changes.append("characters that can't be stored were replaced")
    if numbers.unusual:
        changes.append("numbers of more than 64 bits were kept as text")
    is_cut = kept is not raw
    if is_cut:
        changes.append(f"what lay more than {DEEPEST} levels deep was left out")
    return Storable(value, kept, tuple(changes), is_cut)


def _an_object(value: JSON) -> JSONObject:
    if not isinstance(value, dict):
        raise NotAnObjectError
    return value


class _Numbers:
    """Reads numbers; those that don't fit in 64 bits stay the text they are."""

    def __init__(self) -> None:
        self.unusual = False

    def whole(self, digits: str) -> int | str:
        if len(digits) <= _LONGEST + 1 and -(2**63) <= (number := int(digits)) < 2**64:
            return number
        self.unusual = True
        return digits

    def real(self, digits: str) -> float | str:
        if math.isfinite(number := float(digits)):
            return number
        self.unusual = True
        return digits


def _parse_leniently(raw: bytes, numbers: _Numbers) -> JSON:
    """RFC 8259 allows a lone surrogate escape and any number; orjson does not, and a signed body must not be lost for it."""
    try:
        value: JSON = json.loads(raw.decode(), parse_constant=_refuse_constant, parse_int=numbers.whole, parse_float=numbers.real)
    except (ValueError, RecursionError) as error:
        raise NotAnObjectError from error
    return value


def _refuse_constant(_name: str) -> NoReturn:
    raise NotAnObjectError


def _is_shallow(value: JSON) -> bool:
    wrapped: Any = value
    for _ in range(_SPARE):
        wrapped = [wrapped]
    try:
        orjson.dumps(wrapped)
    except orjson.JSONEncodeError:
        return False
    return True


def _cut(raw: bytes) -> bytes:
    """Put null in place of what lies too deep."""
    kept: list[bytes] = []
    start = begun = depth = 0
    for token in _TOKENS.finditer(raw):
        if raw[token.start()] == _STRING:
            continue
        length = token.end() - token.start()
        if raw[token.start()] in _OPENING:
            if depth <= DEEPEST < depth + length:
                begun = token.start() + DEEPEST - depth
            depth += length
        else:
            if depth - length <= DEEPEST < depth:
                kept += (raw[start:begun], b"null")
                start = token.start() + depth - DEEPEST
            depth -= length
    return b"".join((*kept, raw[start:])) if kept else raw


class _Pairs(list[tuple[str, JSON]]):
    """An object as the pairs it was written as."""


def members(raw: bytes, name: str) -> list[tuple[str, JSON]]:
    """Give the members of the object that `name` holds in `raw`, doubled keys too, of which a dict keeps but the last.

    `raw`: that of a `Storable`.
    """
    numbers = _Numbers()
    whole = json.loads(raw.decode(), object_pairs_hook=_Pairs, parse_int=numbers.whole, parse_float=numbers.real)
    held = dict(whole).get(name)
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


def fits(text: str, most: int) -> bool:
    """Tell whether text takes at most so many bytes, of which PostgreSQL's indexes count the bytes, not the characters."""
    return len(text) * 4 <= most or len(text.encode()) <= most
