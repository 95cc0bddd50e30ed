"""The log in batches: one is applied while the next, of other partitions, is read."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType
from typing import TypeAlias

from service.mirror.applier import Run
from service.mirror.entry import Record
from service.mirror.inflight import InFlight
from service.mirror.store import Position
from service.settings import Settings
from service.topic import Ranges, read_topic

Positions: TypeAlias = Mapping[int, Position]  # by partition

_START = Position(0)


async def each_batch(settings: Settings, ranges: Ranges, apply: Callable[[list[Record]], Coroutine[None, None, None]]) -> None:
    """Apply the notifications of these ranges, each partition's in their order.

    Raises `KafkaUnreachableError`, and what a batch fails with; either cancels the batches that are under way.
    """
    batches = InFlight()
    topic, most = settings.notifications_topic, settings.mirror_batch
    async with aclosing(read_topic(settings, topic, ranges, batch=most, busy=lambda: batches.busy)) as reading, batches:
        async for records in reading:
            if records:
                batches.start(apply(records), {record.partition for record in records})
                await batches.room()
            else:
                await batches.one_ended()
        while batches.busy:
            await batches.one_ended()


def runs_of(
    records: Sequence[Record], begins: Positions = MappingProxyType({}), until: Positions = MappingProxyType({})
) -> list[Run]:
    """Give a batch's records by partition. `begins` and `until`: places within the first and the last record of a partition."""
    by_partition: dict[int, list[Record]] = {}
    for record in records:
        by_partition.setdefault(record.partition, []).append(record)
    return [
        Run(number, some, max(begins.get(number, _START), Position(some[0].offset)), until.get(number))
        for number, some in by_partition.items()
    ]
