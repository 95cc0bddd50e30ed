"""Signed webhooks, accepted once Kafka has acked them: how many, how fast, beside a bare handler and a bare producer."""

import os
import statistics
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import orjson

from bench.load import Load, Outcome, generate
from bench.processes import MEDIAMIRROR, Meter, running
from bench.result import Bars, Cell, Lines, Ratio, Result, Table
from bench.site import Site

_GATEWAY: Final = "mediamirror gateway"
_FLOOR: Final = "floor: bare handler"
_PROGRAMS: Final = {_GATEWAY: (*MEDIAMIRROR, "gateway"), _FLOOR: (sys.executable, "-m", "bench.floors.bare_gateway")}
_CONNECTIONS: Final = (32, 64, 128)
_SHARES: Final = (0.1, 0.5, 0.8)
_OPEN_CONNECTIONS: Final = 128  # so many may be in flight; what is due beyond waits, and its latency counts on
_IN_FLIGHT: Final = (64, 256)


@dataclass(frozen=True)
class _Plan:
    search: float  # seconds
    rounds: int
    saturation: float
    latency: float
    producer: float


_FULL: Final = _Plan(search=2.5, rounds=3, saturation=5, latency=6, producer=3)
_QUICK: Final = _Plan(search=0.5, rounds=1, saturation=1, latency=1, producer=0.5)


@dataclass(frozen=True)
class _Run:
    outcome: Outcome
    server_cpu: float  # seconds
    kafka_cpu: float

    @property
    def per_cpu_second(self) -> float:
        """Requests for each second that the server's processes were on a core."""
        return self.outcome.answered / self.server_cpu


@dataclass(frozen=True)
class _Server:
    """One or more processes that answer webhooks, each on a port of its own."""

    site: Site
    pids: Sequence[int]
    ports: Sequence[int]

    async def load(self, connections: int, seconds: float, rate: float | None = None) -> _Run:
        meter = Meter({"kafka": self.site.kafka_pid} | {str(pid): pid for pid in self.pids})
        meter.start()
        outcome = await generate(Load(self.ports, connections, seconds, rate, warm_up=min(1, seconds / 2)), self.site.folder)
        usage = meter.stop()
        return _Run(outcome, sum(usage[str(pid)].cpu_seconds for pid in self.pids), usage["kafka"].cpu_seconds)


async def run(site: Site, *, quick: bool, progress: Callable[[str], None]) -> Result:
    """Measure; see `Result.about` below."""
    return await _Ingest(site, _QUICK if quick else _FULL, progress).run()


