import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.errors import KafkaError, ProducerClosed
from prometheus_client import CollectorRegistry

from service.line import Line, Pending
from service.telemetry import Metrics


class FakeProducer:
    """Acks when it is told to; while it is full, a send waits first."""

    def __init__(self) -> None:
        self.acks: list[asyncio.Future[object]] = []
        self.room = asyncio.Event()
        self.room.set()

    async def send(self, _topic: str, _value: bytes, **_: Any) -> "asyncio.Future[object]":
        await self._until_room()
        self.acks.append(asyncio.get_running_loop().create_future())
        return self.acks[-1]

    async def send_and_wait(self, topic: str, value: bytes, **options: Any) -> object:
        return await (await self.send(topic, value, **options))

    async def _until_room(self) -> None:
        if not self.room.is_set():
            await self.room.wait()


class Given:
    def __init__(self) -> None:
        self.producer = FakeProducer()
        self.metrics = Metrics(CollectorRegistry())
        self.counted = Pending(self.metrics.pending_bytes)
        self.line = Line(self.producer, self.counted)

    def send(self, *, seconds: float = 10, value: bytes = b"value", headers: Sequence[Any] = ()) -> "asyncio.Future[None]":
        return self.line.send("topic", b"key", value, headers, deadline=asyncio.get_running_loop().time() + seconds)

    @property
    def pending(self) -> float | None:
        assert self.metrics.registry.get_sample_value("mediamirror_pending_bytes") == self.counted.bytes
        return self.counted.bytes


async def test_a_send_is_done_when_kafka_acks() -> None:
    given = Given()
    sent = given.send()
    await asyncio.sleep(0)
    assert (sent.done(), given.pending) == (False, 5)
    given.producer.acks[0].set_result(None)
    await sent
    assert given.pending == 0


async def test_a_send_fails_with_kafkas_error() -> None:
    given = Given()
    sent = given.send()
    given.producer.acks[0].set_exception(KafkaError("no"))
    with pytest.raises(KafkaError, match="no"):
        await sent
    assert given.pending == 0


async def test_a_send_that_has_to_wait_for_room_is_made_once_there_is_some() -> None:
    given = Given()
    given.producer.room.clear()
    sent = given.send()
    await asyncio.sleep(0.01)
    assert (given.producer.acks, given.pending) == ([], 5)
    given.producer.room.set()
    await asyncio.sleep(0.01)
    (ack,) = given.producer.acks
    ack.set_result(None)
    await sent


@pytest.mark.parametrize("full", [False, True])
async def test_what_is_not_acked_in_time_fails_and_still_counts_until_it_is_settled(full: bool) -> None:
    given = Given()
    if full:
        given.producer.room.clear()
    late, early = given.send(seconds=0.3), given.send(seconds=0.01)
    with pytest.raises(TimeoutError):
        await early
    assert not late.done()
    with pytest.raises(TimeoutError):
        await late
    assert given.pending == 10
    given.producer.room.set()
    await asyncio.sleep(0.01)
    for ack in given.producer.acks:
        ack.set_result(None)
    await asyncio.sleep(0.01)
    assert (len(given.producer.acks), given.pending) == (2, 0)


@pytest.mark.parametrize("full", [False, True])
async def test_a_caller_that_hangs_up_leaves_the_send_whole(full: bool) -> None:
    given = Given()
    if full:
        given.producer.room.clear()

    async def call() -> None:
        await given.send()

    caller = asyncio.create_task(call())
    await asyncio.sleep(0.01)
    caller.cancel()
    await asyncio.wait([caller])
    assert given.pending == 5
    given.producer.room.set()
    await asyncio.sleep(0.01)
    (ack,) = given.producer.acks
    assert not ack.cancelled()
    ack.set_result(None)
    await asyncio.sleep(0.01)
    assert given.pending == 0


async def test_what_is_still_pending_when_the_line_closes_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async def let_go(_producer: object, *, patience: float) -> Exception:
        return TimeoutError(patience)

    monkeypatch.setattr("service.line.let_go", let_go)
    given = Given()
    sent = given.send()
    await given.line.close(0)
    with pytest.raises(ProducerClosed):
        await sent
    assert given.pending == 0
