"""One server, run as a child process of ours."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from service.embedded.command import POLL_SECONDS, Command, Log, ended
from service.embedded.lock import LockFile

_GRACE_SECONDS: Final = 10  # for a server to end after it was asked to
_START_SECONDS: Final = 60  # for a server to become ready, on the slowest machine


class ServerProcess:
    """A server that is started, awaited, stopped, and never runs twice on the same data.

    `pid_file` is locked by the server itself, through a descriptor that it inherits: what a killed `mediamirror` leaves behind is
    thereby recognised, and ended by the next start.
    """

    def __init__(self, *, log: Log, pid_file: Path) -> None:
        self._log = log
        self._lock = LockFile(pid_file)
        self._child: subprocess.Popen[bytes] | None = None
        self._stop_signal = signal.SIGTERM

    @asynccontextmanager
    async def claim(self, stop_signal: signal.Signals) -> AsyncIterator[int | None]:
        """Within it, no server is on the data but the one that `start` starts: one of an earlier run is ended by `stop_signal`.

        Gives the process id of the earlier run if that was not stopped in good order.
        """
        await self.stop()
        previous = self._lock.owner
        if not self._lock.acquire():
            await self._end(previous, stop_signal)
        try:
            yield previous
        finally:
            self._lock.release()  # the server, which inherited it, holds it on

    async def _end(self, previous: int | None, stop_signal: signal.Signals) -> None:
        for each in (stop_signal, signal.SIGKILL):
            # The lock is held, so the process it names is ours; without a name, what holds it is about to end by itself.
            if previous is not None:
                with suppress(ProcessLookupError):
                    os.kill(previous, each)
            if await self._lock.acquire_within(_GRACE_SECONDS):
                return
        raise self._log.failure(f"process {previous} of an earlier run does not end")

    async def start(self, command: Command, *, ready: Callable[[], Awaitable[bool]]) -> None:
        """Start the server, inside `claim`, and return when `ready` says so.

        Raises EmbeddedProgramError when the server ends before that or takes too long; nothing is left running then.
        """
        self._stop_signal = command.stop_signal
        self._child = command.start(self._log, inherited=[self._lock.fd])
        try:
            self._lock.name(self._child.pid)
            await self._wait_until(ready, self._child)
        except BaseException:
            await self.stop()
            raise

    async def _wait_until(self, ready: Callable[[], Awaitable[bool]], child: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        # Shielded, because a client's library that is cut off in the middle of connecting complains in our log.
        while not await asyncio.shield(ready()):
            if child.poll() is not None:
                raise self._log.failure(f"it ended with exit code {child.returncode}")
            if time.monotonic() > deadline:
                raise self._log.failure(f"it was not ready after {_START_SECONDS} seconds")
            await asyncio.sleep(POLL_SECONDS)

    async def stop(self) -> None:
        """End the server gracefully, and at once if that takes too long or the caller is cancelled."""
        if (child := self._child) is None:
            return
        child.send_signal(self._stop_signal)
        try:
            await ended(child, within=_GRACE_SECONDS)
        finally:
            self.kill()

    def kill(self) -> None:
        """End the server by SIGKILL, as a crash would."""
        if (child := self._child) is None:
            return
        child.kill()
        child.wait()
        self._child = None
        if self._lock.owner == child.pid:
            self._lock.name(None)  # its children may hold the lock a moment longer, but this process id is free
