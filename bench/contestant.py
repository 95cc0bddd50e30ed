"""Contestants that prepare themselves, wait for a word of ours, and tell when they are done."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import orjson

from bench.measured import OWN, POSTGRES
from bench.processes import Meter, Program, Usage, running
from bench.site import Site
from service.embedded.command import Log
from service.errors import EmbeddedProgramError

GO: Final = signal.SIGUSR2  # Node.js keeps the other one for its debugger
READY: Final = "ready"
DONE: Final = "done "  # then {"seconds": …}

_POLL_SECONDS: Final = 0.01


class Contestant:
    """A program that prints `ready`, begins at our signal, and prints `done` with its own clock's seconds; again and again."""

    def __init__(self, name: str, program: Program) -> None:
        self._name = name
        self._program = program
        self._heard = 0

    async def race(self, site: Site, *, patience: float) -> tuple[float, Mapping[str, Usage]]:
        """Give the seconds of its next run and what that cost; either part of it may take `patience` seconds."""
        await self._hear(READY, patience)
        meter = Meter({OWN: self._program.pid, POSTGRES: site.postgres_pid})
        meter.start()
        os.kill(self._program.pid, GO)
        try:
            told = await self._hear(DONE, patience)
        finally:
            usages = meter.stop()
        return float(orjson.loads(told)["seconds"]), usages

    async def _hear(self, word: str, patience: float) -> str:
        """Wait for a line that begins with `word`; gives the rest of it."""
        deadline = time.monotonic() + patience
        while True:
            for line in self._new_lines():
                if line.startswith(word):
                    return line.removeprefix(word)
            self._program.check()
            if time.monotonic() > deadline:
                raise failure(self._name, self._program.log, f"it has not said {word.strip()!r} after {patience:.0f} seconds")
            await asyncio.sleep(_POLL_SECONDS)

    def _new_lines(self) -> list[str]:
        """Give the next whole line, if there is one: what comes after it belongs to the next question."""
        with self._program.log.open("rb") as output:
            output.seek(self._heard)
            line = output.readline()
        if not line.endswith(b"\n"):
            return []
        self._heard += len(line)
        return [line.decode(errors="replace").rstrip()]


@asynccontextmanager
async def contestant(name: str, argv: Sequence[str], env: Mapping[str, str], folder: Path) -> AsyncIterator[Contestant]:
    """Run one, with a log of its own."""
    async with fresh(name, argv, env, folder) as program:
        yield Contestant(name, program)


@asynccontextmanager
async def fresh(name: str, argv: Sequence[str], env: Mapping[str, str], folder: Path) -> AsyncIterator[Program]:
    """Run a program whose log begins anew, so that what it says is of this run."""
    (folder / f"{name}.log").unlink(missing_ok=True)
    async with running(name, argv, env, folder) as program:
        yield program


def failure(name: str, log: Path, reason: str) -> EmbeddedProgramError:
    """Give the error that says why a program failed, with the last lines of its log."""
    return Log(name, log).failure(reason)
