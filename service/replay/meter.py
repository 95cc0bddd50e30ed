"""How far a reading of the log has come: a bar on a terminal, a line now and then elsewhere. All on standard error."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from service.terminal import complain, console

_LINE_SECONDS = 10.0


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:,.0f}/s")


class Meter:
    """Is told what there is to read, and what was read."""

    def __init__(self, what: str, progress: Progress, *, in_lines: bool) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=None)
        self._in_lines = in_lines
        self._what = what
        self._total = self._read = 0
        self._started = self._told_at = time.monotonic()

    def expect(self, total: int) -> None:
        """Take it that there are so many notifications to read."""
        self._total, self._read = total, 0
        self._progress.update(self._task, total=total, completed=0)

    def advance(self, read: int) -> None:
        """Count notifications that were read."""
        self._read += read
        self._progress.advance(self._task, read)
        now = time.monotonic()
        if self._in_lines and now - self._told_at >= _LINE_SECONDS:
            self._told_at = now
            rate = self._read / (now - self._started)
            complain(f"{self._what}: {self._read:,} of {self._total:,} ({rate:,.0f}/s)")


@contextmanager
def metered(what: str, *, quiet: bool) -> Iterator[Meter]:
    """Show how far it has come, unless `quiet`; the bar goes away in the end."""
    on_terminal = sys.stderr.isatty()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(
        *columns,
        console=console(stderr=True),
        transient=True,
        disable=quiet or not on_terminal,
        # what is printed meanwhile goes above the bar, but not what goes to a file
        redirect_stdout=sys.stdout.isatty(),
    ) as progress:
        yield Meter(what, progress, in_lines=not (quiet or on_terminal))
