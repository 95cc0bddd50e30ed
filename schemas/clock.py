"""Clocks: which of two statements about the same thing is the newer one.

A clock is a string of fixed-width parts, so comparing two strings compares (event time, rank, digest): no parsing when a row is
read, and a person can read one in psql.
"""

from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import NewType

Clock = NewType("Clock", str)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LATEST = 10**16 - 1
_HIGHEST_VERSION = 10**12 - 1


class Rank(IntEnum):
    """What wins at equal event times: a reading of the account yields to an event, and an event to a delete."""

    READING = 0
    EVENT = 1
    DELETE = 2


def clock_of(event_time: datetime, rank: Rank, digest: str) -> Clock:
    """Make the clock of a change: event time in µs (16 digits), rank, then 16 hex digits of the body's digest against ties."""
    micros = min(max((event_time - EPOCH) // _MICROSECOND, 0), _LATEST)
    return Clock(f"{micros:016d}.{rank:d}.{digest[:16]}")


def content_clock_of(version: int, clock: Clock) -> Clock:
    """Make the clock of a content group: led by Cloudinary's `version`, since a higher version is newer content at any time."""
    return Clock(f"{min(max(version, 0), _HIGHEST_VERSION):012d}.{clock}")
