"""Bytes to Kafka, and nothing called durable that isn't."""

import asyncio
import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import structlog
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from service.errors import MediamirrorError
from service.kafka import KafkaForbiddenError, ensure_topics, let_go, make_producer, start, unusable
from service.line import Line, Pending
from service.settings import Settings
from service.telemetry import Metrics

log = structlog.get_logger(__name__)

_RECONNECT_SECONDS = 0.5


class NotDurableError(Exception):
    """Kafka has not acked: the sender must send again. The record may still turn up; a duplicate does no harm."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RefusedByKafkaError(NotDurableError):
    """Kafka does not take this record, now or later: it is too large. Nothing is the matter with Kafka."""

    def __init__(self) -> None:
        super().__init__("too_large_for_kafka")


class Publisher:
    """An idempotent acks=all producer that survives Kafka's absence.

    Use as `async with`. Entering does not wait for Kafka, but `publish` does, for as long as an ack may take. When acks stay away
    it raises `NotDurableError`, and a producer is made anew in the background (an idempotent one can be stuck after an outage).
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._topic = settings.notifications_topic
        self._ack_timeout = settings.gateway_ack_timeout
        self._max_pending = int(settings.gateway_max_pending)
        self._loop = asyncio.get_running_loop()
        self._line: Line | None = None
        self._pending = Pending(metrics.pending_bytes)  # here, for the first connection, and in all lines
        self._connected = asyncio.Event()
        self._renewal: asyncio.Task[None] | None = None
        self._retired: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._renew()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._renewal:
            self._renewal.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._renewal
        if self._line:
            self._retire(self._line)
        if self._retired:
            await asyncio.wait(self._retired)

    async def publish(self, key: str, value: bytes, headers: Sequence[tuple[str, bytes]]) -> None:
        """Return once Kafka has the record in every in-sync replica; raises `NotDurableError` or `RefusedByKafkaError`.

        A caller that hangs up leaves no half send behind; its bytes count until Kafka or we let go of them.
        """
        if self._pending.bytes + len(value) > self._max_pending:
            raise NotDurableError("too_much_pending")
        deadline = self._loop.time() + self._ack_timeout
        line = self._line or await self._first_line(len(value), deadline)
        try:
            await line.send(self._topic, key.encode(errors="replace"), value, headers, deadline=deadline)
        except TimeoutError:
            self._renew()
            raise NotDurableError("no_ack_in_time") from None
        except MessageSizeTooLargeError:
            # Refused by us, it is as if it had never been. Refused by Kafka, it leaves a gap in the sequence of its partition,
            # which `OutOfOrderSequenceNumber` tells of with the next record: then there is reason for a new producer.
            raise RefusedByKafkaError from None
        except KafkaError as error:
            self._renew()
            if isinstance(problem := unusable(self._settings, error), KafkaForbiddenError):
                log.error("kafka refuses what we write", reason=str(problem))
            raise NotDurableError(type(error).__name__) from error

    async def is_ready(self) -> bool:
        """Ask Kafka, for at most two seconds."""
        if self._line is None:
            return False
        try:
            async with asyncio.timeout(2):
                return bool(await self._line.producer.client.force_metadata_update())
        except (TimeoutError, KafkaError):
            return False

    async def _first_line(self, size: int, deadline: float) -> Line:
        """Wait for the first connection, which has not been made yet."""
        self._pending.add(size)
        try:
            async with asyncio.timeout_at(deadline):
                while self._line is None:
                    await self._connected.wait()
        except TimeoutError:
            self._renew()
            raise NotDurableError("not_connected") from None
        finally:
            self._pending.add(-size)
        return self._line

    def _renew(self) -> None:
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        """Put a fresh producer in place of the present one, as soon as Kafka answers."""
        attempts = 0
        told = ""
        while True:
            try:
                await ensure_topics(self._settings, self._topic)
                producer = make_producer(self._settings)
                try:
                    await start(producer)
                except BaseException:
                    await let_go(producer)
                    raise
                break
            except (KafkaError, MediamirrorError, OSError) as error:
                reason = str(unusable(self._settings, error) if isinstance(error, KafkaError) else error)
                if attempts % 20 == 0 or reason != told:
                    log.error("kafka unreachable, webhooks are answered with 503", error=reason)
                told = reason
                attempts += 1
                await asyncio.sleep(_RECONNECT_SECONDS)
        old, self._line = self._line, Line(producer, self._pending)
        self._connected.set()
        if old is not None:
            self._metrics.producer_renewals.inc()
            self._retire(old)
        log.info("connected to kafka", bootstrap=self._settings.kafka_bootstrap, renewed=old is not None)

    def _retire(self, line: Line) -> None:
        task = asyncio.create_task(line.close(self._ack_timeout))
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)
