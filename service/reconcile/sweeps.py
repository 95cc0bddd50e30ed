"""Sweeps and what they find, as PostgreSQL keeps them."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson

from schemas.asset import Asset
from schemas.clock import Clock
from schemas.folder import FolderAct, FolderEvent
from service.cloudinary.reading import RESOURCE_TYPES, Listing
from service.database import Connection, Pool
from service.reconcile.difference import Kind
from service.sql import query

# An unfinished sweep goes on for so long: its cursors expire. Longer than the hour that it may have waited for calls.
_RESUMABLE_SECONDS = 7200.0
_KEPT_DAYS = 90
_UNLOCK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Scope:
    """What is swept."""

    resource_types: Sequence[str] = RESOURCE_TYPES
    prefix: str | None = None  # of public ids
    dry_run: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it is all that there is."""
        return self.prefix is None and len(self.resource_types) == len(RESOURCE_TYPES)


@dataclass(slots=True)
class Progress:
    """How far a sweep has come: a row of `media_sweeps`."""

    id: int
    cloud: str
    scope: Scope
    listings: Sequence[Listing]
    at: int  # the listing that is under way
    cursor: str | None
    listed: int
    calls: int
    published: int  # readings, of what differed
    missing: int  # readings that an asset is gone
    resumed: bool

    @property
    def delivery_types(self) -> list[str] | None:
        """Those that it lists; None for all."""
        types = sorted({listing.delivery_type for listing in self.listings if listing.delivery_type is not None})
        return types or None


@dataclass(frozen=True, slots=True)
class Finding:
    """One asset in which the mirror differs."""

    asset_id: str
    resource_type: str | None
    type: str | None
    public_id: str | None
    kind: Kind
    fields: Mapping[str, Mapping[str, object]]
    cause: str
    announced: bool = True  # a reading that repairs it is on the log, unless it is a dry run


