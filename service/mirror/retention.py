"""Lets go of the sync log's old days."""

import time

import asyncpg
import structlog

from service.database import Pool
from service.sql import query

log = structlog.get_logger(__name__)

_EVERY_SECONDS = 3600.0


class Retention:
    """Drops the day partitions older than `days`, at most once an hour. Any number of mirrors may do so at once."""

    def __init__(self, pool: Pool, days: int) -> None:
        self._pool = pool
        self._days = days
        self._due_at = 0.0

    async def turn(self) -> None:
        """Do it if it is due. What keeps it from being done is logged; an hour later it is tried again."""
        if time.monotonic() < self._due_at:
            return
        self._due_at = time.monotonic() + _EVERY_SECONDS
        try:
            dropped = await self._pool.fetchval(query("retention", "expire_log"), self._days)
        except (OSError, EOFError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.error("sync log not expired", reason=str(error) or repr(error))
            return
        if dropped:
            log.info("sync log expired", days_dropped=dropped, retention=self._days)
