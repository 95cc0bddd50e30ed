"""A second mirror beside the live one, folded from the log."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from service.database import Connection, Pool, connect, migrate
from service.errors import MediamirrorError
from service.kafka import partition_bounds
from service.mirror.entry import Record, understand
from service.mirror.store import Store
from service.replay.batches import each_batch
from service.settings import Settings
from service.signatures import check_of
from service.sql import query

Progress = Callable[[int], None]  # told how many notifications were read since it was last told


class ScratchInUseError(MediamirrorError):
    """Another `verify` or `rebuild` is at work in this database; wait for it to end."""


class Scratch:
    """Tables of its own in the schema `name`, which hold what the log says up to `offsets`."""

    def __init__(self, settings: Settings, pool: Pool, name: str, bounds: Mapping[int, tuple[int, int]]) -> None:
        self._settings = settings
        self.topic = settings.notifications_topic
        self._store = Store(pool, self.topic, rows_only=True)
        self._check = check_of(settings)
        self.pool = pool
        self.name = name
        self.begins = {partition: earliest for partition, (earliest, _) in bounds.items()}
        self.offsets = dict(self.begins)

    async def fold(self, to: Mapping[int, int], progress: Progress) -> None:
        """Fold on to these offsets."""

        async def fold(records: Sequence[Record]) -> None:
            await self._store.apply([understand(record, self._check) for record in records])
            progress(len(records))

        await each_batch(self._settings, {number: (self.offsets[number], end) for number, end in to.items()}, fold)
        self.offsets |= to


@asynccontextmanager
async def scratch(settings: Settings, live: Pool) -> AsyncIterator[Scratch]:
    """Make the tables, empty, and remove them in the end. Raises `ScratchInUseError` when there are some already at work."""
    name = f"{await live.fetchval('SELECT current_schema()')}_scratch"
    async with live.acquire() as guard:
        # held by this connection, so that what a crash leaves behind is known to be nobody's
        if not await guard.fetchval(query("scratch", "try_own"), name):
            raise ScratchInUseError
        bounds = await partition_bounds(settings, settings.notifications_topic)
        await guard.execute(query("scratch", "drop").format(name=name))
        await guard.execute(query("scratch", "create").format(name=name))
        try:
            async with connect(settings, schema=name) as pool:
                await migrate(pool)
                yield Scratch(settings, pool, name, bounds)
        finally:
            await guard.execute(query("scratch", "drop").format(name=name))
            await guard.execute(query("scratch", "disown"), name)


async def applied_offsets(live: Connection, other: Scratch) -> dict[int, int]:
    """Give how far the live mirror has come, by partition: what a scratch mirror must read to be its equal."""
    rows = await live.fetch(query("mirror", "offsets"), other.topic)
    applied = {row["kafka_partition"]: row["next_offset"] for row in rows}
    return {partition: max(offset, applied.get(partition, 0)) for partition, offset in other.offsets.items()}
