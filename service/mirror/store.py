"""The mirror's one transaction: rows, sync log and offsets together, or nothing."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple

import structlog

from handlers.folders import folders_after, sources
from schemas.asset import Asset, AssetKey, AssetName
from schemas.clock import Clock
from schemas.event import MediaEvent
from schemas.folder import FolderAct, FolderEvent
from service.database import Connection, Pool
from service.mirror.book import Purged
from service.mirror.entry import Entry, LogLine, Outcome, is_large
from service.mirror.fold import Folded, Wanted, fold, wanted
from service.mirror.graves import ConflictError, Graves
from service.sql import query

log = structlog.get_logger(__name__)


class FencedError(Exception):
    """Another mirror has moved a partition of this batch: it is not ours any more."""


class Position(NamedTuple):
    """Where a partition is to be read on: a record, and how many of its statements have been applied."""

    offset: int
    place: int = 0


def after(entry: Entry) -> Position:
    """Give the position behind an entry."""
    offset = entry.record.offset
    return Position(offset + 1) if entry.ends else Position(offset, entry.place + len(entry.statements))


@dataclass(frozen=True, slots=True)
class Advance:
    """How a batch moves one partition: from where it expects to find it to where it is to be read on."""

    partition: int
    expected: Position
    next: Position


class Store:
    """Reads, folds and writes batches on one topic's offsets.

    `rows_only`: no sync log, no events, no questions: what a copy of the mirror needs that nobody else knows of.
    """

    def __init__(self, pool: Pool, topic: str, *, rows_only: bool = False) -> None:
        self._pool = pool
        self.topic = topic
        self._rows_only = rows_only

    async def apply(
        self, entries: Sequence[Entry], advances: Sequence[Advance] = (), *, log_unchanged: bool = True
    ) -> Sequence[LogLine]:
        """Apply a batch once; raises `FencedError` or PostgreSQL's own errors, with nothing written.

        Without `advances`, the offsets stay as they are: the batch was read before. Without `log_unchanged`, what changes nothing
        leaves no line and no question, as it did when it came first. All lines are returned.
        """
        while True:
            try:
                return await self._attempt(entries, advances, log_unchanged=log_unchanged)
            except ConflictError:
                # To fold again, with the row that is there now, settles it. Whoever was first has moved on, so this ends.
                log.debug("another mirror was first to write a row of the batch")

    async def _attempt(self, entries: Sequence[Entry], advances: Sequence[Advance], *, log_unchanged: bool) -> Sequence[LogLine]:
        need = wanted(entries)
        async with self._pool.acquire() as connection, connection.transaction():
            events = await _lock_folders(connection, need)
            rows = [row for cloud in need for row in await _lock(connection, cloud, need[cloud], events[cloud])]
            folded = await _folded(entries, rows, events, silently=self._rows_only)
            graves = Graves(connection)
            while not self._rows_only and (purged := await graves.of(folded.born)):
                folded = await _folded(entries, rows, events, purged)
            await _write(connection, folded)
            await _write_folders(connection, folded, events)
            if not self._rows_only:
                await graves.leave(folded.gone)
                written = folded if log_unchanged else _changing(folded)
                await _log(connection, written)
                await _ask(connection, written)
                await write_events(connection, folded.events)
            moved = await connection.fetchval(
                query("mirror", "advance_offsets"),
                self.topic,
                [advance.partition for advance in advances],
                [advance.expected.offset for advance in advances],
                [advance.expected.place for advance in advances],
                [advance.next.offset for advance in advances],
                [advance.next.place for advance in advances],
            )
            if moved != len(advances):
                raise FencedError
        return folded.lines

    async def prepare_log(self) -> None:
        """Make the day partitions that the sync log needs next."""
        await self._pool.execute(query("mirror", "prepare_log"))

    async def positions(self) -> Mapping[int, tuple[str, Position]]:
        """Give what has been applied: partition -> (cluster id, where to read on)."""
        rows = await self._pool.fetch(query("mirror", "offsets"), self.topic)
        return {row["kafka_partition"]: (row["kafka_cluster"], Position(row["next_offset"], row["next_place"])) for row in rows}

    async def begin_offset(self, partition: int, cluster: str) -> None:
        """Note that a partition is read for the first time, from its beginning."""
        await self._pool.execute(query("mirror", "begin_offset"), self.topic, partition, cluster, 0)

    async def set_offset(self, partition: int, cluster: str, offset: int) -> None:
        """Read a partition from `offset`, whatever was read before."""
        await self._pool.execute(query("mirror", "set_offset"), self.topic, partition, cluster, offset)


async def _folded(
    entries: Sequence[Entry],
    rows: Sequence[Asset],
    events: Mapping[str, Sequence[FolderEvent]],
    purged: Mapping[AssetKey, Purged] = MappingProxyType({}),
    *,
    silently: bool = False,
) -> Folded:
    """Fold a batch; a piece of a large record in a thread, since one asset alone may be said very much of."""
    if len(entries) == 1 and is_large(entries[0].record):
        return await asyncio.to_thread(fold, entries, rows, events, purged, silently=silently)
    return fold(entries, rows, events, purged, silently=silently)


async def _lock_folders(connection: Connection, clouds: Mapping[str, Wanted]) -> dict[str, list[FolderEvent]]:
    """Give what the batch must know of its clouds' folders, which stays so until the transaction ends."""
    if not clouds:
        return {}
    changing = [cloud for cloud, need in clouds.items() if need.folders_change]
    await connection.execute(query("mirror", "lock_folders"), list(clouds), changing)
    events: dict[str, list[FolderEvent]] = {cloud: [] for cloud in clouds}
    for row in await connection.fetch(query("mirror", "folder_events"), list(clouds), changing):
        events[row["cloud"]].append(FolderEvent(FolderAct(row["act"]), row["path"], Clock(row["clock"]), row["to_path"]))
    return events


