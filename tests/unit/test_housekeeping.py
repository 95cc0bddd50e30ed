"""A consumer stands still when it does not read what was there to be read at the last look."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from service.mirror import housekeeping
from service.mirror.housekeeping import Housekeeping, StandsStillError
from service.mirror.store import Position
from service.telemetry import Metrics


class Log:
    """Partition 0 of a topic: where it ends, and where its consumer stands."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(housekeeping, "_EVERY_SECONDS", 0)
        self.end = 0
        self.positions = SimpleNamespace(next={0: Position(0)})
        store = SimpleNamespace(prepare_log=self._nothing)
        consumer = SimpleNamespace(end_offsets=self._ends, commit=self._nothing)
        parts: list[Any] = [consumer, self.positions, store, "t", Metrics(CollectorRegistry())]
        self._keeping = Housekeeping(*cast("Any", parts))

    async def look(self, end: int, position: int, *, busy: bool = False) -> None:
        self.end, self.positions.next[0] = end, Position(position)
        await self._keeping.turn({0} if busy else set())

    async def _nothing(self, *_: object) -> None:
        pass

    async def _ends(self, _: object) -> dict[TopicPartition, int]:
        return {TopicPartition("t", 0): self.end}


async def test_a_record_that_comes_just_before_a_look_is_no_standstill(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(monkeypatch)
    await log.look(2, 2)
    await log.look(3, 2)  # it may have come a millisecond ago
    await log.look(4, 3)
    await log.look(4, 4)
    await log.look(9, 4)
    with pytest.raises(StandsStillError, match="stands at 4 of 9"):
        await log.look(9, 4)


async def test_a_partition_that_is_being_applied_does_not_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(monkeypatch)
    for _ in range(3):
        await log.look(5, 1, busy=True)
    await log.look(5, 1)
    with pytest.raises(StandsStillError):
        await log.look(6, 1)
