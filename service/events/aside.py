"""What can't be sent, out of the way of all others, and what waits behind it so that its asset's order is kept."""

from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

import structlog

from schemas.event import STATE_ONLY, EventType
from service.database import Connection, Pool
from service.sql import query

log = structlog.get_logger(__name__)

Subject: TypeAlias = tuple[str, str]  # cloud, asset id or folder


class Aside:
    """The events of a shard that are set aside, as its relay sees them, on the connection that holds its lock."""

    def __init__(self, shard: int) -> None:
        self._shard = shard
        self.held: frozenset[Subject] = frozenset()

    async def begin(self, connection: Connection) -> None:
        """Bring back what an older relay did not know, and see what is held."""
        rows = await connection.fetch(query("outbox", "known_types"), self._shard, [*EventType, STATE_ONLY])
        known = [(row["cloud"], row["subject"]) for row in rows]
        async with connection.transaction():
            await connection.execute(query("outbox", "lock_aside"))
            await connection.execute(query("outbox", "bring_back"), *_columns(known))
        await self._see(connection)

    async def put(self, connection: Connection, reasons: Mapping[int, str]) -> None:
        """Set events aside, each with its reason; a row that is gone is nothing to set aside."""
        async with connection.transaction():
            await connection.execute(query("outbox", "lock_aside"))
            rows = await connection.fetch(query("outbox", "set_aside"), self._shard, list(reasons), list(reasons.values()))
        for row in rows:
            log.error("event set aside", **dict(row), todo="see `mediamirror outbox list`")
        await self._see(connection)

    async def hold(self, connection: Connection, ids: Sequence[int]) -> None:
        """Move events behind those of their subjects that were set aside; the others may be sent."""
        async with connection.transaction():
            await connection.execute(query("outbox", "lock_aside"))
            await connection.execute(query("outbox", "hold"), self._shard, ids)
        await self._see(connection)

    async def _see(self, connection: Connection) -> None:
        rows = await connection.fetch(query("outbox", "held"), self._shard)
        self.held = frozenset((row["cloud"], row["subject"]) for row in rows)


async def retry(pool: Pool, subjects: Collection[Subject]) -> int:
    """Have all events of these subjects that are set aside sent; gives how many those are."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(query("outbox", "lock_aside"))
        return await _bring_back(connection, subjects)


async def drop(pool: Pool, ids: Sequence[int], subjects: Collection[Subject]) -> tuple[set[int], int]:
    """Give events up, and have the others of their subjects sent.

    Where an event tells what its asset is now, its state still goes to `media.assets`, which is to equal the mirror: gives the
    ids of these, and how many events return to the outbox, these among them. If that fails, too, a second time gives it up.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(query("outbox", "lock_aside"))
        kept = {row["id"] for row in await connection.fetch(query("outbox", "keep_state"), ids, STATE_ONLY)}
        await connection.execute(query("outbox", "drop"), [id_ for id_ in ids if id_ not in kept])
        return kept, await _bring_back(connection, subjects)


async def _bring_back(connection: Connection, subjects: Collection[Subject]) -> int:
    rows = await connection.fetch(query("outbox", "bring_back"), *_columns(subjects))
    await connection.execute(query("outbox", "notify"))
    return len(rows)


def _columns(subjects: Collection[Subject]) -> list[list[str]]:
    return [[cloud for cloud, _ in subjects], [subject for _, subject in subjects]]
