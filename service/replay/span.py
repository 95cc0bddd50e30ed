"""Which part of the log is meant: from where, to where."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from schemas.notification import read_moment
from service.errors import MediamirrorError
from service.kafka import offsets_at, topic_bounds
from service.mirror.gap import NoSuchOffsetError
from service.settings import Settings
from service.topic import Ranges

Bounds = Mapping[int, tuple[int, int]]  # partition -> (earliest offset, next to be written)

_AGO = re.compile(r"(\d+)\s*([smhdw])(?:\s+ago)?")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class WhichSpanError(MediamirrorError):
    """Say from where: --from-beginning, or --from-time T, or --partition P --from-offset N; and, if not up to now, to where:
    --to-time T, or, with --partition, --to-offset N.
    """

    exit_code = 2


class BadTimeError(MediamirrorError):
    """A time is one of ISO 8601, such as 2026-01-31T12:00:00Z (UTC unless it says otherwise), or how long ago it was, such as
    30m, 2h or 7d; got {text!r}.
    """

    exit_code = 2


class FutureTimeError(MediamirrorError):
    """{text} is in the future; it is {now} now."""

    exit_code = 2


class EndBeforeStartError(MediamirrorError):
    """The end, {end}, lies before the beginning, {start}."""

    exit_code = 2


class NoSuchPartitionError(MediamirrorError):
    """{topic} has no partition {partition}; it has 0 to {last}."""

    exit_code = 2


def read_time(text: str, now: datetime) -> datetime:
    """Read a time of the past, absolute or relative to `now`; raises `BadTimeError` or `FutureTimeError`."""
    moment = _time_ago(text, now) or read_moment(text.strip())
    if moment is None:
        raise BadTimeError(text=text)
    if moment > now:
        raise FutureTimeError(text=text, now=now.isoformat(sep=" ", timespec="seconds"))
    return moment


def _time_ago(text: str, now: datetime) -> datetime | None:
    if (match := _AGO.fullmatch(text.strip())) is None:
        return None
    try:
        return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        raise BadTimeError(text=text) from None


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the log. Times are those at which notifications came onto it."""

    partition: int | None = None  # None: all
    start: datetime | int | None = None  # a time, or an offset; None: the beginning
    end: datetime | int | None = None  # not included; None: what there is now

    @classmethod
    def of(
        cls,
        *,
        from_beginning: bool = False,
        from_time: str | None = None,
        partition: int | None = None,
        from_offset: int | None = None,
        to_time: str | None = None,
        to_offset: int | None = None,
    ) -> "Span":
        """Give the span that options ask for; raises what is wrong with them."""
        starts = sum((from_beginning, from_time is not None, from_offset is not None))
        by_offset = from_offset is not None or to_offset is not None
        if starts != 1 or (to_time is not None and to_offset is not None) or (by_offset and partition is None):
            raise WhichSpanError
        now = datetime.now(UTC)
        start = from_offset if from_time is None else read_time(from_time, now)
        end = to_offset if to_time is None else read_time(to_time, now)
        if isinstance(start, datetime) and isinstance(end, datetime) and end < start:
            raise EndBeforeStartError(start=from_time, end=to_time)
        if isinstance(start, int) and isinstance(end, int) and end < start:
            raise EndBeforeStartError(start=f"offset {start}", end=f"offset {end}")
        return cls(partition, start, end)

    async def ranges(self, settings: Settings, topic: str) -> Ranges:
        """Look up the offsets; raises what the topic does not have."""
        bounds = await topic_bounds(settings, topic)
        if self.partition is not None:
            if self.partition not in bounds:
                raise NoSuchPartitionError(topic=topic, partition=self.partition, last=max(bounds))
            bounds = {self.partition: bounds[self.partition]}
        starts = {one: earliest for one, (earliest, _) in bounds.items()}
        ends = {one: latest for one, (_, latest) in bounds.items()}
        if self.start is not None:
            starts = await _offsets(settings, topic, self.start, bounds)
        if self.end is not None:
            ends = await _offsets(settings, topic, self.end, bounds)
        if self.partition is not None and ends[self.partition] < starts[self.partition]:
            raise EndBeforeStartError(start=f"offset {starts[self.partition]}", end=f"offset {ends[self.partition]}")
        return {one: (starts[one], ends[one]) for one in bounds}


async def _offsets(settings: Settings, topic: str, where: datetime | int, bounds: Bounds) -> dict[int, int]:
    if isinstance(where, datetime):
        found = await offsets_at(settings, topic, bounds, where)
        # records may have come since the bounds were read
        return {one: min(found.get(one, latest), latest) for one, (_, latest) in bounds.items()}
    for partition, (earliest, latest) in bounds.items():
        if not earliest <= where <= latest:
            raise NoSuchOffsetError(topic=topic, partition=partition, offset=where, known=f"{earliest} to {latest}")
    return dict.fromkeys(bounds, where)
