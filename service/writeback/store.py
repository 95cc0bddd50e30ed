"""`media_operations`: claimed, held, and settled by whoever holds the claim."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any

import asyncpg
import orjson
import structlog

from schemas.asset import AssetName
from schemas.json import clean_text
from service.database import Connection, Pool
from service.mirror.patience import OUTAGES
from service.settings import Settings
from service.sql import query
from service.writeback.operations import Kind, Operation, Origin, Request, Settled, Status

log = structlog.get_logger(__name__)

CHANNEL = "media_operations"

_LONGEST_BACKOFF = 600.0  # seconds
_ERROR_CHARACTERS = 4000
_RENEWAL_SECONDS = 2.0  # for one that is under way


class LostClaimError(Exception):
    """Another worker has taken the operation up: what becomes of it is not ours to say."""


class OperationStore:
    """The queue in PostgreSQL. All times are PostgreSQL's, but `started_at`."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool

    async def claim(self, cloud: str, limit: int, *, uploads: bool) -> list[Operation]:
        """Take up to `limit` operations that are due, until they are settled or our lease is over."""
        settings = self._settings
        rows = await self._pool.fetch(
            query("operations", "claim"), cloud, uploads, settings.operations_lease, settings.cleanup_delay, limit
        )
        return sorted(map(_operation, rows), key=lambda operation: operation.id)

    @asynccontextmanager
    async def held(self, operations: Sequence[Operation]) -> AsyncIterator[None]:
        """Renew the lease for as long as it takes: a call may wait an hour for the Admin API's next one."""
        over = asyncio.Event()
        renewal = asyncio.create_task(self._renew(operations, over))
        try:
            yield
        finally:
            over.set()
            # one that is cut off while the pool connects for it would leave the connection open
            if not (await asyncio.wait([renewal], timeout=_RENEWAL_SECONDS))[0]:
                renewal.cancel()
                await asyncio.wait([renewal])

    async def _renew(self, operations: Sequence[Operation], over: asyncio.Event) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.operations_lease / 3):
                    await over.wait()
                    return
            try:
                await self._pool.fetch(query("operations", "renew"), *_claims(operations), self._settings.operations_lease)
            except OUTAGES as error:
                log.warning("lease of operations not renewed", operations=len(operations), reason=str(error) or repr(error))

    async def start(self, operations: Sequence[Operation], at: datetime) -> dict[int, datetime]:
        """Note that calls begin now, `at` by Cloudinary's clock; gives when each began first, of those that are still ours."""
        rows = await self._pool.fetch(query("operations", "start"), *_claims(operations), at)
        return {row["id"]: row["started_at"] for row in rows}

    async def complete(
        self, operation: Operation, result: Mapping[str, Any] | None = None, asset_id: str | None = None
    ) -> Settled:
        """End it well. Raises `LostClaimError`."""
        return await self._finish(operation, Status.COMPLETED, None, result, asset_id)

    async def complete_all(self, operations: Sequence[Operation]) -> list[Settled]:
        """End them well; gives those that are still ours."""
        rows = await self._pool.fetch(query("operations", "complete"), *_claims(operations))
        ours = {row["id"] for row in rows}
        return [Settled(operation, Status.COMPLETED) for operation in operations if operation.id in ours]

    async def fail(self, operation: Operation, error: str, result: Mapping[str, Any] | None = None) -> Settled:
        """End it with a reason. Raises `LostClaimError`."""
        return await self._finish(operation, Status.FAILED, error, result, None)

    async def release(self, operation: Operation, error: str, seconds: float, *, was_a_try: bool = True) -> Settled:
        """Have it tried again in `seconds`. Raises `LostClaimError`."""
        await self._ours("release", operation, _kept(error), seconds, was_a_try)
        return Settled(operation, Status.PENDING, error)

    async def again(self, operation: Operation, error: str) -> Settled:
        """Have it tried again after a pause, or fail it when it had tries enough. Raises `LostClaimError`."""
        if operation.attempts >= self._settings.operations_attempts:
            return await self.fail(operation, f"given up after {operation.attempts} tries; the last: {error}")
        return await self.release(operation, error, self.backoff(operation))

    def is_beyond(self, operation: Operation) -> bool:
        """Tell whether it had all of its tries before this one, the last of which came to no end: its worker has crashed."""
        return operation.attempts > self._settings.operations_attempts

    def backoff(self, operation: Operation) -> float:
        """Give the seconds to the next try: exponential, with full jitter."""
        most = min(self._settings.operations_backoff * 2.0 ** min(operation.attempts - 1, 30), _LONGEST_BACKOFF)
        return random.uniform(0, most)  # noqa: S311  # no secret: it spreads the load

    async def note(self, operation: Operation, result: Mapping[str, Any], asset_id: str | None = None) -> None:
        """Write down what must outlive us. Raises `LostClaimError`."""
        await self._ours("note", operation, orjson.dumps(result), asset_id)

    async def is_mirrored(self, cloud: str, asset_id: str) -> bool:
        """Tell whether the mirror has this asset, alive."""
        return bool(await self._pool.fetchval(query("operations", "is_mirrored"), cloud, asset_id))

    async def confirm(self, cloud: str, triggered_by: str, seconds: float) -> None:
        """Confirm what Cloudinary has told of in the last `seconds`, and reopen uploads that could not be mirrored."""
        await self._pool.execute(query("operations", "confirm"), cloud, triggered_by, seconds)
        for row in await self._pool.fetch(query("operations", "reopen_unmirrored"), cloud):
            log.error("upload could not be mirrored and is undone", operation=row["id"], cloud=cloud)

    async def expire(self) -> None:
        """Remove what ended long ago."""
        await self._pool.execute(query("operations", "expire"), self._settings.operations_retention)

    async def _finish(
        self,
        operation: Operation,
        status: Status,
        error: str | None,
        result: Mapping[str, Any] | None,
        asset_id: str | None,
    ) -> Settled:
        said = None if error is None else _kept(error)
        await self._ours("finish", operation, said, orjson.dumps(result or {}), asset_id)
        return Settled(operation, status, error)

    async def _ours(self, name: str, operation: Operation, *arguments: object) -> None:
        if await self._pool.fetchval(query("operations", name), operation.id, operation.claims, *arguments) is None:
            raise LostClaimError


