"""From the moment a webhook is due to its row, and to its event."""

import asyncio
import itertools
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from bench.load import Load, generate, percentile, read_times
from bench.notifications import record, upload
from bench.processes import MEDIAMIRROR, Program, running
from bench.result import Cell, Lines, Ratio, Result, Table
from bench.sightings import Sightings, sighted
from bench.site import Site
from bench.stripe import NAME
from bench.synchronous import Synchronous, measure
from service.errors import MediamirrorError
from service.kafka import ensure_topics, partition_bounds
from service.settings import Settings
from service.topic import Ranges, read_topic

_NAME: Final = "endtoend"
_KINDS: Final = ("accepted", "row", "event")
_CLAIMED: Final = ("row", "event")
_ROLES: Final = ("gateway", "mirror", "relay")
_SHARES: Final = (0.1, 0.5, 0.8)
_GOAL: Final = 10.0
_CONNECTIONS: Final = 64  # closed loop
_OPEN_CONNECTIONS: Final = 128  # so many may be in flight; what is due beyond waits, and its latency counts on
_MOST_A_SECOND: Final = 20_000  # of a closed loop, in which no asset may come twice
_WARM_UP_SECONDS: Final = 1.0
_OVERLOAD: Final = 1.15
_KEPT_UP: Final = 0.97
_TRIES: Final = 6
_PATIENCE_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.02


class NotSeenError(MediamirrorError):
    """{sent:,} webhooks were accepted, but there are {rows:,} rows and {events:,} events after {seconds:.0f} s. See {folder}."""


@dataclass(frozen=True)
class _Plan:
    """Seconds."""

    burst: float
    overload: float
    level: float
    peer: float


_FULL: Final = _Plan(burst=3, overload=5, level=10, peer=4)
_QUICK: Final = _Plan(burst=1, overload=1.5, level=2, peer=1)


@dataclass(frozen=True)
class _Webhook:
    """When a webhook was due, accepted, its row seen and its event, in unix seconds."""

    due: float
    accepted: float
    row: float
    event: float


@dataclass(frozen=True)
class _Level:
    """What became of webhooks that were due within some seconds."""

    webhooks: Sequence[_Webhook]  # warm-up excluded
    seconds: float  # in which they were due
    rows: float  # a second, in that time
    events: float
    busy: float  # share of all cores, in that time

    def latencies(self, what: str) -> list[float]:
        """Give the milliseconds to `accepted`, `row` or `event`, in order."""
        return sorted((getattr(one, what) - one.due) * 1000 for one in self.webhooks)


async def run(site: Site, *, quick: bool, progress: Callable[[str], None]) -> Result:
    """Find out how much goes through, then how long it takes at shares of that."""
    plan = _QUICK if quick else _FULL
    async with _running(site) as chain:
        capacity = await _capacity(chain, plan, progress)
        levels: list[_Level] = []
        for share in _SHARES:
            levels.append(await chain.send(plan.level, share * capacity))
            progress(f"{share:.0%} of {capacity:,.0f}/s: {_in_words(levels[-1])}")
        watching = chain.watching()
    peer = await measure(site, [share * capacity for share in _SHARES], _SHARES, plan.peer, progress)
    return _result(capacity, levels, peer, watching)


@asynccontextmanager
async def _running(site: Site) -> AsyncIterator["_Chain"]:
    """Run the three roles, a process each."""
    url = await site.database(_NAME)
    environment, settings = site.environment(_NAME, url), site.settings(_NAME, url)
    await ensure_topics(settings)
    async with AsyncExitStack() as roles:
        programs = [
            await roles.enter_async_context(
                running(f"{_NAME}.{role}", (*MEDIAMIRROR, role), environment, site.folder / "programs")
            )
            for role in _ROLES
        ]
        port = int(environment["MEDIAMIRROR_GATEWAY_PORT"])
        await programs[0].listening(port)
        sightings = await roles.enter_async_context(sighted(settings, url))
        chain = _Chain(settings, url, port, programs, sightings, folder=site.folder / "load")
        await chain.send(_WARM_UP_SECONDS, 50)  # until all three are at work
        yield chain


