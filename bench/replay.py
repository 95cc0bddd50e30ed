"""The log read again, by `rebuild` and by `replay`."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import orjson
import psutil

from bench.contestant import fresh
from bench.measured import OWN, Measured
from bench.mirrors import apply_topic
from bench.notifications import fill, mixed
from bench.processes import MEDIAMIRROR, Program, Usage
from bench.result import Bars, Ratio, Result, Table
from bench.site import Site
from service.errors import MediamirrorError

_COUNTS: Final = (100_000, 1_000_000)
_COUNTS_QUICK: Final = (15_000, 50_000)  # full batches of each partition, at both
_RATE_GOAL: Final = 1.0
_MEMORY_GOAL: Final = 1.2
_POLL_SECONDS: Final = 0.05

_MIRROR: Final = "mirror"
_REBUILD: Final = "rebuild"
_REPLAY: Final = "replay"
_MISSED: Final = "replay, all missed"


class CommandFailedError(MediamirrorError):
    """`mediamirror {command}` of {count:,} notifications ended with exit code {code}; {log} says: {said}."""


async def run(site: Site, *, quick: bool, progress: Callable[[str], None]) -> Result:
    """Let the mirror apply few and many notifications, and read them again."""
    few, many = _COUNTS_QUICK if quick else _COUNTS
    measured: dict[tuple[int, str], Measured] = {}

    def note(count: int, one: Measured) -> None:
        measured[count, one.contestant] = one
        progress(f"{count:,} notifications, {one.contestant}: {one.rate:,.0f}/s, {one.own.peak_rss / 1e6:,.0f} MB")

    for count in (few, many):
        log = _Log(site, count)
        note(count, await log.mirror())
        note(count, await log.command(_REBUILD, "rebuild"))
        note(count, await log.command(_REPLAY, "replay", "--from-beginning"))
        if count == few:
            await log.lose()
            note(count, await log.command(_MISSED, "replay", "--from-beginning"))
    return _result(few, many, measured)


class _Log:
    """A topic of `count` notifications, and the database that mirrors it."""

    def __init__(self, site: Site, count: int) -> None:
        self._site = site
        self._count = count
        self._name = f"replay{count}"
        self._url = ""

    async def mirror(self) -> Measured:
        """Write the notifications, and let a mirror apply them all."""
        await self.lose()
        await fill(self._site, self._name, mixed(self._count))
        return replace(await apply_topic(self._site, self._url, self._name, self._count, processes=1), contestant=_MIRROR)

    async def lose(self) -> None:
        """Begin with an empty database."""
        self._url = await self._site.database(self._name)

    async def command(self, contestant: str, *arguments: str) -> Measured:
        """Run a command, from the start of its process to the end."""
        environment, argv = self._site.environment(self._name, self._url), (*MEDIAMIRROR, *arguments, "--json")
        started = time.perf_counter()
        async with fresh(f"{self._name}.{arguments[0]}", argv, environment, self._site.folder / "programs") as program:
            usage = await _watch(program)
            seconds = time.perf_counter() - started
            code = await program.finished()
        said = program.log.read_bytes().splitlines()[-1:]
        # a rebuild ends with 1 when the mirror is not what the log says
        if code or not said or orjson.loads(said[0])["read"] != self._count:
            last = b"".join(said).decode(errors="replace") or "nothing"
            raise CommandFailedError(command=" ".join(arguments), count=self._count, code=code, said=last, log=program.log)
        return Measured(contestant, self._count, seconds, {OWN: usage})


async def _watch(program: Program) -> Usage:
    """Give what a process has used, as it was last seen before its end: then it is too late to ask."""
    process, status = psutil.Process(program.pid), Path(f"/proc/{program.pid}/status")
    usage = Usage(0, 0)
    while not program.ended:
        with suppress(psutil.NoSuchProcess, OSError):
            times, text = process.cpu_times(), status.read_text()
            peak = sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmHWM:"))
            usage = Usage(max(usage.cpu_seconds, times.user + times.system), max(usage.peak_rss, peak))
        await asyncio.sleep(_POLL_SECONDS)
    return usage


def _result(few: int, many: int, measured: Mapping[tuple[int, str], Measured]) -> Result:
    def rate(count: int, name: str) -> float:
        return measured[count, name].rate / measured[count, _MIRROR].rate

    def memory(name: str) -> float:
        return measured[many, name].own.peak_rss / measured[few, name].own.peak_rss

    rows = [
        (
            f"{count:,}",
            name,
            one.rate,
            rate(count, name),
            one.own.cpu_seconds / one.count * 100_000,
            one.own.peak_rss / 1e6,
        )
        for (count, name), one in measured.items()
    ]
    rates = [
        Ratio(f"{name} of {count:,} notifications, beside the mirror's apply rate", rate(count, name), _RATE_GOAL)
        for count, name in ((many, _REBUILD), (many, _REPLAY), (few, _MISSED))
    ]
    memories = [
        Ratio(f"peak RSS of {name} at {many:,} notifications, beside {few:,}", memory(name), _MEMORY_GOAL, at_most=True)
        for name in (_REBUILD, _REPLAY)
    ]
    columns = ("notifications", "process", "a second", "× mirror", "CPU s per 100,000", "peak RSS, MB")
    return Result(
        name="replay",
        title="Rebuild and replay",
        about=_ABOUT.format(few=few, many=many),
        tables=[Table("Notifications a second, by process", columns, rows)],
        ratios=[*rates, *memories],
        plots=[
            Bars(
                f"{many:,} notifications read",
                "a second",
                [(f"mediamirror {name}", measured[many, name].rate) for name in (_MIRROR, _REBUILD, _REPLAY)],
            ),
            Bars(
                "Peak memory",
                "MB",
                [
                    (f"mediamirror {name}, {count:,}", measured[count, name].own.peak_rss / 1e6)
                    for name in (_REBUILD, _REPLAY)
                    for count in (few, many)
                ],
            ),
        ],
    )


_ABOUT: Final = """\
{few:,} notifications, then {many:,}: one insert to three updates, of assets in random order. One mirror process applies them, \
timed from its first batch in PostgreSQL to its last. Then come, each as a process of its own, timed from its start to its end:

* `mediamirror rebuild`, which folds the whole log into tables aside and compares each row with the mirror's (none may differ);
* `mediamirror replay --from-beginning`, which finds all of it known;
* at {few:,}, the same on an empty database, where it applies everything, with sync log and events.

Memory is the kernel's own peak of the resident set.
"""
