"""Who holds a folder: a lock that outlives a crash of its owner exactly as long as it should."""

import asyncio
import fcntl
import os
import time
from pathlib import Path
from typing import Final

_POLL_SECONDS: Final = 0.02


class LockFile:
    """A file whose lock says that somebody is alive and whose content, a process id, says who.

    The kernel ties the lock to the open file, hence to every process that inherited it: it ends with the last of them,
    however they end. A process id alone could be stale, or another process's by now.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    @property
    def fd(self) -> int:
        """The descriptor to pass to a child that shall hold the lock too."""
        if self._fd is None:
            raise RuntimeError(f"{self.path} is not locked")
        return self._fd

    @property
    def owner(self) -> int | None:
        """The process that was named last, if any."""
        content = self.path.read_text() if self.path.exists() else ""
        return int(content) if content.isdecimal() else None

    def name(self, owner: int | None) -> None:
        """Write down who holds the lock: None for nobody that could be signalled."""
        self.path.write_text("" if owner is None else str(owner))

    def acquire(self) -> bool:
        """Take the lock; False if another process has it."""
        if self._fd is not None:
            return True
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    async def acquire_within(self, seconds: float) -> bool:
        """Take the lock as soon as it is free; False if it was not in time."""
        deadline = time.monotonic() + seconds
        while not self.acquire():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True

    def release(self) -> None:
        """Let go of the lock; children that inherited it still hold it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