class _Chain:
    """Gateway, mirror and relay, and what is seen of their work."""

    def __init__(
        self, settings: Settings, url: str, port: int, programs: Sequence[Program], sightings: Sightings, *, folder: Path
    ) -> None:
        self._settings = settings
        self._url = url
        self._port = port
        self._programs = programs
        self._sightings = sightings
        self._folder = folder
        self._next = 0  # the first number that no asset has yet
        self._runs = itertools.count()
        self._began_at = time.process_time(), time.monotonic()

    async def send(self, seconds: float, rate: float | None) -> _Level:
        """Send uploads of new assets, and wait until the last has its row and its event; `rate` None: as many as are accepted."""
        times, first = self._folder / f"{next(self._runs)}.times", self._next
        most = math.ceil((rate * 1.5 if rate else _MOST_A_SECOND) * (seconds + _WARM_UP_SECONDS)) + 100
        before = await partition_bounds(self._settings, self._settings.notifications_topic)
        rows, events = self._sightings.rows(), self._sightings.events()
        load = Load(
            ports=[self._port],
            connections=_OPEN_CONNECTIONS if rate else _CONNECTIONS,
            seconds=seconds,
            rate=rate,
            warm_up=_WARM_UP_SECONDS,
            first=first,
            assets=most,
            times=str(times),
            seed=first,
        )
        await generate(load, self._folder)
        sent = read_times(times)
        self._next += most
        await self._until_seen(len(sent), rows, events)
        after = await partition_bounds(self._settings, self._settings.notifications_topic)
        return await self._level(sent, first, {number: (before[number][1], after[number][1]) for number in after})

    async def settle(self) -> None:
        """Have PostgreSQL look at what has come, as autovacuum would within a minute: in the middle of something."""
        database = await asyncpg.connect(self._url)
        try:
            await database.execute("VACUUM (ANALYZE)")
        finally:
            await database.close()

    def watching(self) -> str:
        """Say what watching has cost, and how it came to its figures."""
        cpu, at = self._began_at
        share = (time.process_time() - cpu) / (time.monotonic() - at)
        return (
            f"Watching took {share:.0%} of a core. Of the moments at which the offsets were seen to have moved,"
            f" {self._sightings.noticed:.0%} followed the notice of a commit; others were found by a look every 10 ms."
        )

    async def _until_seen(self, sent: int, rows: int, events: int) -> None:
        def seen() -> bool:
            for program in self._programs:
                program.check()
            return self._sightings.rows() >= rows + sent and self._sightings.events() >= events + sent

        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while not seen():  # noqa: ASYNC110  # what is seen comes from two servers
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise NotSeenError(
                sent=sent,
                rows=self._sightings.rows() - rows,
                events=self._sightings.events() - events,
                seconds=_PATIENCE_SECONDS,
                folder=self._programs[0].log.parent,
            ) from None

    async def _level(self, sent: Sequence[tuple[float, float]], first: int, ranges: Ranges) -> _Level:
        """Put together what was sent, from asset number `first`, and what was seen."""
        places: dict[bytes, tuple[int, int]] = {}
        async for records in read_topic(self._settings, self._settings.notifications_topic, ranges):
            places |= {one.key: (one.partition, one.offset) for one in records}
        webhooks: list[_Webhook] = []
        for number, (due, accepted) in enumerate(sent, start=first):
            key = record(upload(number))[0]
            row, event = self._sightings.row(*places[key]), self._sightings.event(key)
            assert row is not None  # noqa: S101  # all were awaited
            assert event is not None  # noqa: S101
            webhooks.append(_Webhook(due, accepted, row, event))
        begin, end = webhooks[0].due + _WARM_UP_SECONDS, webhooks[-1].due
        return _Level(
            [one for one in webhooks if one.due >= begin],
            seconds=end - begin,
            rows=sum(begin <= one.row < end for one in webhooks) / (end - begin),
            events=sum(begin <= one.event < end for one in webhooks) / (end - begin),
            busy=self._sightings.busy(begin, end),
        )


async def _capacity(chain: _Chain, plan: _Plan, progress: Callable[[str], None]) -> float:
    """Give the rate at which rows and events come out when a little more goes in than can."""
    burst = (await chain.send(plan.burst, None)).webhooks
    await chain.settle()
    rate = len(burst) / (max(max(one.row, one.event) for one in burst) - burst[0].due)
    for _ in range(_TRIES):
        offered = rate * _OVERLOAD
        level = await chain.send(plan.overload, offered)
        rate = min(level.rows, level.events)
        progress(f"{offered:,.0f}/s sent: {level.rows:,.0f} rows/s, {level.events:,.0f} events/s")
        if rate < _KEPT_UP * offered:
            break
    return rate


