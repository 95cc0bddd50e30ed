"""What came in, what the mirror holds, how fast: a live table on a terminal, plain lines elsewhere.

It only shows: whatever becomes of PostgreSQL or of the terminal, nothing of it reaches the roles that run beside it.
"""

import asyncio
import contextlib
import statistics
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic

import asyncpg
import structlog
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from service.database import Pool
from service.mirror.entry import Outcome
from service.screen import Screen
from service.sql import query
from service.terminal import printable

log = structlog.get_logger(__name__)

_STYLE = {
    Outcome.APPLIED: "green",
    Outcome.UNCHANGED: "dim",
    Outcome.IGNORED: "yellow",
    Outcome.REFETCH: "cyan",
    Outcome.FAILED: "bold red",
}
_SECONDS = 0.25
_TIMEOUT_SECONDS = 2.0
_BLIND_SECONDS = 1.0
_RATE_SECONDS = 5.0
_SHOWN = 14
# The whole table is summed up for it: at most for a hundredth of the time.
_HOLDINGS_SECONDS = 5.0
_HOLDINGS_SHARE = 0.01
_HOLDINGS_TIMEOUT_SECONDS = 10.0


class Watch:
    """Follows the sync log from now on."""

    def __init__(self, pool: Pool, console: Console) -> None:
        self._pool = pool
        self._screen = Screen(console)
        self._since = datetime.now(UTC)
        self._recent: deque[asyncpg.Record] = deque(maxlen=_SHOWN)
        self._arrivals: deque[tuple[float, int]] = deque()
        self._latencies: deque[float] = deque(maxlen=1000)  # ms
        self._holdings: asyncpg.Record | None = None
        self._blind: str | None = None  # why nothing can be seen
        self.seen = 0

    async def run(self) -> None:
        """Show until cancelled, whatever happens: what can't be seen is said, and looked for again."""
        counting = asyncio.create_task(self._count())
        try:
            with self._screen:
                while True:
                    await self._turn()
        finally:
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)

    async def _turn(self) -> None:
        was_blind = self._blind is not None
        try:
            lines = await self._look()
        except Exception as error:  # noqa: BLE001  # nothing that only shows may end what it shows
            self._blind = str(error) or type(error).__name__
            log.debug("the sync log can't be seen", reason=self._blind)
            self._show([], went_blind=not was_blind)
            await asyncio.sleep(_BLIND_SECONDS)
            return
        self._blind = None
        self._show(lines)
        await asyncio.sleep(_SECONDS)

    async def _look(self) -> Sequence[asyncpg.Record]:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            lines = await self._pool.fetch(query("reading", "log_since"), self._since)
        if lines:
            self._since = lines[-1]["applied_at"]
        self._recent.extend(lines)
        self._latencies.extend(
            (line["applied_at"] - line["received_at"]) / timedelta(milliseconds=1) for line in lines if line["received_at"]
        )
        self.seen += len(lines)
        self._arrivals.append((monotonic(), len(lines)))
        while self._arrivals[0][0] < monotonic() - _RATE_SECONDS:
            self._arrivals.popleft()
        return lines

    async def _count(self) -> None:
        """Sum up now and then what the mirror holds, more seldom the longer that takes."""
        while True:
            began = monotonic()
            with contextlib.suppress(Exception):  # the last sum is shown on
                async with asyncio.timeout(_HOLDINGS_TIMEOUT_SECONDS):
                    self._holdings = await self._pool.fetchrow(query("reading", "holdings"))
            await asyncio.sleep(max(_HOLDINGS_SECONDS, (monotonic() - began) / _HOLDINGS_SHARE))

    def _show(self, lines: Sequence[asyncpg.Record], *, went_blind: bool = False) -> None:
        if self._screen.is_live:
            self._screen.show(self._table())
            return
        said = ["  ".join(_parts(line)) for line in lines]
        if said or went_blind:
            self._screen.show(Text("\n".join([*said, self._summary()])))

    def _summary(self) -> str:
        if self._blind is not None:
            return printable(f"PostgreSQL can't be asked: {self._blind}; what is shown may be old")
        rate = sum(count for _, count in self._arrivals) / _RATE_SECONDS
        parts = [f"{self.seen:,} notifications in, {rate:,.0f}/s"]
        if (holds := self._holdings) is not None:
            parts.append(f"mirror holds {holds['alive']:,} assets ({holds['bytes'] / 1e6:,.1f} MB), {holds['deleted']:,} deleted")
        if self._latencies:
            slowest = sorted(self._latencies)[int(len(self._latencies) * 0.95)]
            parts.append(f"webhook to row {statistics.median(self._latencies):.0f} ms, p95 {slowest:.0f} ms")
        return "  ·  ".join(parts)

    def _table(self) -> Group:
        table = Table(expand=True, box=None, header_style="bold")
        for name in ("time", "notification", "asset", "outcome", "changed"):
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        for line in self._recent:
            table.add_row(*(Text(part, style=_STYLE[Outcome(line["outcome"])]) for part in _parts(line)))
        return Group(Text(self._summary(), style="bold red" if self._blind else "bold"), table)


def _parts(line: asyncpg.Record) -> tuple[str, ...]:
    why = line["reason"] or ", ".join(line["changed"])
    named = line["public_id"] or line["asset_id"] or "-"
    return tuple(
        map(printable, (f"{line['applied_at']:%H:%M:%S}", line["notification_type"] or "?", named, line["outcome"], why))
    )
