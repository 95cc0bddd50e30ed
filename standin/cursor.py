"""Opaque cursors: where a listing goes on."""

import base64
import binascii
from collections.abc import Sequence

import orjson

from standin.errors import BadRequestError


def encode(place: Sequence[str | int | float | None]) -> str:
    """Make a cursor of the last row's key."""
    return base64.urlsafe_b64encode(orjson.dumps(place)).decode().rstrip("=")


def decode(cursor: str, length: int) -> list[str | int | float | None]:
    """Read a cursor of a key of that many parts; raises `BadRequestError`."""
    try:
        place = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        place = None
    if not isinstance(place, list) or len(place) != length:
        raise BadRequestError("Invalid value for parameter next_cursor")
    return place
