"""Clocks: which of two statements about the same thing is the newer one.

A clock is a string of fixed-width parts, so comparing two strings compares (event time, rank, digest): no parsing when a row is
read, and a person can read one in psql. A clock of content has two more in front: (epoch, version), both in seconds since 1970.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import NewType

Clock = NewType("Clock", str)

NEVER = Clock("")  # older than any
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY = 24 * 60 * 60  # seconds
_LATEST = 10**16 - 1
_LENGTH = 16 + 1 + 1 + 1 + 16  # of a clock that no version leads

_FIRST_VERSION = int(datetime(2011, 1, 1, tzinfo=UTC).timestamp())  # Cloudinary is not older
_VERSIONS = 10**10  # as many as have ten digits: until 2286
_UNTOLD = "0" * 10
# By how much a version may be later than the signature that it came with, and an event later than the version that it made.
_SLACK = 300  # seconds


class Rank(IntEnum):
    """What wins at equal event times."""

    READING = 0  # of the account: it may be older than the event that it ties with
    EVENT = 1
    RESULT = 2  # of a job, which is dated by the event that began it
    DELETE = 3


_DIGITS = {rank: str(int(rank)) for rank in Rank}
_READING, _EVENT = _DIGITS[Rank.READING], _DIGITS[Rank.EVENT]


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


def content_clock_of(version: int | None, clock: Clock, signed_at: int) -> Clock:
    """Make the clock of a statement about content: (epoch, version) in front of its `clock`.

    The epoch is the second since which the asset has had that content, as far as the statement proves:

    * Cloudinary's `version` is the second in which content came to be. So what made it, and the results of jobs on it, are dated
      by it, whatever the times say: a higher version is newer.
    * A reading proves that the content was there when it was read, if it is an older version that was restored, too.
    * So does an event that comes much later than its version: it made it long ago, or brings it back.
    * A version that is no time, or later than `signed_at` allows, proves nothing; then the event's own time counts. One that was
      not told leaves open which content is meant: only an event, which has made some, dates that.
    """
    seconds, rank = clock[:10], clock[17]
    if version is None:
        return Clock(f"{seconds if rank == _EVENT else _UNTOLD}.{_UNTOLD}.{clock}")
    number = f"{version % _VERSIONS:010d}"
    if not _FIRST_VERSION <= version <= signed_at + _SLACK:
        epoch = seconds
    elif rank == _READING:
        epoch = max(number, seconds)
    elif rank == _EVENT and int(seconds) - version > _SLACK:
        epoch = seconds
    else:
        epoch = number
    return Clock(f"{epoch}.{number}.{clock}")


def version_of(content_clock: Clock) -> str:
    """Give which content a statement is about; two that agree in this speak of the same."""
    return content_clock[11:21]


def epoch_of(content_clock: Clock) -> int:
    """Give since when, in seconds since 1970, the asset has had the content that a statement is about."""
    return int(content_clock[:10] or 0)


def rank_of(content_clock: Clock) -> Rank:
    """Give the rank of a statement about content."""
    return Rank(int(content_clock[39]))


def told_at(content_clock: Clock) -> int:
    """Give the event time of a statement about content, in seconds since 1970."""
    return int(content_clock[22:32] or 0)
