"""Puts records that can't be processed onto the dead-letter topic, before the mirror moves past them."""

import asyncio
from collections.abc import Sequence

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from service.dlq.letter import headers_of
from service.errors import MediamirrorError
from service.kafka import let_go, make_producer, start
from service.mirror.entry import Entry
from service.settings import Settings
from service.telemetry import Metrics

log = structlog.get_logger(__name__)

_CONNECT_SECONDS = 15.0
_ACK_SECONDS = 30.0  # for all of a batch; an idempotent producer tries on for ever by itself
_CLOSE_SECONDS = 5.0


class NotDeadLetteredError(Exception):
    """Kafka has not acked a dead letter, so the mirror must not move past its record."""


class TooLargeForDeadLetterError(MediamirrorError):
    """Record {offset} of {topic}, partition {partition}, can't be processed ({reason}), and {dead_letter_topic} takes no record
    of its size. Let that topic take larger ones (max.message.bytes); or go on without the record, which stays where it is:
    `mediamirror mirror --accept-gap {partition}:{after}`.
    """


class DeadLetters:
    """The way to the dead-letter topic. Costs nothing until a record fails: its producer is made for the first."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._producer: AIOKafkaProducer | None = None
        self._turns = asyncio.Lock()  # several batches may fail at a time

    async def write(self, failed: Sequence[Entry]) -> None:
        """Return once Kafka has all of them in every in-sync replica; raises `NotDeadLetteredError` or
        `TooLargeForDeadLetterError`.

        What is written again because the mirror could not move past it lies there twice, which does no harm.
        """
        async with self._turns:
            try:
                producer = await self._connected()
                async with asyncio.timeout(_ACK_SECONDS):
                    await asyncio.gather(*(self._send(producer, entry) for entry in failed))
            except (KafkaError, TimeoutError, OSError) as error:
                await self.close()
                raise NotDeadLetteredError(f"no dead letter can be written: {error!r}") from error

    async def close(self) -> None:
        """Let go of the producer; the next dead letter makes another."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await let_go(producer, patience=_CLOSE_SECONDS)

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = make_producer(self._settings)
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    await start(producer)
            except BaseException:
                await let_go(producer, patience=_CLOSE_SECONDS)
                raise
            self._producer = producer
        return self._producer

    async def _send(self, producer: AIOKafkaProducer, entry: Entry) -> None:
        record, failure = entry.record, entry.failure
        assert failure is not None  # noqa: S101  # only failed entries come here
        # aiokafka sends no record without both; nothing has no bytes to keep
        value = b"" if record.key is None and record.value is None else record.value
        headers = headers_of(record, failure)
        try:
            await producer.send_and_wait(self._settings.dead_letter_topic, value, key=record.key, headers=headers)
        except MessageSizeTooLargeError:
            raise TooLargeForDeadLetterError(
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                after=record.offset + 1,
                reason=failure.message,
                dead_letter_topic=self._settings.dead_letter_topic,
            ) from None
        self._metrics.dead_letters.labels(failure.exception).inc()
        log.warning("record dead-lettered", partition=record.partition, offset=record.offset, exception=failure.exception)
