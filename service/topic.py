"""Reads ranges of a topic, apart from any consumer group."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any, TypeAlias

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from service.kafka import KafkaUnreachableError, let_go, make_consumer, start
from service.settings import Settings

# partition -> (first offset, offset to stop before, or None to go on for ever)
Ranges: TypeAlias = Mapping[int, tuple[int, int | None]]

_POLL_MS = 200
_START_SECONDS = 15.0
_STALL_SECONDS = 15.0


async def read_topic(settings: Settings, topic: str, ranges: Ranges, *, batch: int = 1000) -> AsyncGenerator[list[Any]]:
    """Give the records of these ranges (aiokafka's `ConsumerRecord`), some of one partition at a time, in the order of offsets.

    An offset may be missing on a compacted topic. Raises `KafkaUnreachableError` when Kafka stops to answer before the end.
    """
    ends = {TopicPartition(topic, number): end for number, (start, end) in ranges.items() if end is None or start < end}
    if not ends:
        return
    consumer = make_consumer(settings)  # joins no group, since it subscribes to nothing
    try:
        async with asyncio.timeout(_START_SECONDS):
            await start(consumer)
        consumer.assign(list(ends))
        for partition in ends:
            consumer.seek(partition, ranges[partition.partition][0])
        moved_at = time.monotonic()
        while ends:
            fetched = await consumer.getmany(*ends, timeout_ms=_POLL_MS, max_records=batch)
            if fetched or None in ends.values():
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > _STALL_SECONDS:
                raise TimeoutError  # noqa: TRY301  # said in our words below
            for partition, records in fetched.items():
                end = ends[partition]
                wanted = records if end is None else [record for record in records if record.offset < end]
                if wanted:
                    yield wanted
            # by the position, not by the last record: the last offsets of a range may hold none
            ends = {one: end for one, end in ends.items() if end is None or await consumer.position(one) < end}
    except (KafkaError, TimeoutError) as error:
        raise KafkaUnreachableError(bootstrap=settings.kafka_bootstrap, reason=str(error) or "no answer") from error
    finally:
        await let_go(consumer)
