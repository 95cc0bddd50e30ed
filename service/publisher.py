"""Bytes to Kafka, and nothing called durable that isn't."""

import asyncio
import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from service.errors import MediamirrorError
from service.kafka import ensure_topics, let_go, make_producer, start
from service.settings import Settings
from service.telemetry import Metrics

log = structlog.get_logger(__name__)

_RECONNECT_SECONDS = 0.5


class NotDurableError(Exception):
    """Kafka has not acked: the sender must send again. The record may still turn up; a duplicate does no harm."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Line:
    """One producer and the sends that it has not settled."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self.producer = producer
        self.sends: set[asyncio.Future[object]] = set()

    def send(self, topic: str, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]]) -> "asyncio.Future[object]":
        sending: asyncio.Future[object] = asyncio.ensure_future(
            self.producer.send_and_wait(topic, value, key=key, headers=headers)
        )
        self.sends.add(sending)
        sending.add_done_callback(self.sends.discard)
        return sending

    async def close(self, patience: float) -> None:
        """Let the producer send what it holds for `patience` seconds, then let go of it."""
        if error := await let_go(self.producer, patience=patience):
            # Whoever waited for what is lost here has been told so with a 503.
            log.warning("producer let go with records unacked", records=len(self.sends), error=repr(error))
        for sending in list(self.sends):
            sending.cancel()


class Publisher:
    """An idempotent acks=all producer that survives Kafka's absence.

    Use as `async with`. Entering does not wait for Kafka, but `publish` does, for as long as an ack may take. When acks stay away
    it raises `NotDurableError`, and a producer is made anew in the background (an idempotent one can be stuck after an outage).
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._line: _Line | None = None
        self._connected = asyncio.Event()
        self._pending_bytes = 0
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
        """Return once Kafka has the record in every in-sync replica; raises `NotDurableError`."""
        if self._pending_bytes + len(value) > self._settings.gateway_max_pending:
            raise NotDurableError("too_much_pending")
        self._add_pending(len(value))
        sending = None
        try:
            async with asyncio.timeout(self._settings.gateway_ack_timeout):
                line = await self._first_line()
                # Shielded: a caller that hangs up leaves no half send behind; its bytes count until Kafka or we let go of them.
                sending = line.send(self._settings.notifications_topic, key.encode(errors="replace"), value, headers)
                sending.add_done_callback(lambda done: self._settle(done, len(value)))
                await asyncio.shield(sending)
        except TimeoutError:
            self._renew()
            raise NotDurableError("not_connected" if sending is None else "no_ack_in_time") from None
        except KafkaError as error:
            self._renew()
            raise NotDurableError(type(error).__name__) from error
        finally:
            if sending is None:
                self._add_pending(-len(value))

    async def is_ready(self) -> bool:
        """Ask Kafka, for at most two seconds."""
        if self._line is None:
            return False
        try:
            async with asyncio.timeout(2):
                return bool(await self._line.producer.client.force_metadata_update())
        except (TimeoutError, KafkaError):
            return False

    async def _first_line(self) -> _Line:
        """Wait for the first connection, if it has not been made yet."""
        while self._line is None:
            await self._connected.wait()
        return self._line

    def _settle(self, sending: "asyncio.Future[object]", size: int) -> None:
        self._add_pending(-size)
        if not sending.cancelled():
            sending.exception()  # seen, though the caller may have gone

    def _add_pending(self, size: int) -> None:
        self._pending_bytes += size
        self._metrics.pending_bytes.set(self._pending_bytes)

    def _renew(self) -> None:
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        """Put a fresh producer in place of the present one, as soon as Kafka answers."""
        attempts = 0
        while True:
            try:
                await ensure_topics(self._settings)
                producer = make_producer(self._settings)
                try:
                    await start(producer)
                except BaseException:
                    await let_go(producer)
                    raise
                break
            except (KafkaError, MediamirrorError, OSError) as error:
                if attempts % 20 == 0:
                    log.error("kafka unreachable, webhooks are answered with 503", error=str(error))
                attempts += 1
                await asyncio.sleep(_RECONNECT_SECONDS)
        old, self._line = self._line, _Line(producer)
        self._connected.set()
        if old is not None:
            self._metrics.producer_renewals.inc()
            self._retire(old)
        log.info("connected to kafka", bootstrap=self._settings.kafka_bootstrap, renewed=old is not None)

    def _retire(self, line: _Line) -> None:
        task = asyncio.create_task(line.close(self._settings.gateway_ack_timeout))
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)
