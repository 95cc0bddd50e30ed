"""The log in batches: one is applied while the next, of other partitions, is read."""

from collections.abc import Callable, Coroutine
from contextlib import aclosing

from service.mirror.entry import Record
from service.mirror.inflight import InFlight
from service.settings import Settings
from service.topic import Ranges, read_topic


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
