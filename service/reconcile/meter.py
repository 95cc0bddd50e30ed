"""How far a sweep has come: a bar on a terminal, a line now and then elsewhere. All on standard error."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.reconcile.sweeps import Progress as SweepProgress
from service.terminal import complain, console, printable

_LINE_SECONDS = 10.0


class SweepMeter:
    """Is told what there is to list, what was listed, and what a sweep waits for."""

    def __init__(self, cloud: str, expected: int, progress: Progress, *, in_lines: bool) -> None:
        self._cloud = cloud
        self._expected = expected
        self._progress = progress
        self._task = progress.add_task(escape(printable(f"sweeping {cloud}")), total=expected or None, calls=0, left="?")
        self._in_lines = in_lines
        self._told_at = self._began = time.monotonic()
        self._first: int | None = None  # listed before

    def advance(self, sweep: SweepProgress, calls_left: int) -> None:
        """Show how a sweep stands; `calls_left`: of what reconciliation may take in this hour."""
        total = max(self._expected, sweep.listed) or None
        if self._first is None:
            self._first, self._began = sweep.listed, time.monotonic()
        self._progress.update(self._task, completed=sweep.listed, total=total, calls=sweep.calls, left=calls_left)
        if self._in_lines and time.monotonic() - self._told_at >= _LINE_SECONDS:
            of = f" of about {self._expected:,}" if sweep.listed <= self._expected else ""
            self._say(
                f"{sweep.listed:,}{of} listed, {sweep.calls:,} calls used, {calls_left:,} left in this hour"
                f"{self._to_go(sweep.listed, total or 0)}"
            )

    def _to_go(self, listed: int, total: int) -> str:
        done = listed - (self._first or 0)
        if not done or total <= listed:
            return ""
        return f", {timedelta(seconds=round((total - listed) * (time.monotonic() - self._began) / done))} to go"

    def waiting(self, why: str, seconds: float) -> None:
        """Say that a call waits, and why."""
        self._progress.update(
            self._task, description=escape(printable(f"sweeping {self._cloud} (waits {seconds:,.0f} s: {why})"))
        )
        if self._in_lines:
            self._say(f"waits {seconds:,.0f} s: {why}")

    def going_on(self) -> None:
        """Say that nothing waits any more."""
        self._progress.update(self._task, description=escape(printable(f"sweeping {self._cloud}")))

    def _say(self, what: str) -> None:
        self._told_at = time.monotonic()
        complain(f"sweeping {self._cloud}: {what}")


@contextmanager
def metered_sweep(cloud: str, expected: int, *, quiet: bool) -> Iterator[SweepMeter]:
    """Show how far a sweep has come, unless `quiet`; the bar goes away in the end. `expected`: how many assets, about."""
    on_terminal = sys.stderr.isatty()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[calls]} calls, {task.fields[left]} left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(stderr=True), transient=True, disable=quiet or not on_terminal) as progress:
        yield SweepMeter(cloud, expected, progress, in_lines=not (quiet or on_terminal))