async def _lock(connection: Connection, cloud: str, need: Wanted, events: Sequence[FolderEvent]) -> list[Asset]:
    """Give the rows of a cloud that the batch may change, and keep others off them."""
    ids = set(need.ids)
    if need.only_named:
        ids.update(*await connection.fetch(query("mirror", "only_named"), cloud, need.only_named))
    if need.names:
        ids.update(*await connection.fetch(query("mirror", "called"), cloud, *_columns_of(need.names)))
    if paths := sources(need.moves, events):
        ids.update(*await connection.fetch(query("mirror", "assets_below"), cloud, paths))
    rows = await connection.fetch(query("mirror", "lock_assets"), cloud, ids) if ids else []
    return list(map(Asset._make, rows))


async def _write(connection: Connection, folded: Folded) -> None:
    if folded.assets and await write_rows(connection, folded.assets) != folded.created:
        raise ConflictError
    if folded.adopted:
        await connection.execute(query("mirror", "remove_adopted"), *_columns_of_keys(folded.adopted))


def _changing(folded: Folded) -> Folded:
    """Give what tells of a change."""
    changed = {asset.key for asset in folded.assets}
    return replace(
        folded,
        lines=[line for line in folded.lines if line.outcome in (Outcome.APPLIED, Outcome.FAILED)],
        refetches=[refetch for refetch in folded.refetches if refetch.key in changed],
    )


async def _log(connection: Connection, folded: Folded) -> None:
    await connection.copy_records_to_table("media_sync_log", records=folded.lines, columns=LogLine._fields)


async def _write_folders(connection: Connection, folded: Folded, known: Mapping[str, Sequence[FolderEvent]]) -> None:
    if not folded.folder_events:
        return
    rows = [(cloud, event.act, event.path, event.clock, event.to_path) for cloud, event in folded.folder_events]
    await connection.execute(query("mirror", "add_folder_events"), *zip(*rows, strict=True))
    for cloud in dict.fromkeys(cloud for cloud, _ in folded.folder_events):
        new = [event for of, event in folded.folder_events if of == cloud]
        folders = folders_after(sorted([*known[cloud], *new], key=attrgetter("clock")))
        await connection.execute(query("mirror", "remove_folders"), cloud, list(folders))
        await connection.execute(query("mirror", "put_folders"), cloud, list(folders), list(folders.values()))


async def _ask(connection: Connection, folded: Folded) -> None:
    """Note the questions to the account: the fold's own, and those about assets whose names were taken."""
    asked = [(*refetch.key, refetch.reason) for refetch in folded.refetches]
    for cloud, names in folded.claims.items():
        public_ids = [name.public_id for name in names]
        if shared := await connection.fetch(query("mirror", "shared_names"), cloud, public_ids):
            # a public id may be shared under another type that nobody has claimed now
            disputed = names & {AssetName(*row) for row in shared}
            rivals = await connection.fetch(query("mirror", "rivals"), cloud, *_columns_of(disputed))
            asked += [(cloud, row["asset_id"], "another asset has got its name") for row in rivals]
    if asked:
        await connection.execute(query("mirror", "ask"), *zip(*asked, strict=True))


async def write_rows(connection: Connection, assets: Sequence[Asset]) -> int:
    """Insert or update rows; gives how many of them were not there before."""
    created: int = await connection.fetchval(query("mirror", "write_assets"), assets)
    return created


async def write_events(connection: Connection, events: Sequence[MediaEvent]) -> None:
    """Put events in the outbox, and wake the relay when this commits."""
    if events:
        await connection.copy_records_to_table("media_outbox", records=events, columns=MediaEvent._fields)
        await connection.execute(query("outbox", "notify"))


def _columns_of_keys(keys: Collection[AssetKey]) -> list[list[str]]:
    return [[key.cloud for key in keys], [key.asset_id for key in keys]]


def _columns_of(names: Collection[AssetName]) -> list[list[str]]:
    return [[name.resource_type for name in names], [name.type for name in names], [name.public_id for name in names]]
