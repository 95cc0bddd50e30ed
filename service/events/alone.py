"""Events that Kafka refused together, sent one by one: what is refused alone, while others are taken, is its own fault."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.event import MediaEvent
from service.events.limits import Limits
from service.events.records import Message, records_of, size_of
from service.events.refusal import DOUBTFUL, TOO_LARGE
from service.kafka import let_go, make_producer, start
from service.partitioner import partition_for
from service.settings import Settings

log = structlog.get_logger(__name__)

_PATIENCE_SECONDS = 10.0


class _DoubtError(Exception):
    """A refusal that may be a record's fault, or that of the partition that it should go to."""

    def __init__(self, partition: tuple[str, int], error: KafkaError) -> None:
        self.partition = partition
        self.error = error


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of events that were sent one by one; of the others, nothing is known."""

    acked: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)  # why, by id


class Alone:
    """Sends one event at a time. A refusal spoils a producer, since it numbers its records: the next event gets a new one."""

    def __init__(self, settings: Settings, limits: Limits) -> None:
        self._settings = settings
        self._limits = limits
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        """Begin; a producer is made when one is needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let the producer go."""
        await self._renew()

    async def send(self, rows: Sequence[tuple[int, MediaEvent]]) -> Outcome:
        """Send events in their order, none behind one of its subject that was refused. Raises a `KafkaError` that is an outage.

        What Kafka says of one may be true of all: unless it is about size, it counts only if the same partition took another.
        """
        outcome = Outcome()
        held: set[tuple[str, str]] = set()
        taken: set[tuple[str, int]] = set()
        doubts: dict[int, _DoubtError] = {}
        for id_, event in rows:
            subject = (event.cloud, event.subject)
            if subject in held:
                continue
            try:
                taken |= await self._send(event)
            except (KafkaError, OSError):
                raise
            except _DoubtError as doubt:
                held.add(subject)
                doubts[id_] = doubt
            except Exception as error:  # noqa: BLE001  # whatever it is, it is this event's
                held.add(subject)
                outcome.refused[id_] = reason_of(error)
            else:
                outcome.acked.append(id_)
        for id_, refusal in doubts.items():
            if refusal.partition in taken:
                outcome.refused[id_] = f"Kafka refuses it: {refusal.error!r}"
        if doubts and not outcome.acked and not outcome.refused:
            raise next(iter(doubts.values())).error
        return outcome

    async def _send(self, event: MediaEvent) -> set[tuple[str, int]]:
        """Send one event, reduced until Kafka takes it; gives the partitions that took it."""
        limits = self._limits.copy()
        taken: dict[str, int] = {}
        while True:
            topics = self._settings.events_topic, self._settings.assets_topic
            for record in records_of(event, *topics, limits, limits.least):
                topic, key, value, _ = record
                if topic in taken:
                    continue
                size = size_of(key, value)
                try:
                    taken[topic] = await self._deliver(record)
                except TOO_LARGE:
                    await self._renew()
                    limits.learn(topic, size * 3 // 4)
                    break
                if limits.of(topic) < self._limits.of(topic):
                    log.warning("event reduced", topic=topic, event_id=event.event_id, bytes=size)
                    self._limits.learn(topic, size)
            else:
                return set(taken.items())

    async def _deliver(self, record: Message) -> int:
        topic, key, value, headers = record
        if self._producer is None:
            self._producer = make_producer(self._settings)
            await start(self._producer)
        partition = partition_for(key, sorted(await self._producer.partitions_for(topic)), ())
        batch = self._producer.create_batch()
        batch.append(timestamp=None, key=key, value=value, headers=headers)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await (await self._producer.send_batch(batch, topic, partition=partition))
        except DOUBTFUL as error:
            await self._renew()
            raise _DoubtError((topic, partition), error) from error
        return partition

    async def _renew(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await let_go(producer)


def reason_of(error: Exception) -> str:
    """Give what is wrong with an event, in words if we have some."""
    return str(error) if type(error).__module__.startswith("service.") else repr(error)
