"""When what was sent is there: rows, as any reader of the database sees them, and events, as any consumer does."""

import asyncio
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Final

import asyncpg
import psutil

from service.events.relay import CHANNEL
from service.kafka import topic_bounds
from service.settings import Settings
from service.topic import read_topic

# Between two looks that no notice has called for. With the notices, it is hardly ever needed.
_LOOK_SECONDS: Final = 0.01
_CORES_SECONDS: Final = 0.1
_OFFSETS: Final = "SELECT kafka_partition, next_offset FROM media_offsets WHERE kafka_topic = $1"


class Sightings:
    """What was seen, and when, in unix seconds.

    A row is there once the offset of its notification is: both are of one transaction. The offsets are twelve rows. They are
    looked at whenever PostgreSQL tells that a batch has committed (the notice that wakes the relay), so that watching costs one
    small query a batch, and is late by no more than that query.
    """

    def __init__(self, settings: Settings, database_url: str) -> None:
        self._settings = settings
        self._url = database_url
        self._offsets: dict[int, list[int]] = defaultdict(list)
        self._offsets_at: dict[int, list[float]] = defaultdict(list)
        self._events: dict[bytes, float] = {}
        self._cores: list[tuple[float, float, float]] = []  # when, seconds of all cores at work, seconds of all cores
        self._moves = self._moves_noticed = 0

    @property
    def noticed(self) -> float:
        """The share of moves of the offsets that a notice has led to, and not a look by the clock."""
        return self._moves_noticed / self._moves if self._moves else 0.0

    def row(self, partition: int, offset: int) -> float | None:
        """Give when the row of the notification there was seen; None: it was not."""
        at = bisect_right(self._offsets[partition], offset)
        return self._offsets_at[partition][at] if at < len(self._offsets[partition]) else None

    def rows(self) -> int:
        """Count the notifications that are applied."""
        return sum(offsets[-1] for offsets in self._offsets.values() if offsets)

    def event(self, key: bytes) -> float | None:
        """Give when the first event of an asset was seen; None: it was not."""
        return self._events.get(key)

    def events(self) -> int:
        """Count the assets of which events were seen."""
        return len(self._events)

    def busy(self, begin: float, end: float) -> float:
        """Give the share of all cores that was at work between two moments."""
        looks = [(work, total) for at, work, total in self._cores if begin <= at <= end]
        if len(looks) < 2:  # noqa: PLR2004
            return 0.0
        return (looks[-1][0] - looks[0][0]) / (looks[-1][1] - looks[0][1])

    async def watch_rows(self) -> None:
        """Look at the offsets for ever."""
        database = await asyncpg.connect(self._url)
        noticed = asyncio.Event()
        try:
            await database.add_listener(CHANNEL, lambda *_: noticed.set())
            offsets = await database.prepare(_OFFSETS)
            while True:
                was_noticed = noticed.is_set()
                noticed.clear()
                found = await offsets.fetch(self._settings.notifications_topic)
                if self._note(found, time.time()):
                    self._moves += 1
                    self._moves_noticed += was_noticed
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await noticed.wait()
        finally:
            await database.close()

    def _note(self, offsets: Iterable[asyncpg.Record], now: float) -> bool:
        """Keep those that have moved; gives whether some have."""
        moved = [(number, offset) for number, offset in offsets if offset > (self._offsets[number] or [0])[-1]]
        for number, offset in moved:
            self._offsets[number].append(offset)
            self._offsets_at[number].append(now)
        return bool(moved)

    async def watch_events(self) -> None:
        """Read the events that come, for ever."""
        bounds = await topic_bounds(self._settings, self._settings.events_topic)
        ranges = {partition: (earliest, None) for partition, (earliest, _) in bounds.items()}
        async with aclosing(read_topic(self._settings, self._settings.events_topic, ranges)) as batches:
            async for records in batches:
                now = time.time()
                for record in records:
                    self._events.setdefault(record.key, now)

    async def watch_cores(self) -> None:
        """Look how busy the machine is, for ever."""
        while True:
            times = psutil.cpu_times()
            idle = times.idle + times.iowait
            total = sum(times) - times.guest - times.guest_nice  # those two are within others
            self._cores.append((time.time(), total - idle, total))
            await asyncio.sleep(_CORES_SECONDS)


@asynccontextmanager
async def sighted(settings: Settings, database_url: str) -> AsyncIterator[Sightings]:
    """Watch meanwhile. The topics must be there; what goes wrong cancels the block and is raised."""
    sightings = Sightings(settings, database_url)
    async with asyncio.TaskGroup() as watching:
        tasks = [watching.create_task(one()) for one in (sightings.watch_rows, sightings.watch_events, sightings.watch_cores)]
        yield sightings
        for task in tasks:
            task.cancel()
