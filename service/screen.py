"""A terminal, or a pipe, that is written to from a thread of its own: one that is gone, or that nobody reads, holds nobody up."""

import contextlib
import queue
import threading
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live

from service.terminal import nobody_listens

_END_SECONDS = 1.0
_WAITING = 100  # what a reader who is slow may miss


class Screen:
    """Shows what it is given: on a terminal in place of what was there before, elsewhere below it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._queue: queue.Queue[RenderableType | None] = queue.Queue(_WAITING)
        # a daemon, since a write to a terminal that was stopped never returns
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)
        self.is_live = console.is_terminal

    def __enter__(self) -> Self:
        """Begin to show."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Show what is left, and leave the terminal as it was."""
        self._put(None)
        self._thread.join(_END_SECONDS)

    def show(self, what: RenderableType) -> None:
        """Show something soon; what can't be shown in time is left out."""
        self._put(what)

    def _put(self, what: RenderableType | None) -> None:
        while True:
            try:
                self._queue.put_nowait(what)
            except queue.Full:
                self._drop()
            else:
                return

    def _drop(self) -> None:
        with contextlib.suppress(queue.Empty):
            self._queue.get_nowait()

    def _run(self) -> None:
        try:
            if self.is_live:
                with Live(console=self._console, auto_refresh=False) as live:
                    while (what := self._queue.get()) is not None:
                        live.update(what, refresh=True)
            else:
                while (what := self._queue.get()) is not None:
                    self._console.print(what, highlight=False, soft_wrap=True)
        except (Exception, SystemExit):  # noqa: BLE001  # rich ends the process when nobody reads; we end the show
            nobody_listens()
