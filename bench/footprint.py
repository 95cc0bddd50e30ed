"""What a role takes when there is nothing to do: memory and CPU."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from bench.processes import MEDIAMIRROR, Program, running
from bench.result import Bars, Result, Table
from bench.site import Site

_ROLES: Final = ("gateway", "mirror", "relay", "reconciler", "writeback")
_ALL: Final = "up"
_MB: Final = 1_000_000
# until caches are filled and the group has been joined
_SETTLE_SECONDS: Final = 6.0
_IDLE_SECONDS: Final = 10.0
_QUICK_SECONDS: Final = 3.0


@dataclass(frozen=True)
class _Footprint:
    rss: int  # bytes
    uss: int
    cpu_percent: float  # of one core


async def run(site: Site, *, quick: bool, progress: Callable[[str], None]) -> Result:
    """Measure; see `Result.about` below."""
    settle, idle = (_QUICK_SECONDS, _QUICK_SECONDS) if quick else (_SETTLE_SECONDS, _IDLE_SECONDS)
    rest = _Rest(site, settle, idle, progress)
    apart = await rest.watch("footprint", {role: role for role in _ROLES})
    together = await rest.watch("footprint_up", {_ALL: "gateway"})
    found = apart | {_ALL: together[_ALL]}
    return Result(
        name="footprint",
        title="Footprint: each role at rest",
        about=_ABOUT.format(idle=idle, settle=settle),
        tables=[
            Table(
                "At rest",
                ["", "RSS MB", "USS MB", "CPU, % of a core"],
                [[name, one.rss / _MB, one.uss / _MB, one.cpu_percent] for name, one in found.items()],
            )
        ],
        ratios=[],
        plots=[
            Bars("Memory at rest", "MB (RSS)", [(f"mediamirror {name}", one.rss / _MB) for name, one in found.items()]),
            Bars("CPU at rest", "% of a core", [(f"mediamirror {name}", one.cpu_percent) for name, one in found.items()]),
        ],
        notes=["The reconciler has no sweep to do, and no account is there to be called."],
    )


@dataclass(frozen=True)
class _Rest:
    """Watches commands that have nothing to do, `settle` seconds after their start and for `idle` seconds."""

    site: Site
    settle: float
    idle: float
    progress: Callable[[str], None]

    async def watch(self, name: str, ports: Mapping[str, str]) -> dict[str, _Footprint]:
        """Run commands side by side; `ports` names the role whose port shows that a command is up."""
        environment = self.site.environment(name, await self.site.database(name))
        programs: dict[str, Program] = {}
        async with AsyncExitStack() as stack:
            for command, role in ports.items():
                self.progress(f"{command} starts")
                argv = [*MEDIAMIRROR, command, *(["--no-demo"] if command == _ALL else [])]
                programs[command] = await stack.enter_async_context(running(command, argv, environment, self.site.folder / name))
                await programs[command].listening(int(environment[f"MEDIAMIRROR_{role.upper()}_PORT"]))
            self.progress(f"{', '.join(ports)}: settling for {self.settle:.0f} s, watched for {self.idle:.0f} s")
            await asyncio.sleep(self.settle)
            before, began = {command: _on_core(program.pid) for command, program in programs.items()}, time.perf_counter()
            await asyncio.sleep(self.idle)
            seconds = time.perf_counter() - began
            found = {}
            for command, program in programs.items():
                program.check()
                memory = psutil.Process(program.pid).memory_full_info()
                busy = _on_core(program.pid) - before[command]
                found[command] = _Footprint(memory.rss, memory.uss, busy / seconds * 100)
            return found


def _on_core(pid: int) -> float:
    """Give the seconds that a process' threads have been on a core, finer than the kernel's ticks of 10 ms tell it."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split(maxsplit=1)[0]) for thread in threads) / 1e9


_ABOUT: Final = """\
Each role as a process of its own, all five at once, and then all of them in one process (`up`), with Kafka and PostgreSQL
outside. Nothing arrives. CPU is what each takes in {idle:.0f} s, from {settle:.0f} s after its start; memory is read at the end.
RSS is what the process has in memory, USS what only it has: the rest is shared, mostly files of Python and its libraries."""
