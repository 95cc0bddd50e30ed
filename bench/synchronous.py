"""stripe-sync-engine's synchronous write: how long the call that receives a webhook takes, in open loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
import orjson

from bench.contestant import fresh
from bench.notifications import upload
from bench.processes import ROOT
from bench.site import Site
from bench.stripe import installed
from service.errors import EmbeddedProgramError, MissingProgramError

_PROGRAM: Final = ROOT / "bench" / "peers" / "stripe-sync-engine" / "latency.cjs"
_MEASURED: Final = b"measured "
_PEER: Final = "stripe"  # to `--without`


@dataclass(frozen=True)
class Latencies:
    """What it did at a rate; milliseconds."""

    rate: float
    p50: float
    p90: float
    p99: float
    longest: float


@dataclass(frozen=True)
class Synchronous:
    """What it did, if it ran: at rates asked for, and at shares of its own capacity."""

    missing: str  # why it did not run
    capacity: float = 0.0
    at_rates: Sequence[Latencies] = ()
    at_shares: Sequence[Latencies] = ()


async def measure(
    site: Site, rates: Sequence[float], shares: Sequence[float], seconds: float, progress: Callable[[str], None]
) -> Synchronous:
    """Measure it for `seconds` at each rate, and at each share of its capacity."""
    if _PEER in site.without:
        return Synchronous("left out")
    try:
        packages = await installed(progress)
        progress("stripe-sync-engine")
        url = await _database(site)
        plan = {
            "bytes": len(upload(0)),
            "saturation": seconds,
            "seconds": seconds,
            "warmUp": min(seconds / 2, 1),
            "rates": rates,
            "shares": shares,
        }
        argv = ("node", str(_PROGRAM), orjson.dumps(plan).decode())
        environment = {"DATABASE_URL": url, "NODE_PATH": str(packages)}
        async with fresh("stripe-latency", argv, environment, site.folder / "programs") as engine:
            if await engine.finished():
                engine.check()
            lines = engine.log.read_bytes().splitlines()
    except (MissingProgramError, EmbeddedProgramError) as error:
        return Synchronous(f"not run: {error}")
    said = [orjson.loads(line.removeprefix(_MEASURED)) for line in lines if line.startswith(_MEASURED)]
    found = [Latencies(**one) for one in said[1:]]
    return Synchronous("", said[0]["capacity"], found[: len(rates)], found[len(rates) :])


async def _database(site: Site) -> str:
    """Make a database for it, and the role that its migrations take for granted."""
    url = await site.empty_database("stripe-latency")
    server = await asyncpg.connect(url)
    try:
        if not await server.fetchval("SELECT true FROM pg_roles WHERE rolname = 'postgres'"):
            await server.execute("CREATE ROLE postgres SUPERUSER")
    finally:
        await server.close()
    return url
