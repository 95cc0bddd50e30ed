"""Programs run as children of ours, their output kept in a log."""

import asyncio
import math
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from service.errors import EmbeddedProgramError

POLL_SECONDS: Final = 0.02
_NEEDED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "TZ")
_SECRET: Final = ("MEDIAMIRROR_", "CLOUDINARY_", "PG")


def bare_environment() -> dict[str, str]:
    """What a server needs of our environment, in which there are secrets that are none of its business."""
    return {name: os.environ[name] for name in _NEEDED if name in os.environ}


def environment_without_secrets() -> dict[str, str]:
    """All of our environment but what concerns us alone: for tools that a user sets up in ways of their own, proxies and such."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_SECRET)}


class Log:
    """The file that takes the output of a program and of its helpers, kept from run to run.

    `telling` are the lines to quote when it fails: most programs say last why they end.
    """

    def __init__(self, program: str, path: Path, *, telling: slice = slice(-5, None)) -> None:
        self.program = program
        self.path = path
        self._telling = telling
        self._seen = 0

    def failure(self, reason: str) -> EmbeddedProgramError:
        """The error to raise: it names this log and quotes what was written since the last `mark`."""
        output = self.path.read_bytes()[self._seen :] if self.path.exists() else b""
        text = re.sub(r"\x1b\[[\d;]*m", "", output.decode(errors="replace"))  # Maven colours its output, a little, come what may
        lines = [line for line in text.splitlines() if line.strip()]
        outermost = [line for line in lines if not line[0].isspace()]  # the others are frames of Java's stack traces
        said = " / ".join(outermost[self._telling]) or "nothing"
        return EmbeddedProgramError(program=self.program, reason=reason, log=self.path, said=said)

    def mark(self) -> None:
        """Make the file if need be; what it holds so far is of earlier runs."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.touch(mode=0o600)
        self._seen = self.path.stat().st_size


@dataclass(frozen=True, slots=True)
class Account:
    """The user that a program runs as, when it must not be us."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its arguments, and how it is run: ended by `stop_signal`, as `account`, with the descriptors `inherited`.

    Its arguments are seen by all, and what it writes belongs to its account alone.
    """

    argv: Sequence[str]
    cwd: Path
    stop_signal: signal.Signals = signal.SIGKILL
    account: Account | None = None
    inherited: Sequence[int] = ()
    environment: Mapping[str, str] = field(default_factory=bare_environment)
    told: str = ""  # on its standard input; short enough for a pipe

    def start(self, log: Log, *, inherited: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        """Start it; raises EmbeddedProgramError if that can't be done.

        To be called in the thread that runs as long as the program shall: to Linux the thread is the parent that may die.
        """
        log.mark()
        with log.path.open("ab") as output, self._standard_input() as standard_input:
            try:
                return subprocess.Popen(
                    [*_dies_with_us(self.stop_signal), *self.argv],
                    cwd=self.cwd,
                    stdin=standard_input,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=[*self.inherited, *inherited],
                    env=self.environment,
                    umask=0o077,
                    start_new_session=True,  # Ctrl-C on the terminal is for us to handle
                    user=self.account.uid if self.account else None,
                    group=self.account.gid if self.account else None,
                    extra_groups=[] if self.account else None,
                )
            except OSError as error:
                raise log.failure(f"{self.argv[0]}: {error.strerror}") from error

    @contextmanager
    def _standard_input(self) -> Iterator[int]:
        if not self.told:
            yield subprocess.DEVNULL
            return
        reading, writing = os.pipe()
        try:
            with os.fdopen(writing, "w") as pipe:
                pipe.write(self.told)
            yield reading
        finally:
            os.close(reading)

    async def run(self, log: Log) -> None:
        """Run it to its end; raises EmbeddedProgramError if it fails. When the caller is cancelled, it is killed."""
        child = self.start(log)
        try:
            await ended(child)
        finally:
            if child.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        if child.returncode != 0:
            raise log.failure(f"{Path(self.argv[0]).name} ended with exit code {child.returncode}")


async def ended(child: subprocess.Popen[bytes], *, within: float = math.inf) -> bool:
    """Wait for the end of `child`, `within` seconds at most; False if it still runs.

    By polling, which behaves alike on every event loop and on every Python.
    """
    deadline = time.monotonic() + within
    while child.poll() is None:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


@cache
def _dies_with_us(stop_signal: signal.Signals) -> tuple[str, ...]:
    """What to put before a command so that the kernel sends it `stop_signal` when we die; nothing where that can't be had.

    A helper program, because the alternative, `preexec_fn`, runs Python between fork and exec, which is unsafe beside threads.
    """
    helper = shutil.which("setpriv")
    if helper is None:
        return ()
    prefix = (helper, "--pdeathsig", stop_signal.name.removeprefix("SIG"))
    works = subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0  # BusyBox's has no such option
    return prefix if works else ()
