"""Batches on their way side by side."""

import asyncio

import pytest

from service.mirror.inflight import InFlight


async def test_there_is_room_until_so_many_are_on_their_way_and_each_has_its_partitions_to_itself() -> None:
    gates = [asyncio.Event(), asyncio.Event()]

    async def applying(gate: asyncio.Event) -> None:
        await gate.wait()

    async with InFlight(2) as batches:
        await batches.room()
        batches.start(applying(gates[0]), [0, 3])
        await batches.room()
        batches.start(applying(gates[1]), [1])
        assert batches.busy == {0, 1, 3}
        waiting = asyncio.ensure_future(batches.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        gates[1].set()
        await waiting
        assert batches.busy == {0, 3}
        gates[0].set()
        await batches.one_ended()
        assert batches.busy == set()


async def test_what_a_batch_fails_with_is_raised_and_the_others_are_cancelled() -> None:
    cancelled = asyncio.Event()

    async def failing() -> None:
        raise ZeroDivisionError

    async def lasting() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def one_fails_beside_another() -> None:
        async with InFlight(2) as batches:
            batches.start(lasting(), [0])
            batches.start(failing(), [1])
            await batches.room()

    with pytest.raises(ZeroDivisionError):
        await one_fails_beside_another()
    assert cancelled.is_set()


async def test_for_one_that_is_set_aside_nobody_waits_but_its_partitions_are_taken() -> None:
    gate = asyncio.Event()

    async def applying() -> None:
        await gate.wait()

    async with InFlight(1) as batches:
        batches.start(applying(), [0], aside=True)
        batches.start(applying(), [3], aside=True)
        await asyncio.wait_for(batches.room(), 1)
        assert (batches.busy, batches.in_turn) == ({0, 3}, 0)
        batches.start(applying(), [1])
        assert batches.in_turn == 1
        await batches.one_ended(0.01)
        assert batches.busy == {0, 1, 3}
        gate.set()
        await batches.room()
        assert batches.busy == set()
