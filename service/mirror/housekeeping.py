"""What is due now and then: day partitions, lag, the offsets' copy in Kafka, and a look whether reading still works."""

import asyncio
import time
from collections.abc import Collection

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from service.mirror.positions import Positions
from service.mirror.store import Store
from service.telemetry import Metrics

_EVERY_SECONDS = 10.0
_KAFKA_SECONDS = 5.0  # for one answer to a side question


class StandsStillError(Exception):
    """There is something to read, or Kafka does not say whether there is, and nothing comes."""


class Housekeeping:
    """Keeps one consumer's house."""

    def __init__(self, consumer: AIOKafkaConsumer, positions: Positions, store: Store, topic: str, metrics: Metrics) -> None:
        self._consumer = consumer
        self._positions = positions
        self._store = store
        self._topic = topic
        self._metrics = metrics
        self._due_at = 0.0
        self._seen: dict[int, tuple[int, int]] = {}  # partition -> where it stood at the last look, and where it ended then

    async def turn(self, busy: Collection[int]) -> None:
        """Do what is due; raises `StandsStillError` when a new consumer is needed.

        Partitions that are `busy` are being applied, however long PostgreSQL takes: they don't stand still.
        """
        if time.monotonic() < self._due_at:
            return
        self._due_at = time.monotonic() + _EVERY_SECONDS
        await self._store.prepare_log()
        at = {number: position.offset for number, position in self._positions.next.items()}
        partitions = [TopicPartition(self._topic, number) for number in at]
        if not partitions:
            return
        try:
            async with asyncio.timeout(_KAFKA_SECONDS):
                ends = await self._consumer.end_offsets(partitions)
                # Only a hint for lag monitors; what counts is in PostgreSQL.
                await self._consumer.commit({partition: at[partition.partition] for partition in partitions})
        except (KafkaError, TimeoutError) as error:
            raise StandsStillError(f"kafka does not answer: {error!r}") from error
        for partition, end in ends.items():
            number = partition.partition
            self._metrics.position.labels(self._topic, number).set(at[number])
            self._metrics.lag.labels(self._topic, number).set(end - at[number])
            stood, ended = self._seen.get(number, (at[number], at[number]))
            # what has come since then may have come just now
            if number not in busy and stood == at[number] < ended:
                raise StandsStillError(f"partition {number} stands at {at[number]} of {end}")
        self._seen = {
            partition.partition: (at[partition.partition], end)
            for partition, end in ends.items()
            if partition.partition not in busy
        }
