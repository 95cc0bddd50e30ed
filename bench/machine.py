"""On what, with what and when a benchmark ran."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg
import psutil

from bench.processes import ROOT
from bench.site import Site
from service.embedded.artefacts import java
from service.resources import resource

_PACKAGES: Final = ("aiohttp", "aiokafka", "asyncpg", "orjson", "pydantic", "uvloop")
_GIB: Final = 1024**3


@dataclass(frozen=True)
class Circumstances:
    """What a figure is worth nothing without."""

    date: str
    machine: str
    versions: Mapping[str, str]
    commit: str
    command: str
    seconds: float
    quick: bool


async def circumstances(site: Site, command: Sequence[str], *, seconds: float, quick: bool) -> Circumstances:
    """Look them up; `seconds` is how long the benchmark took."""
    server = await asyncpg.connect(site.database_url)
    try:
        postgres = str(await server.fetchval("SHOW server_version"))
    finally:
        await server.close()
    versions = {
        "Python": platform.python_version(),
        "Kafka": resource("deploy/kafka/pom.xml").read_text().partition("<kafka.version>")[2].partition("</")[0],
        "PostgreSQL": postgres.split(maxsplit=1)[0],
        "Java": _first(r'version "([^"]+)"', [java(), "-version"]),
        "node": _first(r"v(\S+)", ["node", "--version"]),
        **{name: importlib.metadata.version(name) for name in _PACKAGES if _is_installed(name)},
        **_peers(),
    }
    return Circumstances(
        date=datetime.now(UTC).astimezone().strftime("%Y-%m-%d %H:%M"),
        machine=machine(),
        versions=versions,
        commit=commit(),
        command=" ".join(command),
        seconds=seconds,
        quick=quick,
    )


def machine() -> str:
    """Describe the machine in a line."""
    processor = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    model = processor[1] if processor else platform.machine()
    memory = psutil.virtual_memory().total / _GIB
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}"


def commit() -> str:
    """Give the commit that is checked out, and whether the code differs from it."""
    head = _output(["git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD"]).strip()
    changed = _output(["git", "-C", str(ROOT), "status", "--porcelain", "--", ".", ":!bench/results"]).strip()
    return (head or "unknown") + (" + changes" if changed else "")


def _peers() -> dict[str, str]:
    """Give the peers' versions, from where they are pinned."""
    versions = {}
    sink = ROOT / "bench" / "peers" / "debezium-jdbc-sink" / "plugin-pom.xml"
    if sink.exists() and (found := re.search(r"version>(\d[^<]*Final)</", sink.read_text())):
        versions["Debezium"] = found[1]
    engine = ROOT / "bench" / "peers" / "stripe-sync-engine" / "package.json"
    if engine.exists() and (found := re.search(r'"[^"]*sync-engine": "[\^~]?(\d[^"]*)"', engine.read_text())):
        versions["stripe-sync-engine"] = found[1]
    return versions


def _is_installed(package: str) -> bool:
    return any(True for _ in importlib.metadata.distributions(name=package))


def _first(pattern: str, argv: Sequence[str]) -> str:
    found = re.search(pattern, _output(argv))
    return found[1] if found else "none"


def _output(argv: Sequence[str]) -> str:
    if shutil.which(argv[0]) is None:
        return ""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode == 0 else ""
