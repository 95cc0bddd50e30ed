"""Batches on their way into PostgreSQL: it writes one while the next, of other partitions, is read and folded."""

import asyncio
from collections.abc import Collection, Coroutine
from types import TracebackType
from typing import Self

_MOST = 3  # one more gained nothing but memory


class InFlight:
    """Up to `most` batches at a time, each with its partitions to itself; and beside them those that may take long.

    Use as `async with`. Leaving cancels what is under way, which PostgreSQL then takes back.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._batches: dict[asyncio.Task[None], Collection[int]] = {}
        self._aside: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._batches:
            task.cancel()
        await asyncio.gather(*self._batches, return_exceptions=True)

    @property
    def busy(self) -> set[int]:
        """The partitions that have a batch on its way."""
        return {partition for partitions in self._batches.values() for partition in partitions}

    @property
    def in_turn(self) -> int:
        """How many are on their way for which others wait."""
        return len(self._batches) - len(self._aside)

    def start(self, applying: Coroutine[None, None, None], partitions: Collection[int], *, aside: bool = False) -> None:
        """Send a batch off. `aside`: it may take long, and no other one waits for it."""
        task = asyncio.create_task(applying)
        self._batches[task] = partitions
        if aside:
            self._aside.add(task)

    async def room(self) -> None:
        """Wait until another batch may be sent off; raises what one has failed with."""
        self._settle()
        while self.in_turn >= self._most:
            await self.one_ended()

    async def one_ended(self, seconds: float | None = None) -> None:
        """Wait until one has arrived, or for so long; raises what it has failed with."""
        await asyncio.wait(self._batches, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        self._settle()

    def _settle(self) -> None:
        for task in [task for task in self._batches if task.done()]:
            del self._batches[task]
            self._aside.discard(task)
            task.result()
