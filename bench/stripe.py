"""stripe-sync-engine, the nearest mirror of another vendor: Stripe's webhooks into PostgreSQL, in Node.js."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import asyncpg
import orjson

from bench.contestant import contestant
from bench.measured import Measured
from bench.notifications import upload
from bench.processes import ROOT
from bench.site import Site
from bench.workload import Workload
from service.embedded.cache import cached
from service.embedded.command import Command
from service.errors import MissingProgramError

NAME: Final = "stripe-sync-engine"
CONCURRENCIES: Final = (10, 50)

_PEER: Final = ROOT / "bench" / "peers" / "stripe-sync-engine"
_PATIENCE_SECONDS: Final = 120.0


@dataclass(frozen=True)
class _Run:
    """`count` customers from number `first` on, as webhooks of an edition of theirs."""

    first: int
    count: int
    edition: int
    concurrency: int


def contestant_name(concurrency: int) -> str:
    """Give what tables call it."""
    return f"{NAME}, {concurrency} in flight"


async def installed(progress: Callable[[str], None]) -> Path:
    """Give the folder of its packages; raises MissingProgramError without Node.js, EmbeddedProgramError when npm fails."""
    _program("node")
    npm = _program("npm")

    def fetch(folder: Path) -> Command:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_PEER / name, folder)
        return Command([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder)

    sources = [_PEER / "package.json", _PEER / "package-lock.json"]
    folder = await cached("stripe-sync-engine", sources, fetch, progress)
    return folder / "node_modules"


async def race(site: Site, packages: Path, editions: Mapping[Workload, int], count: int) -> dict[Workload, list[Measured]]:
    """Measure each workload, which is a webhook with that edition of each of `count` customers: one that is no later than what is
    there is stale.
    """
    runs = [
        (workload, _Run(place * count, count, edition, concurrency))
        for workload, edition in editions.items()
        for place, concurrency in enumerate(CONCURRENCIES)
    ]
    await _make_role(site)
    environment = {
        "DATABASE_URL": await site.empty_database("stripe"),
        "BODY_BYTES": str(len(upload(0))),
        "RUNS": orjson.dumps([asdict(run) for _, run in runs]).decode(),
        "NODE_PATH": str(packages),
    }
    argv = (_program("node"), str(_PEER / "bench.cjs"))
    measured: dict[Workload, list[Measured]] = {workload: [] for workload in editions}
    async with contestant("stripe", argv, environment, site.folder / "programs") as engine:
        for workload, run in runs:
            seconds, usages = await engine.race(site, patience=_PATIENCE_SECONDS)
            measured[workload].append(Measured(contestant_name(run.concurrency), count, seconds, usages))
    return measured


async def _make_role(site: Site) -> None:
    """Make the role that its migrations take for granted."""
    server = await asyncpg.connect(site.database_url)
    try:
        if not await server.fetchval("SELECT true FROM pg_roles WHERE rolname = 'postgres'"):
            await server.execute("CREATE ROLE postgres SUPERUSER")
    finally:
        await server.close()


def _program(name: str) -> str:
    program = shutil.which(name)
    if program is None:
        raise MissingProgramError(what=f"Node.js ({name})", packages="nodejs npm")
    return program
