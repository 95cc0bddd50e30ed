"""One producer, with what it has been given to send and Kafka has not acked."""

import asyncio
import math
from collections.abc import Coroutine, Sequence
from typing import Any, TypeAlias

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerClosed
from prometheus_client import Gauge

from service.kafka import let_go

log = structlog.get_logger(__name__)

_SWEEP_SECONDS = 0.05  # from sweep to sweep, at least: with thousands waiting, one looks at them all


# The size of the value, the deadline, and what the caller waits for. Bare, since one is made for each record.
_Send: TypeAlias = tuple[int, float, asyncio.Future[None]]


class Pending:
    """The bytes of values that neither Kafka nor we have let go of, whether anybody still waits or not."""

    def __init__(self, gauge: Gauge) -> None:
        self.bytes = 0
        self._gauge = gauge

    def add(self, size: int) -> None:
        """Count so many more, or fewer."""
        self.bytes += size
        self._gauge.inc(size)


class Line:
    """A started producer. All that waits for it shares one timer: one for each record costs more than the record."""

    def __init__(self, producer: AIOKafkaProducer, pending: Pending) -> None:
        self.producer = producer
        self._pending = pending
        self._loop = asyncio.get_running_loop()
        self._sends: dict[asyncio.Future[Any], _Send] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._sweep_at = math.inf

    def send(
        self, topic: str, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]], *, deadline: float
    ) -> asyncio.Future[None]:
        """Give what is done at Kafka's ack, or fails: by a `KafkaError`, or at `deadline` by a `TimeoutError`.

        The record goes its way in any case, whole, even when the caller has gone.
        """
        sending = _at_once(self.producer.send(topic, value, key=key, headers=headers))
        if sending is None:  # its partition's batch is full, or its topic's partitions are being looked up
            sending = asyncio.ensure_future(self.producer.send_and_wait(topic, value, key=key, headers=headers))
        answer: asyncio.Future[None] = self._loop.create_future()
        self._sends[sending] = len(value), deadline, answer
        self._pending.add(len(value))
        sending.add_done_callback(self._settle)
        if deadline < self._sweep_at:
            self._sweep(deadline)
        return answer

    async def close(self, patience: float) -> None:
        """Let the producer send what it holds for `patience` seconds, then let go of it."""
        if error := await let_go(self.producer, patience=patience):
            # Whoever waited for what is lost here has been told so with a 503.
            log.warning("producer let go with records unacked", records=len(self._sends), error=repr(error))
        for sending in list(self._sends):
            sending.cancel()
        self._sweep(math.inf)

    def _settle(self, sending: asyncio.Future[Any]) -> None:
        size, _, answer = self._sends.pop(sending)
        self._pending.add(-size)
        error = ProducerClosed() if sending.cancelled() else sending.exception()
        if answer.done():
            return  # the caller has gone, or has been told that it took too long
        if error is None:
            answer.set_result(None)
        else:
            answer.set_exception(error)

    def _sweep(self, at: float) -> None:
        """Set the timer."""
        if self._timer:
            self._timer.cancel()
        self._timer = None if at == math.inf else self._loop.call_at(at, self._give_up)
        self._sweep_at = at

    def _give_up(self) -> None:
        """Fail the sends whose time is over; come again when the next one's is."""
        now = self._loop.time()
        later = math.inf
        for _, deadline, answer in self._sends.values():
            if answer.done():
                continue
            if deadline <= now:
                answer.set_exception(TimeoutError())
            else:
                later = min(later, deadline)
        self._sweep(max(later, now + _SWEEP_SECONDS))


def _at_once(sending: Coroutine[object, None, asyncio.Future[Any]]) -> asyncio.Future[Any] | None:
    """Give what a coroutine returns, if it has nothing to wait for; else end it where it would wait, with nothing done."""
    try:
        sending.send(None)
    except StopIteration as returned:
        given: asyncio.Future[Any] = returned.value
        return given
    sending.close()
    return None
