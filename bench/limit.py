"""What PostgreSQL and asyncpg allow at most: the rows and lines that a mirror has written, written once more by nothing else.

Run as a program, it is the writer: it reads what a mirror has written into memory, waits for our word, and writes that to another
database, by the same statement, in batches and transactions of the same size. It knows neither Kafka nor notifications.
"""

import asyncio
import gc
import sys
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import orjson

from bench.contestant import DONE, GO, READY, contestant
from bench.measured import POSTGRES, Measured
from bench.processes import Usage
from bench.site import Site
from service.sql import query
from service.supervisor import new_event_loop

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
    Rows = Sequence[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Rows = Sequence

LOG: Final = "media_sync_log"
OUTBOX: Final = "media_outbox"
IN_FLIGHT: Final = (1, 3)  # batches at a time; which is faster depends on the cores that are left
_PATIENCE_SECONDS: Final = 120.0
# of the type whose arrays `write_assets` unnests
_ROW_COLUMNS: Final = """
    SELECT attribute_name FROM information_schema.attributes
    WHERE udt_schema = current_schema() AND udt_name = 'media_asset_row' ORDER BY ordinal_position"""
_BEGIN: Final = "INSERT INTO media_offsets (kafka_topic, kafka_partition, kafka_cluster, next_offset) VALUES ($1, $2, 'limit', 0)"
_ADVANCE: Final = """
    UPDATE media_offsets AS o SET next_offset = batch.next_offset, updated_at = now()
    FROM unnest($2::integer[], $3::bigint[]) AS batch (kafka_partition, next_offset)
    WHERE o.kafka_topic = $1 AND o.kafka_partition = batch.kafka_partition"""


@dataclass(frozen=True)
class Load:
    """What a mirror has written of one topic: all of its lines in the sync log, and events after the last of an earlier topic."""

    database_url: str
    topic: str
    after_event: int


@dataclass(frozen=True)
class Task:
    """What the writer is to do."""

    load: Load
    database_url: str
    batch: int
    in_flight: int


def contestant_name(in_flight: int) -> str:
    """Give what tables call the limit."""
    return f"limit, {in_flight} batch{'es' if in_flight > 1 else ''} in flight"


async def write_again(site: Site, load: Load, database_url: str, *, batch: int, in_flight: int) -> Measured:
    """Write to a database with the mirror's schema what a mirror has written to another, `in_flight` batches at a time."""
    task = Task(load, database_url, batch, in_flight)
    name = f"limit.{load.topic}.{in_flight}"
    argv = (sys.executable, "-m", "bench.limit", orjson.dumps(asdict(task)).decode())
    async with contestant(name, argv, {}, site.folder / "programs") as writer:
        seconds, usages = await writer.race(site, patience=_PATIENCE_SECONDS)
    source = await asyncpg.connect(load.database_url)
    try:
        count: int = await source.fetchval(f"SELECT count(*) FROM {LOG} WHERE kafka_topic = $1", load.topic)  # noqa: S608
    finally:
        await source.close()
    return Measured(contestant_name(in_flight), count, seconds, _without_memory(usages))


def _without_memory(usages: Mapping[str, Usage]) -> dict[str, Usage]:
    """Forget the writer's own memory: it holds all that it writes."""
    return {name: usage if name == POSTGRES else Usage(usage.cpu_seconds, 0) for name, usage in usages.items()}


@dataclass(frozen=True)
class _Batch:
    """What one transaction writes, in the forms that asyncpg takes."""

    assets: Sequence[tuple[object, ...]]
    lines: Sequence[tuple[object, ...]]
    events: Sequence[tuple[object, ...]]
    partitions: Sequence[int]
    next_offsets: Sequence[int]


class _Writer:
    """The program."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._line_columns: list[str] = []
        self._event_columns: list[str] = []
        self._partitions: list[int] = []

    async def run(self) -> None:
        lanes = await self._read()
        connections = [await _connect(self._task.database_url) for _ in lanes]
        await connections[0].execute(query("mirror", "prepare_log"))
        await connections[0].executemany(_BEGIN, [(self._task.load.topic, partition) for partition in self._partitions])
        await connections[0].execute("CHECKPOINT")
        gc.collect()
        gc.disable()  # nothing that is allocated from here on is in a cycle
        go = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(GO, go.set)
        _say(READY)
        await go.wait()
        began_at = time.perf_counter()
        await asyncio.gather(*(self._write(connection, lane) for connection, lane in zip(connections, lanes, strict=True)))
        _say(DONE + orjson.dumps({"seconds": time.perf_counter() - began_at}).decode())
        await asyncio.Event().wait()  # so that what we have taken can be read

    async def _write(self, connection: Connection, batches: Sequence[_Batch]) -> None:
        write_assets = query("mirror", "write_assets")
        for batch in batches:
            async with connection.transaction():
                if batch.assets:
                    await connection.fetchval(write_assets, batch.assets)
                await connection.copy_records_to_table(LOG, records=batch.lines, columns=self._line_columns)
                if batch.events:
                    await connection.copy_records_to_table(OUTBOX, records=batch.events, columns=self._event_columns)
                await connection.execute(_ADVANCE, self._task.load.topic, batch.partitions, batch.next_offsets)

    async def _read(self) -> list[list[_Batch]]:
        """Give what is to be written: so many lanes of batches as are in flight at a time.

        A partition, hence an asset, is in one lane only, so that no lane waits for another's rows.
        """
        load = self._task.load
        source = await _connect(load.database_url)
        try:
            self._line_columns = await _columns(source, LOG)
            self._event_columns = await _columns(source, OUTBOX)
            lines = await source.fetch(
                f"SELECT {', '.join(self._line_columns)} FROM {LOG} WHERE kafka_topic = $1"  # noqa: S608
                " ORDER BY kafka_partition, kafka_offset, ordinal",
                load.topic,
            )
            outbox = await source.fetch(
                f"SELECT {', '.join(self._event_columns)} FROM {OUTBOX} WHERE id > $1 ORDER BY id",  # noqa: S608
                load.after_event,
            )
            row_columns = ", ".join(row["attribute_name"] for row in await source.fetch(_ROW_COLUMNS))
            rows = await source.fetch(f"SELECT {row_columns} FROM media_assets")  # noqa: S608
        finally:
            await source.close()
        self._partitions = sorted({line["kafka_partition"] for line in lines})
        assets = {(row["cloud"], row["asset_id"]): row for row in rows}
        events: dict[tuple[str, str], deque[asyncpg.Record]] = defaultdict(deque)
        for event in outbox:
            events[event["cloud"], event["subject"]].append(event)
        lanes: list[list[_Batch]] = []
        for number in range(self._task.in_flight):
            mine = [line for line in lines if line["kafka_partition"] % self._task.in_flight == number]
            starts = range(0, len(mine), self._task.batch)
            lanes.append([_batch_of(mine[start : start + self._task.batch], assets, events) for start in starts])
        return lanes


def _batch_of(
    lines: Rows,
    assets: Mapping[tuple[str, str], asyncpg.Record],
    events: Mapping[tuple[str, str], deque[asyncpg.Record]],
) -> _Batch:
    """Make the batch of these lines: an asset's row as it is in the end, and an event for each line that has changed it."""
    changing = [(line["cloud"], line["asset_id"]) for line in lines if line["outcome"] == "applied"]
    rows = [assets[key] for key in sorted(set(changing))]
    next_offsets = {line["kafka_partition"]: line["kafka_offset"] + 1 for line in lines}
    return _Batch(
        assets=[tuple(row) for row in rows],
        lines=[tuple(line) for line in lines],
        events=[tuple(events[key].popleft()) for key in changing if events[key]],
        partitions=list(next_offsets),
        next_offsets=list(next_offsets.values()),
    )


async def _columns(connection: Connection, table: str) -> list[str]:
    """Give the columns that PostgreSQL does not fill by itself."""
    rows = await connection.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = $1"
        " AND is_identity = 'NO' AND is_generated = 'NEVER' AND column_default IS DISTINCT FROM 'now()'"
        " ORDER BY ordinal_position",
        table,
    )
    return [row["column_name"] for row in rows]


async def _connect(url: str) -> Connection:
    connection: Connection = await asyncpg.connect(url, command_timeout=_PATIENCE_SECONDS)
    # as it is on the wire, in both directions
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary")
    return connection


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _main() -> None:
    told: dict[str, Any] = orjson.loads(sys.argv[1])
    task = Task(**told | {"load": Load(**told["load"])})
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_Writer(task).run())


if __name__ == "__main__":
    _main()
