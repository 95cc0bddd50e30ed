"""Which dead letters were sent again: the topic itself can't be written on."""

from collections.abc import Mapping
from datetime import datetime

from service.database import Pool, reachable
from service.dlq.letter import DeadLetter
from service.sql import query


class Redrives:
    """What PostgreSQL remembers about the dead letters of one topic."""

    def __init__(self, pool: Pool, topic: str) -> None:
        self._pool = pool
        self._topic = topic
        self._known: Mapping[tuple[int, int, datetime], datetime] = {}

    async def load(self) -> None:
        """Read all that is remembered."""
        with reachable():
            rows = await self._pool.fetch(query("dead_letters", "redriven"), self._topic)
        self._known = {(row["kafka_partition"], row["kafka_offset"], row["failed_at"]): row["redriven_at"] for row in rows}

    def when(self, letter: DeadLetter) -> datetime | None:
        """Tell when a letter was sent again, by what `load` has read."""
        return self._known.get((letter.partition, letter.offset, letter.failed_at))

    async def remember(self, letter: DeadLetter, partition: int, offset: int) -> None:
        """Note where a letter was sent to just now; raises `DatabaseUnreachableError`."""
        which = (self._topic, letter.partition, letter.offset, letter.failed_at)
        with reachable():
            await self._pool.execute(query("dead_letters", "remember"), *which, partition, offset)
