"""The Admin API's hourly calls: counted in PostgreSQL, so that every process together stays within them.

No clock of ours is compared with Cloudinary's: what its headers tell becomes a duration (`Reset` less `Date`), and that is laid
on PostgreSQL's clock.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from service.cloudinary.purpose import Purpose
from service.database import Pool, reachable
from service.settings import Settings
from service.sql import query
from service.telemetry import Metrics

log = structlog.get_logger(__name__)

_ASK_AGAIN_SECONDS = 60.0  # another process may have learnt better meanwhile
_FIRST = "first answer awaited"  # nobody need be told of that,
_FIRST_SECONDS = 5.0  # if it is a moment
_ASSUMED_ALLOWED = 500  # the free plan's, as media_budgets has it


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the headers of an answer tell."""

    allowed: int  # calls in this window
    remaining: int
    resets_at: datetime  # by Cloudinary's clock
    resets_in: float  # seconds from the answer


@dataclass(frozen=True, slots=True)
class BudgetState:
    """How a budget stands. All durations in seconds; 0: now, or not known."""

    allowed: int
    remaining: int
    taken: int  # by reconciliation in this window
    share_left: int  # of what reconciliation may take
    resets_in: float
    paused_for: float


class Budget:
    """One cloud's hourly calls.

    `on_pause` is told (why, seconds) whenever a caller has to wait.
    """

    def __init__(self, pool: Pool, cloud: str, settings: Settings, metrics: Metrics | None = None) -> None:
        self._pool = pool
        self._cloud = cloud
        self._share = settings.reconcile_share
        self._metrics = metrics
        self.on_pause: Callable[[str, float], None] | None = None

    async def take(self, purpose: Purpose) -> None:
        """Take one call, as soon as there is one; raises `DatabaseUnreachableError`."""
        share = self._share if purpose is Purpose.RECONCILE else None
        told: str | None = None
        began = time.monotonic()
        while True:
            with reachable():
                row = await self._pool.fetchrow(query("budget", "take"), self._cloud, share)
            assert row is not None  # noqa: S101  # a function gives a row
            if row["reason"] is None:
                return
            if row["reason"] != told and (row["reason"] != _FIRST or time.monotonic() - began > _FIRST_SECONDS):
                told = row["reason"]
                log.info("calls of cloudinary wait", cloud=self._cloud, reason=told, seconds=round(row["wait"], 1))
                if self.on_pause:
                    self.on_pause(row["reason"], row["wait"])
            await asyncio.sleep(min(row["wait"], _ASK_AGAIN_SECONDS))

    async def give_back(self, purpose: Purpose) -> None:
        """Return a call that never reached Cloudinary."""
        with reachable():
            await self._pool.execute(query("budget", "give_back"), self._cloud, purpose is Purpose.RECONCILE)

    async def feed(self, allowance: Allowance) -> None:
        """Learn from an answer's headers; answers may come in any order."""
        with reachable():
            remaining = await self._pool.fetchval(
                query("budget", "feed"),
                self._cloud,
                allowance.allowed,
                allowance.remaining,
                allowance.resets_at,
                allowance.resets_in,
            )
        if remaining is not None and self._metrics:
            self._metrics.budget_remaining.labels(self._cloud).set(remaining)

    async def pause(self, seconds: float) -> None:
        """Let nobody make a call for so long."""
        with reachable():
            await self._pool.execute(query("budget", "pause"), self._cloud, seconds)

    async def state(self) -> BudgetState:
        """Tell how it stands."""
        with reachable():
            row = await self._pool.fetchrow(query("budget", "state"), self._cloud, self._share)
        if row is None:
            share = max(int(self._share * _ASSUMED_ALLOWED), 1)
            return BudgetState(_ASSUMED_ALLOWED, _ASSUMED_ALLOWED, taken=0, share_left=share, resets_in=0, paused_for=0)
        return BudgetState(**row)
