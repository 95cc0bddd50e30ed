import asyncio
from collections import defaultdict

import pytest
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.producer.message_accumulator import BatchBuilder

from service.events.batches import Batches
from service.events.limits import Limits

SMALL = 1000  # bytes


class FakeProducer:
    """Acks when it is told to."""

    def __init__(self) -> None:
        self.sent: dict[tuple[str, int], list[int]] = defaultdict(list)
        self.acks: list[asyncio.Future[None]] = []

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(SMALL, 0)

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> "asyncio.Future[None]":
        self.sent[topic, partition].append(batch.record_count())
        self.acks.append(asyncio.get_running_loop().create_future())
        return self.acks[-1]


def made(producer: FakeProducer, *sizes: int, topic: str = "topic", partition: int = 0, limits: Limits | None = None) -> Batches:
    batches = Batches(producer, limits or Limits())
    for size in sizes:
        batches.add(topic, partition, b"key", b"x" * size, [("name", b"value")])
    return batches


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_partitions_next_batch_waits_for_the_ack_of_its_last() -> None:
    producer = FakeProducer()
    batches = made(producer, 300, 300, 300, 300)
    batches.add("other", 2, b"key", None, [])
    sending = asyncio.create_task(batches.send())
    await turns()
    assert producer.sent == {("topic", 0): [2], ("other", 2): [1]}
    producer.acks[0].set_result(None)
    producer.acks[1].set_result(None)
    await turns()
    assert producer.sent == {("topic", 0): [2, 2], ("other", 2): [1]}
    assert not sending.done()
    producer.acks[2].set_result(None)
    await sending


async def test_none_overtakes_one_that_failed() -> None:
    producer = FakeProducer()
    sending = asyncio.create_task(made(producer, 300, 300, 300, 300).send())
    await turns()
    producer.acks[0].set_exception(KafkaError())
    with pytest.raises(KafkaError):
        await sending
    assert producer.sent == {("topic", 0): [2]}


async def test_a_record_larger_than_a_batch_has_one_to_itself_in_its_turn() -> None:
    producer = FakeProducer()
    sending = asyncio.create_task(made(producer, 10, 5 * SMALL, 10, 10).send())
    for turn in range(3):
        await turns()
        producer.acks[turn].set_result(None)
    await sending
    assert producer.sent == {("topic", 0): [1, 1, 2]}


async def test_a_topic_that_refuses_batches_gets_smaller_ones_from_then_on() -> None:
    producer, limits = FakeProducer(), Limits()
    sending = asyncio.create_task(made(producer, 100, 100, 100, 100, limits=limits).send())
    await turns()
    producer.acks[0].set_exception(MessageSizeTooLargeError())
    with pytest.raises(MessageSizeTooLargeError):
        await sending
    again = asyncio.create_task(made(producer, 100, 100, 100, 100, limits=limits).send())
    for turn in range(2):
        await turns()
        producer.acks[1 + turn].set_result(None)
    again.cancel()
    assert producer.sent["topic", 0][:3] == [4, 1, 1]


async def test_a_record_that_is_refused_alone_says_nothing_of_batches() -> None:
    producer, limits = FakeProducer(), Limits()
    sending = asyncio.create_task(made(producer, 5 * SMALL, limits=limits).send())
    await turns()
    producer.acks[0].set_exception(MessageSizeTooLargeError())
    with pytest.raises(MessageSizeTooLargeError):
        await sending
    assert limits.of_batch("topic") == Limits().of_batch("topic")


async def test_nothing_to_send_is_sent_at_once() -> None:
    await Batches(FakeProducer(), Limits()).send()
