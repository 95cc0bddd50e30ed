"""Kafka's record batches, made whole: a record handed to `producer.send` costs a coroutine, a future and lookups of its own."""

import asyncio
from itertools import zip_longest

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from service.events.cloudevent import Headers
from service.events.limits import Limits
from service.events.refusal import TOO_LARGE


class Batches:
    """Records on their way to Kafka, in batches by topic and partition."""

    def __init__(self, producer: AIOKafkaProducer, limits: Limits) -> None:
        self._producer = producer
        self._limits = limits
        self._small = limits.has_batches
        self._batches: dict[tuple[str, int], list[BatchBuilder]] = {}

    def add(self, topic: str, partition: int, key: bytes, value: bytes | None, headers: Headers) -> None:
        """Add a record after those that its partition has; one that is larger than a batch has a batch to itself."""
        batches = self._batches.setdefault((topic, partition), [])
        if (
            not batches
            or (self._small and batches[-1].size() > self._limits.of_batch(topic))
            or batches[-1].append(timestamp=None, key=key, value=value, headers=headers) is None
        ):
            batches.append(self._producer.create_batch())
            batches[-1].append(timestamp=None, key=key, value=value, headers=headers)

    async def send(self) -> None:
        """Return when Kafka has acked all; raises a `KafkaError`.

        A partition's next batch goes when its last one is acked, so that none overtakes one that fails.
        """
        for turn in zip_longest(*self._batches.values()):
            batches = [(*where, batch) for where, batch in zip(self._batches, turn, strict=True) if batch is not None]
            sizes = [batch.size() for _, _, batch in batches]
            sent = [await self._producer.send_batch(batch, topic, partition=partition) for topic, partition, batch in batches]
            results = await asyncio.gather(*sent, return_exceptions=True)
            for (topic, _, batch), size, result in zip(batches, sizes, results, strict=True):
                if isinstance(result, TOO_LARGE) and batch.record_count() > 1:
                    # each of its records may be small enough
                    self._limits.learn_of_batch(topic, size // 4)
            if error := next((one for one in results if isinstance(one, BaseException)), None):
                raise error
