"""Does the mirror stay as fast when its table grows?"""

import asyncio
import os
import random
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass
from itertools import pairwise
from typing import Final

import asyncpg

from bench.mirrors import apply_topic
from bench.notifications import fill, upload
from bench.result import Lines, Ratio, Result, Table
from bench.site import Site
from service.errors import MediamirrorError

_SIZES: Final = (10_000, 1_000_000, 5_000_000)
_SIZES_QUICK: Final = (1_000, 50_000)
_COUNT: Final = 30_000  # of each kind of notification, at each size
_COUNT_QUICK: Final = 4_000
_ROUNDS: Final = 2
_KINDS: Final = ("inserts", "updates")
_GOAL: Final = 0.8
# Rows have every sixth number. Between them, by name as by id, is room for the assets that come.
_STRIDE: Final = 6
# 950 bytes with all indexes, measured, and a little; beside it the log of PostgreSQL (max_wal_size), Kafka's, and what we apply.
_ROW_BYTES: Final = 1_100
_OTHER_BYTES: Final = 4 * 1024**3
# Of the sessions that make rows and indexes, and of none that is measured.
_FILLING: Final = {"synchronous_commit": "off", "maintenance_work_mem": "1GB", "max_parallel_maintenance_workers": "2"}
_PATIENCE_SECONDS: Final = 60


class NotEnoughDiskError(MediamirrorError):
    """Tables of {rows:,} rows in all need {needed:.1f} GB in {folder}, where {free:.1f} GB are free. `--quick` needs less."""


class WrongRowsError(MediamirrorError):
    """{name} has {found:,} rows after its {kind}, not {expected:,}: the rows made are of other assets than `upload`'s."""


@dataclass(frozen=True)
class _Applied:
    """What applying some notifications took."""

    count: float
    seconds: float
    cpu_seconds: float  # of the mirror
    wal: float  # bytes of PostgreSQL's log

    @property
    def rate(self) -> float:
        """Notifications per second."""
        return self.count / self.seconds

    def __add__(self, other: "_Applied") -> "_Applied":
        return _Applied(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))


async def run(site: Site, *, quick: bool, progress: Callable[[str], None]) -> Result:
    """Apply inserts and updates to tables of several sizes, in turn."""
    sizes, count = (_SIZES_QUICK, _COUNT_QUICK) if quick else (_SIZES, _COUNT)
    _require_disk(site, sum(sizes))
    tables = [_Grown(site, size, count) for size in sizes]
    made: list[str] = []
    measured: dict[tuple[int, str], _Applied] = {}
    try:
        for table in tables:
            seconds = await table.make()
            made.append(f"{table.size:,} in {seconds:.0f} s")
            progress(f"{table.size:,} rows made in {seconds:.0f} s")
        for number in range(_ROUNDS):
            for table in tables:
                for kind in _KINDS:
                    found = await table.measure(kind, number)
                    progress(f"{table.size:,} rows, {kind}: {found.rate:,.0f}/s")
                    before = measured.get((table.size, kind))
                    measured[table.size, kind] = found if before is None else before + found
    finally:
        for table in tables:
            await table.drop()
    return _result(sizes, count, measured, made)


