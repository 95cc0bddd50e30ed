"""Reads ranges of a topic, apart from any consumer group."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from service.kafka import let_go, make_reader, start, unusable
from service.settings import Settings

# partition -> (first offset, offset to stop before, or None to go on for ever)
Ranges: TypeAlias = Mapping[int, tuple[int, int | None]]

_POLL_MS = 200
_START_SECONDS = 15.0
_STALL_SECONDS = 15.0


async def read_topic(
    settings: Settings, topic: str, ranges: Ranges, *, batch: int = 1000, busy: Callable[[], Collection[int]] = tuple
) -> AsyncGenerator[list[Any]]:
    """Give the records of these ranges (aiokafka's `ConsumerRecord`), some at a time, each partition's in the order of offsets.

    An offset may be missing on a compacted topic. None is given of the partitions that are `busy` when more is asked for: when
    there is nothing but those to wait for, an empty list is. Raises `KafkaUnreachableError` when Kafka stops to answer before
    the end.
    """
    ends = {TopicPartition(topic, number): end for number, (start, end) in ranges.items() if end is None or start < end}
    if not ends:
        return
    consumer = make_reader(settings)
    try:
        async with asyncio.timeout(_START_SECONDS):
            await start(consumer)
        consumer.assign(list(ends))
        for partition in ends:
            consumer.seek(partition, ranges[partition.partition][0])
        moved_at = time.monotonic()
        while ends:
            waits = busy()
            free = [one for one in ends if one.partition not in waits]
            fetched = await consumer.getmany(*free, timeout_ms=0 if waits else _POLL_MS, max_records=batch) if free else {}
            wanted = [one for partition, records in fetched.items() for one in _before(ends[partition], records)]
            if wanted or waits:
                yield wanted
            # whoever has what was given may take as long as it likes
            if fetched or waits or None in ends.values():
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > _STALL_SECONDS:
                raise TimeoutError  # noqa: TRY301  # said in our words below
            # by the position, not by the last record: the last offsets of a range may hold none
            ends = {one: end for one, end in ends.items() if end is None or await consumer.position(one) < end}
    except (KafkaError, TimeoutError) as error:
        raise unusable(settings, error) from error
    finally:
        await let_go(consumer)


def _before(end: int | None, records: Sequence[Any]) -> Sequence[Any]:
    return records if end is None else [record for record in records if record.offset < end]
