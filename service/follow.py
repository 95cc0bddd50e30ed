"""The sync log's new lines, as they come."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from service.database import Pool, reachable
from service.mirror.entry import Outcome
from service.sql import query

_SECONDS = 0.5
# A line bears the time at which its transaction began, so it may show up behind newer ones: by as much as a transaction takes,
# which is far below the time limit of a single statement.
_OVERLAP = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Filters:
    """Which lines are wanted; each filter is off when None."""

    asset: str | None = None  # asset id or public id
    cloud: str | None = None
    outcome: Outcome | None = None


class Follower:
    """Gives each line once, however late it was committed."""

    def __init__(self, pool: Pool, filters: Filters) -> None:
        self._pool = pool
        self._filters = filters
        self._counts: dict[datetime, int] = {}  # by transaction, how many lines it had when it was looked at
        self._shown: dict[datetime, set[tuple[str, int, int, int]]] = {}  # by transaction, what it was about

    async def lines(self) -> AsyncGenerator[asyncpg.Record]:
        """Give what is written from now on, until cancelled; raises `DatabaseUnreachableError`."""
        with reachable():
            newest: datetime = await self._pool.fetchval(query("reading", "log_now"))
        for line in await self._news(newest):
            self._is_new(line)
        while True:
            for line in await self._news(newest):
                if self._is_new(line):
                    yield line
            newest = max([newest, *self._counts])
            self._forget(newest - _OVERLAP)
            await asyncio.sleep(_SECONDS)

    async def _news(self, newest: datetime) -> list[asyncpg.Record]:
        """Read the transactions in the overlap that have lines we have not counted; two may have begun in the same µs."""
        with reachable():
            times = await self._pool.fetch(query("reading", "log_times"), newest - _OVERLAP)
        counts: dict[datetime, int] = {row["applied_at"]: row["lines"] for row in times}
        changed = [at for at, lines in counts.items() if self._counts.get(at) != lines]
        self._counts |= counts
        if not changed:
            return []
        wanted = self._filters
        with reachable():
            return await self._pool.fetch(query("reading", "log_at"), changed, wanted.cloud, wanted.asset, wanted.outcome)

    def _is_new(self, line: asyncpg.Record) -> bool:
        about = (line["kafka_topic"], line["kafka_partition"], line["kafka_offset"], line["ordinal"])
        shown = self._shown.setdefault(line["applied_at"], set())
        known = about in shown
        shown.add(about)
        return not known

    def _forget(self, before: datetime) -> None:
        for known in (self._counts, self._shown):
            for at in [at for at in known if at < before]:
                del known[at]
