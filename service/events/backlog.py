"""How many events wait, and for how long: looked up in the table itself, whoever relays it, and whether anybody does."""

import asyncio
import math
import time
from dataclasses import dataclass

import structlog

from service.database import Connection, Pool
from service.mirror.patience import OUTAGES
from service.sql import query
from service.telemetry import Metrics

log = structlog.get_logger(__name__)

COUNTED = 10_000  # what is counted row by row; beyond, PostgreSQL's statistics are good enough
LATE_SECONDS = 60.0

_SECONDS = 2.0
_TIMEOUT_SECONDS = 5.0
_AGAIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Backlog:
    """The outbox at one moment."""

    waiting: int  # beyond `COUNTED`, about
    oldest: float  # seconds that the oldest of them has waited; 0: none waits
    aside: int  # set aside: what can't be sent, and what waits behind it; no more than `COUNTED` are counted
    unsendable: int  # of these, what can't be sent itself

    @property
    def is_late(self) -> bool:
        """Whether the oldest waits for so long that something is wrong, or much has come at once."""
        return self.oldest > LATE_SECONDS


async def read_backlog(connection: Pool | Connection, shard: int = 0) -> Backlog:
    """Look at the outbox, in milliseconds whatever is in it."""
    row = await connection.fetchrow(query("outbox", "backlog"), shard, COUNTED)
    assert row is not None  # noqa: S101  # it counts, so it has its row
    return Backlog(**dict(row))


class BacklogGauge:
    """Looks every two seconds, for the metrics, /readyz and the log.

    The age goes on growing while PostgreSQL doesn't answer; the numbers stay those of the last look.
    """

    def __init__(self, pool: Pool, metrics: Metrics, shard: int) -> None:
        self._pool = pool
        self._metrics = metrics
        self._shard = shard
        self._seen: Backlog | None = None
        self._seen_at = self._said_at = -math.inf
        metrics.outbox_oldest.set_function(self._age)
        metrics.states["outbox"] = self.state

    async def run(self) -> None:
        """Look until cancelled, whatever PostgreSQL says."""
        while True:
            try:
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    self._see(await read_backlog(self._pool, self._shard))
            except OUTAGES as error:
                log.debug("the outbox can't be seen", reason=str(error) or repr(error))
            self._warn()
            await asyncio.sleep(_SECONDS)

    def state(self) -> dict[str, object]:
        """Tell how it stands, for /readyz."""
        if self._seen is None:
            return {"seen": False}
        age = self._age()
        return {
            "seen": True,
            "waiting": self._seen.waiting,
            "oldest_seconds": round(age, 1),
            "late": age > LATE_SECONDS,
            "set_aside": self._seen.aside,
        }

    def _see(self, backlog: Backlog) -> None:
        self._seen, self._seen_at = backlog, time.monotonic()
        self._metrics.outbox.set(backlog.waiting)
        self._metrics.outbox_aside.set(backlog.aside)

    def _age(self) -> float:
        if self._seen is None:
            return math.nan
        return self._seen.oldest + (time.monotonic() - self._seen_at if self._seen.waiting else 0)

    def _warn(self) -> None:
        if self._seen is None or self._age() <= LATE_SECONDS or time.monotonic() - self._said_at < _AGAIN_SECONDS:
            return
        self._said_at = time.monotonic()
        log.warning("events wait", waiting=self._seen.waiting, oldest_seconds=round(self._age()))