class _Grown:
    """A database whose table of assets has grown to `size` rows, and the notifications that come then, `count` of each kind."""

    def __init__(self, site: Site, size: int, count: int) -> None:
        self.size = size
        self._site = site
        self._share = count // _ROUNDS
        self._name = f"scale{size}"
        self._url = ""
        self._rows = size
        draw = random.Random(size)
        between = _STRIDE - 1
        gaps = draw.sample(range(size * between), count)
        self._numbers = {
            "inserts": iter([gap // between * _STRIDE + gap % between + 1 for gap in gaps]),
            "updates": iter([number * _STRIDE for number in draw.choices(range(size), k=count)]),
        }

    async def make(self) -> float:
        """Let a mirror make the first row, of a notification, and PostgreSQL all others in its likeness; gives the seconds."""
        self._url = await self._site.database(self._name)
        await self._apply("first", [upload(0)])
        started = time.perf_counter()
        await _multiply(self._url, self.size)
        return time.perf_counter() - started

    async def measure(self, kind: str, number: int) -> _Applied:
        """Apply a share of the notifications of a kind; `number`: which one."""
        numbers, edition = self._numbers[kind], _KINDS.index(kind)
        found = await self._apply(f"{kind}{number}", [upload(next(numbers), edition) for _ in range(self._share)])
        self._rows += self._share if kind == "inserts" else 0
        async with _connected(self._url) as database:
            rows = await database.fetchval("SELECT count(*) FROM media_assets")
        if rows != self._rows:
            raise WrongRowsError(name=self._name, kind=kind, found=rows, expected=self._rows)
        return found

    async def drop(self) -> None:
        """Free the disk."""
        async with _connected(self._site.database_url) as server:
            await server.execute(f'DROP DATABASE IF EXISTS "{self._name}" WITH (FORCE)')
            await server.execute("CHECKPOINT")

    async def _apply(self, what: str, bodies: Sequence[bytes]) -> _Applied:
        topic = f"{self._name}.{what}"
        await fill(self._site, topic, bodies)
        async with _connected(self._url) as database:
            before = await database.fetchval("SELECT pg_current_wal_lsn()")
            found = await apply_topic(self._site, self._url, topic, len(bodies), processes=1)
            wal = await database.fetchval("SELECT pg_current_wal_lsn() - $1::pg_lsn", before)
        return _Applied(found.count, found.seconds, found.own.cpu_seconds, float(wal) * found.count / len(bodies))


@asynccontextmanager
async def _connected(url: str, settings: Mapping[str, str] | None = None) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(url, timeout=_PATIENCE_SECONDS, server_settings=dict(settings or {}))
    try:
        yield connection
    finally:
        await connection.close()


async def _multiply(url: str, size: int) -> None:
    """Make `size` rows of the one there is, with names and ids of their own, and all indexes as they were."""
    async with _connected(url, _FILLING) as database:
        columns = await _columns(database)
        indexes = await database.fetch(_INDEXES)
        for index in indexes:
            await database.execute(index["drop"])
        await database.execute("CREATE TABLE likeness AS SELECT * FROM media_assets")
        sessions = os.cpu_count() or 1
        bounds = [1 + (size - 1) * number // sessions for number in range(sessions + 1)]
        await asyncio.gather(*(_insert(url, columns, first, end) for first, end in pairwise(bounds)))
        await database.execute("DROP TABLE likeness")
        for index in indexes:
            await database.execute(index["make"])
        # as autovacuum would do, but not while we measure
        await database.execute("VACUUM (ANALYZE) media_assets")
        await database.execute("CHECKPOINT")


# In the order in which they came to be; a primary key's is dropped and made with its constraint.
_INDEXES: Final = """
SELECT CASE WHEN c.oid IS NULL THEN format('DROP INDEX %s', i.indexrelid::regclass)
            ELSE format('ALTER TABLE media_assets DROP CONSTRAINT %I', c.conname) END AS drop,
       CASE WHEN c.oid IS NULL THEN pg_get_indexdef(i.indexrelid)
            ELSE format('ALTER TABLE media_assets ADD CONSTRAINT %I %s', c.conname, pg_get_constraintdef(c.oid)) END AS make
FROM pg_index AS i LEFT JOIN pg_constraint AS c ON c.conindid = i.indexrelid AND c.conrelid = i.indrelid
WHERE i.indrelid = 'media_assets'::regclass
ORDER BY i.indexrelid
"""

# Of every column, its name, its type, and whether the asset's id or name stands in it.
_COLUMNS: Final = """
SELECT quote_ident(attname) AS name, format_type(atttypid, atttypmod) AS type,
       strpos(to_jsonb(a) ->> attname, asset_id) > 0 AS has_id, strpos(to_jsonb(a) ->> attname, public_id) > 0 AS has_name
FROM media_assets AS a, pg_attribute
WHERE attrelid = 'media_assets'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND attidentity = ''
ORDER BY attnum
"""


async def _columns(database: "asyncpg.Connection[asyncpg.Record]") -> dict[str, str]:
    """Give, by column, the expression for the row of number n: the likeness's, with its id and name for those of `upload`."""
    columns: dict[str, str] = {}
    for column in await database.fetch(_COLUMNS):
        value = f"l.{column['name']}"
        if column["has_id"]:
            value = f"replace({value}::text, l.asset_id, md5(n::text))"
        if column["has_name"]:
            value = f"replace({value}::text, l.public_id, left(l.public_id, -8) || lpad(n::text, 8, '0'))"
        columns[column["name"]] = f"({value})::{column['type']}"
    return columns


async def _insert(url: str, columns: Mapping[str, str], first: int, end: int) -> None:
    async with _connected(url, _FILLING) as session:
        await session.execute(
            f"INSERT INTO media_assets ({', '.join(columns)}) SELECT {', '.join(columns.values())}"  # noqa: S608  # the catalogue's
            f" FROM likeness AS l, generate_series({first * _STRIDE}, {(end - 1) * _STRIDE}, {_STRIDE}) AS n"
        )


def _require_disk(site: Site, rows: int) -> None:
    needed, free = rows * _ROW_BYTES + _OTHER_BYTES, shutil.disk_usage(site.folder).free
    if free < needed:
        raise NotEnoughDiskError(rows=rows, needed=needed / 1e9, free=free / 1e9, folder=site.folder)


def _result(sizes: Sequence[int], count: int, measured: Mapping[tuple[int, str], _Applied], made: Sequence[str]) -> Result:
    smallest, largest = sizes[0], sizes[-1]

    def ratio(size: int, kind: str) -> float:
        return measured[size, kind].rate / measured[smallest, kind].rate

    rows = [
        (
            f"{size:,}",
            kind,
            one.rate,
            ratio(size, kind),
            one.cpu_seconds / one.count * 100_000,
            one.wal / one.count,
        )
        for (size, kind), one in sorted(measured.items())
    ]
    columns = ("rows", "notifications", "a second", f"× {smallest:,} rows", "mirror, CPU s per 100,000", "WAL bytes each")
    filling = ", ".join(f"`{name} = {value}`" for name, value in _FILLING.items())
    return Result(
        name="scale",
        title="Apply rate by the size of the table",
        about=_ABOUT.format(count=count, sizes=", ".join(f"{size:,}" for size in sizes), rounds=_ROUNDS, filling=filling),
        tables=[Table("Notifications a second", columns, rows)],
        ratios=[Ratio(f"{kind} at {largest:,} rows, beside {smallest:,}", ratio(largest, kind), _GOAL) for kind in _KINDS],
        plots=[
            Lines(
                "Apply rate by the size of the table",
                "rows",
                "notifications a second",
                True,
                {f"mediamirror, {kind}": [(float(size), measured[size, kind].rate) for size in sizes] for kind in _KINDS},
            )
        ],
        notes=[
            f"Rows made: {'; '.join(made)}.",
            "These tables fit the page cache of a machine with memory to spare; where they don't, its disk is measured, too.",
            (
                "A page is logged whole when it first changes after a checkpoint: that is the WAL that grows with the table,"
                " since changes of many rows share fewer pages."
            ),
        ],
    )


_ABOUT: Final = """\
One mirror process applies {count:,} uploads of new assets, and {count:,} of assets drawn evenly from all that are there, to \
tables of {sizes} rows; in {rounds} shares, each of which goes through all sizes before the next. Ids are spread evenly, as \
Cloudinary's are, and the new names lie between those that are there.

The rows are made by SQL in the likeness of one that the mirror has made; then come all indexes, `VACUUM (ANALYZE)`, and before \
each measurement a checkpoint. The sessions that make rows run with {filling}; all that is measured runs with PostgreSQL's \
defaults: fsync, synchronous_commit and full_page_writes on.
"""
