"""A second mirror beside the live one, folded from the log."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from service.database import Connection, Pool, connect, migrate
from service.errors import MediamirrorError
from service.kafka import partition_bounds
from service.mirror.applier import Applier
from service.mirror.entry import Entry, LogLine, Record
from service.mirror.store import Advance, Position, Store
from service.replay.batches import each_batch, runs_of
from service.settings import Settings
from service.signatures import check_of
from service.sql import query

Progress = Callable[[int], None]  # told how many notifications were read since it was last told


class ScratchInUseError(MediamirrorError):
    """Another `verify` or `rebuild` is at work in this database; wait for it to end."""


class Scratch:
    """Tables of its own in the schema `name`, which hold what the log says up to `positions`."""

    def __init__(self, settings: Settings, pool: Pool, name: str, bounds: Mapping[int, tuple[int, int]]) -> None:
        self._settings = settings
        self.topic = settings.notifications_topic
        check = check_of(settings)
        self._applier = Applier(Store(pool, self.topic, rows_only=True), check=check)
        self._thorough = Applier(Store(pool, self.topic), check=check)
        self._suspects: frozenset[tuple[int, int]] = frozenset()
        self.pool = pool
        self.name = name
        self.begins = {partition: earliest for partition, (earliest, _) in bounds.items()}
        self.positions = {partition: Position(earliest) for partition, earliest in self.begins.items()}
        self.failed = 0  # records that can't be processed, as the mirror found, too

    async def suspect(self, live: Connection) -> None:
        """Learn which records the mirror could not process: with these, all is done again that it tried."""
        rows = await live.fetch(query("scratch", "failed"), self.topic)
        self._suspects = frozenset((row["kafka_partition"], row["kafka_offset"]) for row in rows)

    async def fold(self, to: Mapping[int, Position], progress: Progress) -> None:
        """Fold on to these positions, which may lie within a record."""
        begins = dict(self.positions)

        def count(entries: Sequence[Entry], _advances: Sequence[Advance], _lines: Sequence[LogLine]) -> None:
            self.failed += sum(entry.failure is not None for entry in entries)

        async def fold(records: Sequence[Record]) -> None:
            ordinary, suspects = self._divided(records)
            await self._applier.apply(runs_of(ordinary, begins, to), count)
            await self._thorough.apply(runs_of(suspects, begins, to), count)
            progress(len(records))

        await each_batch(self._settings, _ranges(begins, to), fold)
        self.positions |= to

    def _divided(self, records: Sequence[Record]) -> tuple[Sequence[Record], Sequence[Record]]:
        if not self._suspects:
            return records, ()
        suspects = [record for record in records if (record.partition, record.offset) in self._suspects]
        ordinary = [record for record in records if (record.partition, record.offset) not in self._suspects]
        return ordinary, suspects


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
                await Store(pool, settings.notifications_topic).prepare_log()
                other = Scratch(settings, pool, name, bounds)
                await other.suspect(guard)
                yield other
        finally:
            await guard.execute(query("scratch", "drop").format(name=name))
            await guard.execute(query("scratch", "disown"), name)


async def applied_positions(live: Connection, other: Scratch) -> dict[int, Position]:
    """Give how far the live mirror has come, by partition: what a scratch mirror must read to be its equal."""
    rows = await live.fetch(query("mirror", "offsets"), other.topic)
    applied = {row["kafka_partition"]: Position(row["next_offset"], row["next_place"]) for row in rows}
    return {number: max(position, applied.get(number, position)) for number, position in other.positions.items()}


def records_between(begins: Mapping[int, Position], ends: Mapping[int, Position]) -> int:
    """Count the records that lie between, those that have only begun, too."""
    return sum(end - start for start, end in _ranges(begins, ends).values())


def _ranges(begins: Mapping[int, Position], ends: Mapping[int, Position]) -> dict[int, tuple[int, int]]:
    return {
        number: (begins[number].offset, end.offset + (end.place > 0 and end != begins[number])) for number, end in ends.items()
    }
