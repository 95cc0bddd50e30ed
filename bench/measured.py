"""What one contestant has reached on one workload, and what that has cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bench.processes import Usage
from bench.result import Cell

# Names of processes in a `Meter`; those of a contestant's own begin with `OWN`.
OWN: Final = "own"
POSTGRES: Final = "PostgreSQL"
KAFKA: Final = "Kafka"

COLUMNS: Final = (
    "", "notifications/s", "CPU s per 100,000: its own", "PostgreSQL", "Kafka", "peak memory, MB: its own", "PostgreSQL", "Kafka",
)  # fmt: skip
_PER: Final = 100_000
_MEGABYTE: Final = 1e6


@dataclass(frozen=True)
class Measured:
    """`count` notifications in `seconds`, and the usage of each process meanwhile, by name."""

    contestant: str  # as tables call it
    count: float
    seconds: float
    usages: Mapping[str, Usage]

    @property
    def rate(self) -> float:
        """Notifications per second."""
        return self.count / self.seconds

    @property
    def own(self) -> Usage:
        """What its own processes took together."""
        mine = [usage for name, usage in self.usages.items() if name.startswith(OWN)]
        return Usage(sum(usage.cpu_seconds for usage in mine), sum(usage.peak_rss for usage in mine))

    def row(self) -> list[Cell]:
        """Give the row under `COLUMNS`; what a contestant does not use, or what of it tells nothing, is None."""
        usages = [self.own, self.usages.get(POSTGRES), self.usages.get(KAFKA)]
        cpu = [usage.cpu_seconds / self.count * _PER if usage else None for usage in usages]
        memory = [usage.peak_rss / _MEGABYTE if usage and usage.peak_rss else None for usage in usages]
        return [self.contestant, self.rate, *cpu, *memory]


def best(measured: list[Measured], *contestants: str) -> Measured | None:
    """Give the fastest of those contestants; None when none of them ran."""
    return max((one for one in measured if one.contestant in contestants), key=lambda one: one.rate, default=None)
