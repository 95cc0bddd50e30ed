"""How an account writes: times, and bodies of which a map may hold a key twice."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any


class ByPublicId(list[tuple[str, dict[str, Any]]]):
    """`resources` as a map keyed by public id. An image and a video of one public id both stand in it."""


def body(members: Iterable[tuple[str, Any]]) -> bytes:
    return _object(members).encode()


def _object(members: Iterable[tuple[str, Any]]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{_value(value)}" for name, value in members) + "}"


def _value(value: Any) -> str:
    return _object(value) if isinstance(value, ByPublicId) else json.dumps(value, separators=(",", ":"))


def to_the_microsecond(moment: datetime) -> str:
    """As in `triggered_at`."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}"


def to_the_second(moment: datetime) -> str:
    """As in `created_at` and `moderation_updated_at`."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def timestamp(moment: datetime) -> str:
    """As in `timestamp`."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}+00:00"
