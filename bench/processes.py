"""Programs run as children of ours, and what processes cost."""

import asyncio
import os
import random
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from service.embedded.command import Command, Log, ended
from service.embedded.ports import accepts, is_free

ROOT: Final = Path(__file__).parents[1]
# With the Python that runs us, so that all contestants have the same.
MEDIAMIRROR: Final = (sys.executable, "-c", "from service.cli import main; main()")

_STOP_SECONDS: Final = 20
_SAMPLE_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.05
# As in service/embedded/ports.py: below the range that the kernel takes local ports of connections from.
_PORTS: Final = range(20_000, 32_768)


def free_port() -> int:
    """Give a port on loopback that nobody listens on."""
    return next(port for port in random.sample(_PORTS, len(_PORTS)) if is_free(port))


class Program:
    """A child process; its output is in `log`, and it dies with us."""

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = Log(name, folder / f"{name}.log")
        # `env` becomes the program: the process id stays
        variables = [f"{variable}={value}" for variable, value in env.items()]
        hidden = [f"--unset={variable}" for variable in os.environ if variable.startswith(("MEDIAMIRROR_", "CLOUDINARY_"))]
        path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
        command = Command(["env", *hidden, f"PYTHONPATH={path}", *variables, *argv], cwd=folder, stop_signal=signal.SIGTERM)
        self._child = command.start(self._log)
        self.pid = self._child.pid

    @property
    def log(self) -> Path:
        """The file with its output."""
        return self._log.path

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._child.poll() is not None

    def check(self) -> None:
        """Raise EmbeddedProgramError, with the last lines of its log, if it has ended."""
        if self.ended:
            raise self._log.failure(f"it ended with exit code {self._child.returncode}")

    async def listening(self, port: int, *, seconds: float = 60) -> None:
        """Return when it accepts connections on `port`; raises EmbeddedProgramError when it ends or takes too long."""
        deadline = time.monotonic() + seconds
        while not await accepts(port):
            self.check()
            if time.monotonic() > deadline:
                raise self._log.failure(f"it does not listen on port {port} after {seconds:.0f} seconds")
            await asyncio.sleep(_POLL_SECONDS)

    async def finished(self, *, seconds: float = 600) -> int:
        """Wait for its end and give its exit code; raises EmbeddedProgramError when that takes too long."""
        if not await ended(self._child, within=seconds):
            raise self._log.failure(f"it has not ended after {seconds:.0f} seconds")
        return self._child.returncode

    async def stop(self) -> None:
        """End it by SIGTERM, and by SIGKILL after 20 seconds."""
        try:
            if self._child.poll() is None:
                self._child.terminate()
                await ended(self._child, within=_STOP_SECONDS)
        finally:
            if self._child.poll() is None:
                self._child.kill()
                self._child.wait()


@asynccontextmanager
async def running(name: str, argv: Sequence[str], env: Mapping[str, str], folder: Path) -> AsyncIterator[Program]:
    """Run a program in `folder`, with `env` beside our own environment (but for settings of mediamirror's there)."""
    program = Program(name, argv, env, folder)
    try:
        yield program
    finally:
        await program.stop()


@dataclass(frozen=True)
class Usage:
    """What a process and its children took between two moments."""

    cpu_seconds: float
    peak_rss: int  # bytes


class Meter:
    """Measures named processes, each with all of its children, from `start` to `stop`.

    CPU: to the kernel's clock tick (10 ms), of children that ended meanwhile, too, once their parent has reaped them.

    Memory: of a process that never had children, the kernel's own peak of its resident set, beginning anew at `start`. Of one
    with children (PostgreSQL: postmaster and backends) the peak, sampled twice a second, of the sum of their proportional set
    sizes, in which what n processes share counts 1/n for each of them; a sum of resident sets would count shared buffers once
    for each backend. 0 where the kernel does not let us read it.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._trees = {name: _Tree(pid) for name, pid in pids.items()}
        self._started_at = 0.0
        self._stopping = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self.seconds = 0.0

    def start(self) -> None:
        """Begin."""
        for tree in self._trees.values():
            tree.begin()
        self._sampler.start()
        self._started_at = time.perf_counter()

    def stop(self) -> Mapping[str, Usage]:
        """Give the usage of each; `seconds` is the time since `start`."""
        self.seconds = time.perf_counter() - self._started_at
        self._stopping.set()
        self._sampler.join()
        return {name: tree.usage() for name, tree in self._trees.items()}

    def _sample(self) -> None:
        while not self._stopping.wait(_SAMPLE_SECONDS):
            for tree in self._trees.values():
                tree.look()


class _Tree:
    """A process and all that come from it. One that has ended keeps what was last seen of it."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._cpu_before = 0.0
        self._cpu = 0.0
        self._peak = 0
        self._had_children = False

    def begin(self) -> None:
        with suppress(OSError):
            Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")  # the peak begins anew
        self.look()
        self._cpu_before = self._cpu

    def look(self) -> None:
        with suppress(psutil.NoSuchProcess):
            # the parent before its children: one that is reaped in between is missed, not counted twice, until the next look
            times = self._process.cpu_times()
            children = self._process.children(recursive=True)
            total = times.user + times.system + times.children_user + times.children_system
            total += sum(map(_cpu_of, children))
            self._cpu = max(self._cpu, total)
            self._had_children = self._had_children or bool(children)
            if self._had_children:
                self._peak = max(self._peak, sum(_memory(one, "smaps_rollup", "Pss") for one in (self._process, *children)))
            else:
                self._peak = max(self._peak, _memory(self._process, "status", "VmHWM"))  # 0 of one that has just ended

    def usage(self) -> Usage:
        self.look()
        return Usage(self._cpu - self._cpu_before, self._peak)


def _cpu_of(child: psutil.Process) -> float:
    try:
        times = child.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system + times.children_user + times.children_system


def _memory(process: psutil.Process, file: str, field: str) -> int:
    """Bytes of one field of a file in /proc; 0 when the process has gone or is not ours to look at."""
    with suppress(OSError):
        for line in Path(f"/proc/{process.pid}/{file}").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return int(value.split()[0]) * 1024
    return 0