class _Ingest:
    def __init__(self, site: Site, plan: _Plan, progress: Callable[[str], None]) -> None:
        self._site = site
        self._plan = plan
        self._progress = progress

    async def run(self) -> Result:
        async with self._serving(_GATEWAY) as gateway, self._serving(_FLOOR) as floor:
            servers = {_GATEWAY: gateway, _FLOOR: floor}
            search, connections = await self._search(servers)
            saturated = await self._saturate(servers, connections)
            capacity = {name: _median_rate(runs) for name, runs in saturated.items()}
            latencies = await self._latencies(servers, capacity[_GATEWAY])
        one, two = await self._workers(connections[_GATEWAY])
        producers = await self._producers()

        ours, bare = saturated[_GATEWAY], saturated[_FLOOR]
        per_cpu = _median([run.per_cpu_second for run in ours]) / _median([run.per_cpu_second for run in bare])
        cores = os.cpu_count() or 1
        few = f"{cores} cores, shared by load generator, Kafka and both gateways" if cores < 4 else f"{cores} cores"  # noqa: PLR2004
        return Result(
            name="ingest",
            title="Ingest: webhook to acked record",
            about=_ABOUT,
            tables=[
                self._saturation_table(saturated, connections),
                _latency_table(latencies),
                Table(
                    "Accepted a second by the number of connections, in closed loop",
                    ["", *map(str, _CONNECTIONS)],
                    [[name, *(run.outcome.rate for run in runs)] for name, runs in search.items()],
                ),
                Table(
                    "One gateway and two, on two ports",
                    ["gateways", "a second", "a CPU second of theirs", "p99 ms"],
                    [_workers_row("1", one), _workers_row("2", two)],
                ),
                Table("The producer alone", ["in flight", "records a second", "a CPU second"], producers),
            ],
            ratios=[
                Ratio(
                    "accepted per gateway core (requests a CPU second of its process), beside the bare handler",
                    per_cpu,
                    0.85,
                    note="this is the claim: what the load generator and Kafka take of the same cores is left out",
                ),
                Ratio(
                    "accepted a second at saturation, beside the bare handler",
                    capacity[_GATEWAY] / capacity[_FLOOR],
                    0.85,
                    note="by the clock",
                ),
                Ratio(
                    "accepted a second by two gateways, beside one",
                    _median_rate(two) / _median_rate(one),
                    1.7,
                    note=f"where cores allow; here: {few}",
                ),
            ],
            plots=[
                Bars(
                    "Accepted at saturation",
                    "requests a second",
                    [
                        ("mediamirror gateway", capacity[_GATEWAY]),
                        ("floor: bare handler", capacity[_FLOOR]),
                        ("limit: producer alone", max(float(row[1] or 0) for row in producers)),
                    ],
                ),
                Bars(
                    "Accepted per core",
                    "requests a CPU second of the process",
                    [
                        ("mediamirror gateway", _median([run.per_cpu_second for run in ours])),
                        ("floor: bare handler", _median([run.per_cpu_second for run in bare])),
                        ("limit: producer alone", max(float(row[2] or 0) for row in producers)),
                    ],
                ),
                Lines(
                    "Latency, open loop",
                    "share of the gateway's saturation rate, %",
                    "ms",
                    log=False,
                    lines={
                        f"{name}, {label}": [
                            (share * 100, p50 if label == "p50" else p99) for share, _, p50, p99 in _points(latencies[name])
                        ]
                        for name in servers
                        for label in ("p50", "p99")
                    },
                ),
            ],
            notes=[
                "The load generator, Kafka and the servers share the machine's cores.",
                f"The generator itself, with a connection free, was late by {max(_lateness(latencies)):.2f} ms (p99, worst run).",
            ],
        )

    @asynccontextmanager
    async def _serving(self, name: str, count: int = 1) -> AsyncIterator[_Server]:
        """Run `count` processes of a server."""
        pids, ports = [], []
        async with AsyncExitStack() as stack:
            for number in range(count):
                environment = self._site.environment("ingest", self._site.database_url)
                label = f"{name.replace(' ', '-').replace(':', '')}-{number}"
                program = await stack.enter_async_context(running(label, _PROGRAMS[name], environment, self._site.folder))
                port = int(environment["MEDIAMIRROR_GATEWAY_PORT"])
                await program.listening(port)
                pids.append(program.pid)
                ports.append(port)
            yield _Server(self._site, pids, ports)

    async def _search(self, servers: dict[str, _Server]) -> tuple[dict[str, list[_Run]], dict[str, int]]:
        """Find the number of connections at which each accepts most."""
        runs: dict[str, list[_Run]] = {name: [] for name in servers}
        for connections in _CONNECTIONS:
            for name, server in servers.items():
                self._progress(f"{name}, {connections} connections")
                runs[name].append(await server.load(connections, self._plan.search))
        best = {
            name: max(zip(_CONNECTIONS, each, strict=True), key=lambda pair: pair[1].outcome.rate)[0]
            for name, each in runs.items()
        }
        return runs, best

    async def _saturate(self, servers: dict[str, _Server], connections: dict[str, int]) -> dict[str, list[_Run]]:
        runs: dict[str, list[_Run]] = {name: [] for name in servers}
        for number in range(self._plan.rounds):
            for name, server in servers.items():
                self._progress(f"saturation, round {number + 1} of {self._plan.rounds}: {name}")
                runs[name].append(await server.load(connections[name], self._plan.saturation))
        return runs

    async def _latencies(self, servers: dict[str, _Server], capacity: float) -> dict[str, list[tuple[float, _Run]]]:
        runs: dict[str, list[tuple[float, _Run]]] = {name: [] for name in servers}
        for share in _SHARES:
            for name, server in servers.items():
                self._progress(f"latency at {share:.0%} of {capacity:,.0f} a second: {name}")
                run = await server.load(_OPEN_CONNECTIONS, self._plan.latency, capacity * share)
                runs[name].append((share, run))
        return runs

    async def _workers(self, connections: int) -> tuple[list[_Run], list[_Run]]:
        """Load one gateway, and then two with twice the connections, in turns."""
        one, two = [], []
        async with self._serving(_GATEWAY) as single, self._serving(_GATEWAY, 2) as double:
            for number in range(min(self._plan.rounds, 2)):
                self._progress(f"one gateway and two, round {number + 1}")
                one.append(await single.load(connections, self._plan.saturation))
                two.append(await double.load(connections * 2, self._plan.saturation))
        return one, two

    async def _producers(self) -> list[list[Cell]]:
        """Give a row of figures for each number of records in flight."""
        rows: list[list[Cell]] = []
        outcome = self._site.folder / "producer.json"
        for in_flight in _IN_FLIGHT:
            self._progress(f"producer alone, {in_flight} in flight")
            environment = self._site.environment("ingest.producer", self._site.database_url)
            argv = [sys.executable, "-m", "bench.floors.bare_producer", str(in_flight), str(self._plan.producer), str(outcome)]
            async with running("producer", argv, environment, self._site.folder) as program:
                if await program.finished():
                    program.check()
            told = orjson.loads(outcome.read_bytes())
            rows.append([in_flight, told["rate"], told["records"] / told["cpu_seconds"]])
        return rows

    def _saturation_table(self, saturated: dict[str, list[_Run]], connections: dict[str, int]) -> Table:
        def per_lakh(runs: list[_Run], cpu: Callable[[_Run], float]) -> float:
            return _median([cpu(run) / run.outcome.answered * 100_000 for run in runs])

        return Table(
            f"At saturation, closed loop (median of {self._plan.rounds}, in turns)",
            ["", "connections", "a second", "a CPU second", "p50 ms", "p99 ms", "CPU s per 100,000", "of Kafka", "of the load"],
            [
                [
                    name,
                    connections[name],
                    _median_rate(runs),
                    _median([run.per_cpu_second for run in runs]),
                    _median([run.outcome.p50 for run in runs]),
                    _median([run.outcome.p99 for run in runs]),
                    per_lakh(runs, lambda run: run.server_cpu),
                    per_lakh(runs, lambda run: run.kafka_cpu),
                    per_lakh(runs, lambda run: run.outcome.cpu_seconds),
                ]
                for name, runs in saturated.items()
            ],
        )


