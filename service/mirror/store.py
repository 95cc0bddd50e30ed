"""The mirror's one transaction: rows, sync log and offsets together, or nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter

import orjson

from schemas.asset import Asset
from service.database import Connection, Pool
from service.mirror.entry import Entry, LogLine
from service.mirror.fold import Folded, Wanted, fold, wanted
from service.sql import query


class FencedError(Exception):
    """Another mirror has moved a partition of this batch: it is not ours any more."""


class ConflictError(Exception):
    """Another mirror created a row of this batch after we had looked; folding again settles it."""


@dataclass(frozen=True, slots=True)
class Advance:
    """How a batch moves one partition: from the offset it expects to find to the next one to read."""

    partition: int
    expected: int
    next_offset: int


_LINE_COLUMNS = [field.name for field in fields(LogLine)]
_line_values = attrgetter(*_LINE_COLUMNS)
# The order of the parameters of `write_assets`.
_ASSET_COLUMNS = (
    "cloud", "asset_id", "public_id", "resource_type", "type", "format", "version", "version_id", "bytes", "width", "height",
    "duration", "etag", "placeholder", "created_at", "uploaded_at", "details", "asset_folder", "display_name", "tags", "context",
    "metadata", "access_control", "moderation", "deleted_at", "clocks", "revision",
)  # fmt: skip
_asset_values = attrgetter(*_ASSET_COLUMNS)
_TAGS = _ASSET_COLUMNS.index("tags")
_JSON = [_ASSET_COLUMNS.index(name) for name in ("details", "context", "metadata", "access_control", "moderation", "clocks")]


class Store:
    """Reads, folds and writes batches on one topic's offsets."""

    def __init__(self, pool: Pool, topic: str) -> None:
        self._pool = pool
        self._topic = topic

    async def apply(self, entries: Sequence[Entry], advances: Sequence[Advance]) -> Sequence[LogLine]:
        """Apply a batch once; raises `FencedError` or `ConflictError`, or PostgreSQL's own errors, with nothing written."""
        need = wanted(entries)
        async with self._pool.acquire() as connection, connection.transaction():
            folded = fold(entries, await _lock(connection, need))
            await _write(connection, folded)
            moved = await connection.fetchval(
                query("mirror", "advance_offsets"),
                self._topic,
                [advance.partition for advance in advances],
                [advance.expected for advance in advances],
                [advance.next_offset for advance in advances],
            )
            if moved != len(advances):
                raise FencedError
        return folded.lines

    async def prepare_log(self) -> None:
        """Make the day partitions that the sync log needs next."""
        await self._pool.execute(query("mirror", "prepare_log"))

    async def offsets(self) -> Mapping[int, tuple[str, int]]:
        """Give what has been applied: partition -> (cluster id, next offset)."""
        rows = await self._pool.fetch(query("mirror", "offsets"), self._topic)
        return {row["kafka_partition"]: (row["kafka_cluster"], row["next_offset"]) for row in rows}

    async def begin_offset(self, partition: int, cluster: str) -> None:
        """Note that a partition is read for the first time, from its beginning."""
        await self._pool.execute(query("mirror", "begin_offset"), self._topic, partition, cluster, 0)

    async def set_offset(self, partition: int, cluster: str, offset: int) -> None:
        """Read a partition from `offset`, whatever was read before."""
        await self._pool.execute(query("mirror", "set_offset"), self._topic, partition, cluster, offset)


async def _lock(connection: Connection, need: Wanted) -> list[Asset]:
    if not need.keys:
        return []
    rows = await connection.fetch(
        query("mirror", "lock_assets"),
        [key.cloud for key in need.keys],
        [key.asset_id for key in need.keys],
        [cloud for cloud, _ in need.names],
        [name.resource_type for _, name in need.names],
        [name.type for _, name in need.names],
        [name.public_id for _, name in need.names],
    )
    return [Asset(**row) for row in rows]


async def _write(connection: Connection, folded: Folded) -> None:
    if folded.assets:
        columns = list(zip(*map(_asset_row, folded.assets), strict=True))
        created = await connection.fetchval(query("mirror", "write_assets"), *columns)
        if created != folded.created:
            raise ConflictError
    await connection.copy_records_to_table("media_sync_log", records=map(_line_values, folded.lines), columns=_LINE_COLUMNS)


def _asset_row(asset: Asset) -> list[object]:
    row = list(_asset_values(asset))
    row[_TAGS] = _array_literal(asset.tags)
    for column in _JSON:
        row[column] = None if row[column] is None else orjson.dumps(row[column])
    return row


def _array_literal(items: Sequence[str]) -> str:
    """Give a text[] in PostgreSQL's text form: unnest would flatten an array of arrays."""
    return "{" + ",".join('"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' for item in items) + "}"
