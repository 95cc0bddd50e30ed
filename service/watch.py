"""What came in, what the mirror holds, how fast: a live table on a terminal, plain lines elsewhere."""

import asyncio
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic

import asyncpg
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from service.database import Pool
from service.mirror.entry import Outcome
from service.sql import query

_STYLE = {
    Outcome.APPLIED: "green",
    Outcome.UNCHANGED: "dim",
    Outcome.IGNORED: "yellow",
    Outcome.REFETCH: "cyan",
    Outcome.FAILED: "bold red",
}
_SECONDS = 0.25
_RATE_SECONDS = 5.0
_SHOWN = 14


class Watch:
    """Follows the sync log from now on."""

    def __init__(self, pool: Pool, console: Console) -> None:
        self._pool = pool
        self._console = console
        self._since = datetime.now(UTC)
        self._recent: deque[asyncpg.Record] = deque(maxlen=_SHOWN)
        self._arrivals: deque[tuple[float, int]] = deque()
        self._latencies: deque[float] = deque(maxlen=1000)  # ms
        self.seen = 0

    async def run(self) -> None:
        """Show until cancelled."""
        if self._console.is_terminal:
            with Live(console=self._console, auto_refresh=False, transient=False) as live:
                await self._follow(lambda _lines, holdings: live.update(self._table(holdings), refresh=True))
        else:
            await self._follow(self._say)

    async def _follow(self, show: Callable[[Sequence[asyncpg.Record], asyncpg.Record], None]) -> None:
        while True:
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
            holdings = await self._pool.fetchrow(query("reading", "holdings"))
            assert holdings is not None  # noqa: S101  # an aggregate always has its row
            show(lines, holdings)
            await asyncio.sleep(_SECONDS)

    def _summary(self, holdings: asyncpg.Record) -> str:
        rate = sum(count for _, count in self._arrivals) / _RATE_SECONDS
        parts = [
            f"{self.seen:,} notifications in, {rate:,.0f}/s",
            f"mirror holds {holdings['alive']:,} assets ({holdings['bytes'] / 1e6:,.1f} MB), {holdings['deleted']:,} deleted",
        ]
        if self._latencies:
            slowest = sorted(self._latencies)[int(len(self._latencies) * 0.95)]
            parts.append(f"webhook to row {statistics.median(self._latencies):.0f} ms, p95 {slowest:.0f} ms")
        return "  ·  ".join(parts)

    def _table(self, holdings: asyncpg.Record) -> Group:
        table = Table(expand=True, box=None, header_style="bold")
        for name in ("time", "notification", "asset", "outcome", "changed"):
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        for line in self._recent:
            table.add_row(*(Text(part, style=_STYLE[Outcome(line["outcome"])]) for part in _parts(line)))
        return Group(Text(self._summary(holdings), style="bold"), table)

    def _say(self, lines: Sequence[asyncpg.Record], holdings: asyncpg.Record) -> None:
        for line in lines:
            self._console.print("  ".join(_parts(line)), highlight=False, markup=False, soft_wrap=True)
        if lines:
            self._console.print(self._summary(holdings), highlight=False, soft_wrap=True)


def _parts(line: asyncpg.Record) -> tuple[str, str, str, str, str]:
    why = line["reason"] or ", ".join(line["changed"])
    named = line["public_id"] or line["asset_id"] or "-"
    return f"{line['applied_at']:%H:%M:%S}", line["notification_type"] or "?", named, line["outcome"], why