async def enqueue(connection: Connection | Pool, requests: Sequence[Request], origin: Origin) -> list[int]:
    """Put operations in the queue, all or none; gives their ids, in the same order."""
    names = [tuple(request.name) if request.name else (None, None, None) for request in requests]
    rows = await connection.fetch(
        query("operations", "enqueue"),
        [request.cloud for request in requests],
        [request.asset_id for request in requests],
        [request.kind for request in requests],
        [orjson.dumps(request.arguments) for request in requests],
        [name[2] for name in names],
        [name[0] for name in names],
        [name[1] for name in names],
        [request.expected_version for request in requests],
        origin,
    )
    return [row["id"] for row in rows]


async def cancel(
    pool: Pool,
    ids: Sequence[int] | None,
    asset: str | None = None,
    cloud: str | None = None,
    origin: Origin | None = None,
) -> Sequence[asyncpg.Record]:
    """Cancel operations that still wait; gives them. Rows that were deleted by SQL come back: the account is asked about them."""
    async with pool.acquire() as connection, connection.transaction():
        rows = await connection.fetch(query("operations", "cancel"), ids, asset, cloud, origin)
        keys = sorted({(row["cloud"], row["asset_id"]) for row in rows if row["origin"] == Origin.SQL})
        if keys:
            asked = [(*key, "its deletion was cancelled") for key in keys]
            await connection.execute(query("mirror", "ask"), *zip(*asked, strict=True))
    return rows


def _claims(operations: Iterable[Operation]) -> tuple[list[int], list[int]]:
    return [operation.id for operation in operations], [operation.claims for operation in operations]


def _kept(error: str) -> str:
    """Give what is kept of a reason, in which others' words may be."""
    return clean_text(error[:_ERROR_CHARACTERS])


def _operation(row: asyncpg.Record) -> Operation:
    named = row["public_id"] is not None and row["resource_type"] is not None and row["type"] is not None
    return Operation(
        id=row["id"],
        cloud=row["cloud"],
        asset_id=row["asset_id"],
        kind=Kind(row["kind"]),
        arguments=row["arguments"],
        name=AssetName(row["resource_type"], row["type"], row["public_id"]) if named else None,
        expected_version=row["expected_version"],
        attempts=row["attempts"],
        claims=row["claims"],
        result=row["result"] if isinstance(row["result"], dict) else {},
        started_at=row["started_at"],
    )
