"""Notifications from Kafka into rows, sync log and outbox: how many a second, at what cost, beside the limit and two peers."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

import asyncpg

from bench import debezium, stripe
from bench.applyreport import Findings, Plan, report
from bench.limit import IN_FLIGHT, OUTBOX, Load, write_again
from bench.measured import Measured
from bench.mirrors import apply_topic
from bench.notifications import fill
from bench.result import Result
from bench.sinktopic import Columns, SinkTopic
from bench.site import Site
from bench.workload import SUCCESSIVE, Workload
from service.errors import EmbeddedProgramError, MissingProgramError

_Installed = TypeVar("_Installed")

_LEFT_OUT: Final = "left out, as was asked for"
# Of stripe-sync-engine's customers, by workload.
_EDITIONS: Final = {Workload.INSERTS: 0, Workload.UPDATES: 1, Workload.STALE: 1}


_FULL: Final = Plan(
    notifications=40_000,
    sink_records=150_000,  # Java warms up in the first fifth, which is not counted
    webhooks=8_000,
    settings=[
        [debezium.Setting(tasks=1, batch=500), debezium.Setting(tasks=2, batch=500)],
        [debezium.Setting(tasks=1, batch=2000), debezium.Setting(tasks=2, batch=2000)],
    ],
)
_QUICK: Final = Plan(notifications=10_000, sink_records=20_000, webhooks=2_000, settings=[[debezium.Setting(tasks=1, batch=500)]])


async def run(site: Site, *, quick: bool, progress: Callable[[str], None]) -> Result:
    """Measure all contestants in turns."""
    findings = Findings(_QUICK if quick else _FULL)
    await _Run(site, findings, progress).all()
    return report(findings)


class _Run:
    """One run of the benchmark."""

    def __init__(self, site: Site, findings: Findings, progress: Callable[[str], None]) -> None:
        self._site = site
        self._plan = findings.plan
        self._findings = findings
        self._progress = progress
        self._sink: debezium.Installation | None = None
        self._sink_topics: dict[Workload, SinkTopic] = {}

    async def all(self) -> None:
        """Measure everything."""
        self._sink = await self._available("debezium", debezium.NAME, debezium.installed)
        packages = await self._available("stripe", stripe.NAME, stripe.installed)
        for workload in Workload:
            self._progress(f"filling {workload.topic}")
            await fill(self._site, workload.topic, workload.bodies(self._plan.notifications))
        for number, settings in enumerate(self._plan.settings):
            first = number == 0
            # a second round only where rates are compared with all contestants'
            await self._beside_the_limit(SUCCESSIVE if first else SUCCESSIVE[:1], settings)
            if first:
                await self._alone(SUCCESSIVE, processes=2)
                await self._stripe(packages)
            await self._beside_the_limit([Workload.MIX], settings)
            if first:
                await self._alone([Workload.MIX], processes=2)

    async def _beside_the_limit(self, workloads: Sequence[Workload], settings: Sequence[debezium.Setting]) -> None:
        """Measure one mirror on a new database, one workload after the other, each followed by the limit and by Debezium."""
        async with (
            self._database("apply") as url,
            self._database("limit.one") as one,
            self._database("limit.several") as several,
        ):
            for workload in workloads:
                load = Load(url, workload.topic, await _last_event(url))
                self._note(workload, await apply_topic(self._site, url, workload.topic, self._plan.notifications, processes=1))
                batch = self._site.settings(workload.topic, url).mirror_batch
                for target, in_flight in zip((one, several), IN_FLIGHT, strict=True):
                    self._note(workload, await write_again(self._site, load, target, batch=batch, in_flight=in_flight))
                await self._debezium(workload, settings, url)

    async def _alone(self, workloads: Sequence[Workload], *, processes: int) -> None:
        async with self._database("apply") as url:
            for workload in workloads:
                measured = await apply_topic(self._site, url, workload.topic, self._plan.notifications, processes=processes)
                self._note(workload, measured)

    async def _debezium(self, workload: Workload, settings: Sequence[debezium.Setting], mirrored: str) -> None:
        if self._sink is None or workload not in (Workload.INSERTS, Workload.MIX):
            return
        if workload not in self._sink_topics:
            name = f"{workload.topic}.sink"
            self._progress(f"filling {name}")
            columns = await Columns.of(mirrored)
            bodies = list(workload.bodies(self._plan.sink_records))
            self._sink_topics[workload] = await SinkTopic.fill(self._site, name, columns, bodies)
        for setting in settings:
            self._note(workload, await debezium.sink(self._site, self._sink, self._sink_topics[workload], setting))

    async def _stripe(self, packages: Path | None) -> None:
        if packages is None:
            return
        for workload, measured in (await stripe.race(self._site, packages, _EDITIONS, self._plan.webhooks)).items():
            for one in measured:
                self._note(workload, one)

    async def _available(
        self, peer: str, name: str, install: Callable[[Callable[[str], None]], Awaitable[_Installed]]
    ) -> _Installed | None:
        """Give a peer's programs; None, with the reason among the findings, when it can't be had."""
        if peer in self._site.without:
            self._findings.not_run[name] = _LEFT_OUT
            return None
        try:
            return await install(self._progress)
        except (MissingProgramError, EmbeddedProgramError) as error:
            self._findings.not_run[name] = str(error)
            self._progress(f"{name} is not run: {error}")
            return None

    def _note(self, workload: Workload, measured: Measured) -> None:
        self._findings.measured[workload].append(measured)
        self._progress(f"{workload}: {measured.contestant}: {measured.rate:,.0f}/s")

    @asynccontextmanager
    async def _database(self, name: str) -> AsyncIterator[str]:
        """Have a database with the mirror's schema until the end: what is left would be vacuumed while others are measured."""
        url = await self._site.database(name)
        yield url
        server = await asyncpg.connect(self._site.database_url)
        try:
            await server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        finally:
            await server.close()


async def _last_event(database_url: str) -> int:
    database = await asyncpg.connect(database_url)
    try:
        last: int = await database.fetchval(f"SELECT coalesce(max(id), 0) FROM {OUTBOX}")  # noqa: S608
        return last
    finally:
        await database.close()
