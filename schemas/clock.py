"""Clocks: which of two statements about the same thing is the newer one.

A clock is a string of fixed-width parts, so comparing two strings compares (event time, rank, digest): no parsing when a row is
read, and a person can read one in psql.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import NewType

Clock = NewType("Clock", str)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY = 24 * 60 * 60  # seconds
_LATEST = 10**16 - 1
_HIGHEST_VERSION = 10**12 - 1
_LENGTH = 16 + 1 + 1 + 1 + 16  # of a clock that no version leads


class Rank(IntEnum):
    """What wins at equal event times."""

    READING = 0  # of the account: it may be older than the event that it ties with
    EVENT = 1
    RESULT = 2  # of a job, which is dated by the event that began it
    DELETE = 3


_DIGITS = {rank: str(int(rank)) for rank in Rank}


def clock_of(event_time: datetime, rank: Rank, digest: str) -> Clock:
    """Make the clock of a change: event time in µs (16 digits), rank, then 16 hex digits of the body's digest against ties."""
    since = event_time - EPOCH  # in whole numbers: as many microseconds make no float
    micros = (since.days * _DAY + since.seconds) * 1_000_000 + since.microseconds
    return Clock(f"{min(max(micros, 0), _LATEST):016d}.{_DIGITS[rank]}.{digest[:16]}")


def time_of(clock: Clock) -> datetime:
    """Give the event time of a clock that `clock_of` made."""
    return EPOCH + int(clock[:16]) * _MICROSECOND


def latest_time(clocks: Iterable[Clock]) -> datetime:
    """Give the newest event time of an asset's clocks, of which some are led by a version."""
    plain = (clock[-_LENGTH:] for clock in clocks if len(clock) >= _LENGTH)
    return time_of(Clock(max(plain, default="0" * 16)))


def content_clock_of(version: int, clock: Clock) -> Clock:
    """Make the clock of a content group: led by Cloudinary's `version`, since a higher version is newer content at any time."""
    return Clock(f"{floor_of(version)}.{clock}")


def floor_of(version: int) -> Clock:
    """Make the clock that is newer than all of lower versions, and older than any of this one."""
    return Clock(f"{min(max(version, 0), _HIGHEST_VERSION):012d}")