def _points(runs: Sequence[tuple[float, _Run]]) -> list[tuple[float, float, float, float]]:
    return [(share, run.outcome.rate, run.outcome.p50, run.outcome.p99) for share, run in runs]


def _lateness(latencies: dict[str, list[tuple[float, _Run]]]) -> list[float]:
    return [run.outcome.late_p99 for runs in latencies.values() for _, run in runs]


def _latency_table(latencies: dict[str, list[tuple[float, _Run]]]) -> Table:
    return Table(
        "Latency, open loop, from the moment a request was due",
        ["", "of the gateway's saturation rate", "a second", "p50 ms", "p99 ms", "longest ms"],
        [
            [name, f"{share:.0%}", rate, p50, p99, run.outcome.longest]
            for name, runs in latencies.items()
            for (share, rate, p50, p99), (_, run) in zip(_points(runs), runs, strict=True)
        ],
    )


def _workers_row(label: str, runs: list[_Run]) -> list[Cell]:
    return [
        label,
        _median_rate(runs),
        _median([run.per_cpu_second for run in runs]),
        _median([run.outcome.p99 for run in runs]),
    ]


def _median(values: list[float]) -> float:
    return statistics.median(values)


def _median_rate(runs: list[_Run]) -> float:
    return _median([run.outcome.rate for run in runs])


_ABOUT: Final = """\
Signed webhooks of 0.9 kB, each of another asset, over keep-alive connections, sent by a process of its own which made them and
their signatures beforehand. The gateway verifies, keys and parses each, puts it on a real Kafka (acks=all, idempotent) and
answers once that has acked. Beside it **the floor**, a bare aiohttp handler on the same event loop that reads the body and
awaits the same produce, and **the producer alone**, in one process with so many sends awaited at a time. Those that are compared
run in turns.

*A second* is by the clock. *A CPU second* is requests for each second that the server's process was on a core, that is for each
core that it fills: what a gateway core is worth when it need not share it with Kafka and the load generator, as it must here."""
