"""Clients of Kafka are let go of, whatever keeps them from ending."""

import asyncio
from typing import cast

import pytest
from aiokafka import AIOKafkaConsumer

from service.kafka import let_go


class Inner:
    """The network client that every client has."""

    def __init__(self) -> None:
        self.is_closed = False

    async def close(self) -> None:
        self.is_closed = True


class Stuck:
    """A consumer that ends as aiokafka's does while Kafka is away: it awaits a fetch that it has cancelled itself."""

    def __init__(self, *, waits: bool = False) -> None:
        self._client = Inner()
        self._waits = waits
        self.stopping = asyncio.Event()

    @property
    def is_closed(self) -> bool:
        return self._client.is_closed

    async def stop(self) -> None:
        self.stopping.set()
        fetch = asyncio.ensure_future(asyncio.Event().wait())
        if not self._waits:
            fetch.cancel()
        await fetch


def as_client(client: Stuck) -> AIOKafkaConsumer:
    return cast("AIOKafkaConsumer", client)


async def test_a_client_that_cancels_itself_in_ending_cancels_nobody_else() -> None:
    client = Stuck()
    assert isinstance(await let_go(as_client(client)), asyncio.CancelledError)
    assert client.is_closed


async def test_whoever_is_told_to_end_while_letting_go_ends() -> None:
    client = Stuck(waits=True)
    letting_go = asyncio.create_task(let_go(as_client(client)))
    await client.stopping.wait()
    letting_go.cancel()
    with pytest.raises(asyncio.CancelledError):
        await letting_go
    assert client.is_closed


async def test_a_client_that_does_not_end_is_given_up() -> None:
    client = Stuck(waits=True)
    assert isinstance(await let_go(as_client(client), patience=0.01), TimeoutError)
    assert client.is_closed