def _in_words(level: _Level) -> str:
    row, event = level.latencies("row"), level.latencies("event")
    return ", ".join(
        f"{what} p50 {percentile(values, 0.5):.1f} ms, p99 {percentile(values, 0.99):.1f} ms"
        for what, values in (("row", row), ("event", event))
    )


def _result(capacity: float, levels: Sequence[_Level], peer: Synchronous, watching: str) -> Result:
    shares = list(zip(_SHARES, levels, strict=True))
    rows = [_row(what, share, share * capacity, level.latencies(what)) for what in _KINDS for share, level in shares]
    theirs: list[Sequence[Cell]] = [
        (what, f"{one.rate / peer.capacity:.0%}", one.rate, one.p50, one.p90, one.p99, one.longest, one.p99 / one.p50)
        for what, some in (("at our rates", peer.at_rates), ("at shares of its capacity", peer.at_shares))
        for one in some
    ]
    columns = ("", "of capacity", "webhooks/s", "p50, ms", "p90, ms", "p99, ms", "longest, ms", "p99 : p50")
    ratios = [_spread(what, levels[-1].latencies(what)) for what in _CLAIMED]
    if peer.missing:
        ratios.append(Ratio(f"{NAME}'s latencies, beside ours", None, _GOAL, at_most=True, note=peer.missing))
    lines = {
        f"mediamirror {what}, {name}": [(share * 100, percentile(level.latencies(what), at)) for share, level in shares]
        for what in _CLAIMED
        for name, at in (("p50", 0.5), ("p99", 0.99))
    }
    own = list(zip(_SHARES, peer.at_shares, strict=False))
    if own:
        lines |= {f"{NAME}, p50": [(share * 100, one.p50) for share, one in own]}
        lines |= {f"{NAME}, p99": [(share * 100, one.p99) for share, one in own]}
    busy = ", ".join(f"{level.busy:.0%} at {share:.0%}" for share, level in shares)
    return Result(
        name=_NAME,
        title="End to end: webhook to row and to event",
        about=_ABOUT,
        tables=[
            Table(f"mediamirror; its capacity is {capacity:,.0f} webhooks a second", columns, rows),
            Table(
                f"{NAME}, {peer.missing or f'its capacity is {peer.capacity:,.0f} webhooks a second'}",
                columns,
                theirs or [[peer.missing, *[None] * (len(columns) - 1)]],
            ),
        ],
        ratios=ratios,
        plots=[Lines("Latency, open loop", "share of capacity, %", "ms", log=False, lines=lines)],
        notes=[
            f"All of this, with load generator and watcher, shares the machine's cores. At work were of them {busy} of capacity.",
            watching,
        ],
    )


def _row(what: str, share: float, rate: float, latencies: Sequence[float]) -> list[Cell]:
    p50, p90, p99, longest = (percentile(latencies, each) for each in (0.5, 0.9, 0.99, 1))
    return [what, f"{share:.0%}", rate, p50, p90, p99, longest, p99 / p50]


def _spread(what: str, latencies: Sequence[float]) -> Ratio:
    p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
    claim = f"{what}: p99 at {_SHARES[-1]:.0%} of capacity, in its p50"
    return Ratio(claim, p99 / p50, _GOAL, at_most=True, note=f"{p99:.1f} ms in {p50:.1f} ms")


_ABOUT: Final = f"""\
Signed uploads of new assets go to a gateway; a mirror makes rows of them, and a relay events: three processes, as in \
production. The load is open loop: webhooks are due at moments fixed beforehand, as many independent senders' are, and latencies \
count from the moment that each was due.

* **accepted**: the gateway's 200 is back, so Kafka has acked.
* **row**: its transaction has committed, and another connection sees so.
* **event**: a plain consumer of `media.events` has it.

Capacity is what comes out as rows and as events, whichever is less, while a little more is sent than that, for some seconds. \
The tables hold what a first burst has brought by then, and are vacuumed and analyzed.

{NAME} writes in the call that receives the webhook. Its latency is that of `processWebhook`, open loop likewise, on webhooks \
of the same size, without HTTP before it, and without a log or events: at our rates, and at the same shares of its own capacity.
"""
