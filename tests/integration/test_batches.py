"""The log read in batches that are applied side by side."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

from service.kafka import ensure_topics, partition_bounds
from service.mirror.entry import Record
from service.replay.batches import each_batch
from service.settings import Settings
from tests.bodies import upload
from tests.integration.test_order import produce

COUNT = 120


@pytest.fixture
async def filled(settings: Settings) -> Settings:
    """Settings with a topic of `COUNT` notifications, as many in each partition, and small batches."""
    await ensure_topics(settings)
    await produce(settings, "acme", [upload(f"{number:032x}", at=number) for number in range(COUNT)], scattered=True)
    return settings.model_copy(update={"mirror_batch": 5})


async def test_batches_overlap_but_never_two_of_one_partition_and_each_partition_is_applied_in_its_order(
    filled: Settings,
) -> None:
    under_way: set[int] = set()
    met: list[bool] = []
    applied: defaultdict[int, list[int]] = defaultdict(list)

    async def apply(records: Sequence[Record]) -> None:
        partitions = {record.partition for record in records}
        assert not partitions & under_way
        met.append(bool(under_way))
        under_way.update(partitions)
        # as long as PostgreSQL takes, while others may begin
        await asyncio.sleep(0.01)
        for record in records:
            applied[record.partition].append(record.offset)
        under_way.difference_update(partitions)

    bounds = await partition_bounds(filled, filled.notifications_topic)
    # two of each partition are left out at either end
    await each_batch(filled, {number: (start + 2, end - 2) for number, (start, end) in bounds.items()}, apply)
    assert applied == {number: list(range(start + 2, end - 2)) for number, (start, end) in bounds.items()}
    assert any(met)


async def test_a_batch_that_fails_ends_the_reading_and_cancels_those_beside_it(filled: Settings) -> None:
    begun, cancelled = 0, 0

    async def apply(_: Any) -> None:
        nonlocal begun, cancelled
        begun += 1
        if begun == 1:
            await asyncio.sleep(0.1)
            raise ZeroDivisionError
        try:
            await asyncio.Event().wait()
        finally:
            cancelled += 1

    with pytest.raises(ZeroDivisionError):
        await each_batch(filled, await partition_bounds(filled, filled.notifications_topic), apply)
    assert cancelled == begun - 1