class Sweeps:
    """Reads the mirror for sweeps, and keeps what they have done."""

    def __init__(self, pool: Pool, cloud: str) -> None:
        self._pool = pool
        self._cloud = cloud

    async def begin(self, scope: Scope, listings: Sequence[Listing]) -> Progress:
        """Begin a sweep, or go on with one of this scope that was stopped in the middle."""
        about = (self._cloud, list(scope.resource_types), scope.prefix, scope.dry_run)
        row = await self._pool.fetchrow(query("reconciliation", "unfinished"), *about, _RESUMABLE_SECONDS)
        if resumed := row is not None:
            await self._pool.execute(query("reconciliation", "go_on"), row["id"])
        else:
            row = await self._pool.fetchrow(
                query("reconciliation", "begin"), *about, orjson.dumps([tuple(one) for one in listings])
            )
        assert row is not None  # noqa: S101  # RETURNING gives the row
        await self._pool.execute(query("reconciliation", "abandon"), self._cloud, row["id"])
        return _progress_of(row, scope, resumed=resumed)

    async def step(
        self,
        progress: Progress,
        seen: Mapping[str, bool],
        findings: Collection[Finding],
        marks: tuple[int, Sequence[bytes]] | None = None,
    ) -> None:
        """Note what a page has brought, and where to go on: together, or nothing. `seen`: asset id -> only its placeholder.

        `marks`: what tells the page, and the next one's cursor, from all others of the listing; of which listing.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            if seen:
                await connection.execute(query("reconciliation", "see"), progress.id, list(seen), list(seen.values()))
            if findings:
                await connection.execute(query("reconciliation", "find"), *_columns(progress, findings))
            if marks:
                await connection.execute(query("reconciliation", "mark"), progress.id, *marks)
            await connection.execute(
                query("reconciliation", "progress"),
                progress.id,
                progress.at,
                progress.cursor,
                progress.listed,
                progress.calls,
                progress.published,
                progress.missing,
            )

    async def has_marks(self, progress: Progress, at: int, marks: Sequence[bytes]) -> bool:
        """Tell whether the sweep has met one of them in this listing, before it was stopped too."""
        return bool(await self._pool.fetchval(query("reconciliation", "has_marks"), progress.id, at, marks))

    async def forget_marks(self, progress: Progress) -> None:
        """Forget those of the listing under way, which begins anew."""
        await self._pool.execute(query("reconciliation", "forget_marks"), progress.id, progress.at)

    async def finish(self, progress: Progress, status: str, reason: str | None, *, resumable: bool = True) -> None:
        """Note a sweep's end, whether a broken one can go on, and forget what no sweep needs any more."""
        about = (progress.id, status, reason, progress.calls, resumable)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(query("reconciliation", "finish"), *about)
            await connection.execute(query("reconciliation", "forget_seen"), self._cloud, _RESUMABLE_SECONDS)
            await connection.execute(query("reconciliation", "forget_sweeps"), self._cloud, _KEPT_DAYS)

    async def kinds(self, progress: Progress) -> dict[str, int]:
        """Count what a sweep has found, by kind."""
        rows = await self._pool.fetch(query("reconciliation", "kinds"), progress.id)
        return {row["kind"]: row["found"] for row in rows}

    async def rows(self, asset_ids: Collection[str]) -> dict[str, Asset]:
        """Give the mirror's rows of these assets."""
        found = await self._pool.fetch(query("reconciliation", "rows"), self._cloud, list(asset_ids))
        return {row["asset_id"]: Asset(**row) for row in found}

    async def folder_moves(self) -> list[FolderEvent]:
        """Give the cloud's folder moves, in clock order."""
        rows = await self._pool.fetch(query("reconciliation", "folder_moves"), self._cloud)
        return [FolderEvent(FolderAct(row["act"]), row["path"], Clock(row["clock"]), row["to_path"]) for row in rows]

    async def alive(self, progress: Progress) -> int:
        """Count the live rows that a sweep would have to list."""
        return int(await self._pool.fetchval(query("reconciliation", "alive"), *self._scope(progress)))

    async def unseen(self, progress: Progress, grace: float, after: str, limit: int) -> dict[str, bool]:
        """Give `limit` of the live rows after an id of which the sweep has listed nothing but a placeholder, or nothing at all.

        Asset id -> whether a placeholder was listed. The others were at rest since `grace` seconds before it began, or we have
        destroyed their assets.
        """
        arguments = (*self._scope(progress), progress.id, grace, after, limit)
        rows = await self._pool.fetch(query("reconciliation", "unseen"), *arguments)
        return {row["asset_id"]: row["placeholder"] for row in rows}

    async def listed(self, progress: Progress, limit: int) -> list[str]:
        """Give some assets that the sweep has listed, and that are alive in the mirror."""
        rows = await self._pool.fetch(query("reconciliation", "listed"), progress.id, limit, self._cloud)
        return [row["asset_id"] for row in rows]

    async def under_way(self, asset_ids: Collection[str], *, ended: bool) -> set[str]:
        """Give those of the assets that we are deleting; `ended`: or have just deleted."""
        if not asset_ids:
            return set()
        rows = await self._pool.fetch(query("reconciliation", "under_way"), self._cloud, list(asset_ids), ended)
        return {row["asset_id"] for row in rows}

    async def delivery_types(self, resource_type: str) -> set[str]:
        """Give the delivery types that the mirror knows of a resource type."""
        rows = await self._pool.fetch(query("reconciliation", "delivery_types"), self._cloud, resource_type)
        return {row["type"] for row in rows}

    def _scope(self, progress: Progress) -> tuple[object, ...]:
        scope = progress.scope
        return (self._cloud, list(scope.resource_types), progress.delivery_types, scope.prefix, scope.is_whole)


@asynccontextmanager
async def locked(pool: Pool, name: str, *, try_every: float | None = None) -> AsyncIterator[Connection | None]:
    """Hold a lock that one process has at a time; gives the connection that it lives on, or None if another has it.

    `try_every`: wait for it, and look every so many seconds.
    """
    async with pool.acquire() as connection:
        try:
            # tried again and again, since PostgreSQL tells nobody that a lock has come free
            while not (ours := await connection.fetchval(query("reconciliation", "try_lock"), name)) and try_every is not None:  # noqa: ASYNC110
                await asyncio.sleep(try_every)
            yield connection if ours else None
        finally:
            # the lock ends with the connection, which must not serve anybody else, but only once PostgreSQL has noticed
            try:
                with suppress(Exception):
                    await connection.execute(query("reconciliation", "unlock"), timeout=_UNLOCK_SECONDS)
            finally:
                connection.terminate()


def _progress_of(row: asyncpg.Record, scope: Scope, *, resumed: bool) -> Progress:
    return Progress(
        id=row["id"],
        cloud=row["cloud"],
        scope=scope,
        listings=[Listing(*one) for one in row["passes"]],
        at=row["pass"],
        cursor=row["cursor"],
        listed=row["listed"],
        calls=row["calls"],
        published=row["published"],
        missing=row["missing"],
        resumed=resumed,
    )


def _columns(progress: Progress, findings: Collection[Finding]) -> list[Any]:
    return [
        progress.id,
        progress.cloud,
        [one.asset_id for one in findings],
        [one.resource_type for one in findings],
        [one.type for one in findings],
        [one.public_id for one in findings],
        [one.kind for one in findings],
        [orjson.dumps(one.fields) for one in findings],
        [one.cause for one in findings],
        [one.announced and not progress.scope.dry_run for one in findings],
    ]
