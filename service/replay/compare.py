"""Two mirrors, row by row and field by field."""

from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from typing import Literal

import asyncpg

from schemas.asset import AssetKey
from service.database import Connection
from service.sql import query

# What counts arrivals, and may differ between mirrors that are both right.
_ARRIVALS = frozenset({"revision", "updated_at"})
_PREFETCH = 1000
_PATIENCE_SECONDS = 3600.0  # for the sort before the first row


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not as the log says; `fields`: name -> (here, by the log), of a row that both have."""

    kind: Literal["asset", "folder"]
    cloud: str
    subject: str  # asset id, or folder path
    what: Literal["missing", "extra", "different"]
    fields: dict[str, tuple[object, object]]


async def deleted_by_sql(live: Connection) -> frozenset[AssetKey]:
    """Give the assets whose rows somebody has deleted: the log knows nothing of that, and it is no difference."""
    return frozenset(AssetKey(*row) for row in await live.fetch(query("scratch", "deleted_by_sql")))


async def differences(live: Connection, scratch: Connection, left_out: Collection[AssetKey]) -> AsyncIterator[Difference]:
    """Compare what the connections see, each in a transaction of its own; assets first, then folders.

    Of the assets `left_out`, none is missing.
    """
    async for found in _compare(live, scratch, "asset", "rows", lambda row: (row["cloud"], row["asset_id"])):
        if found.what != "missing" or (found.cloud, found.subject) not in left_out:
            yield found
    async for found in _compare(live, scratch, "folder", "folders", lambda row: (row["cloud"], row["path"])):
        yield found


async def _compare(
    live: Connection,
    scratch: Connection,
    kind: Literal["asset", "folder"],
    rows: str,
    key_of: Callable[[asyncpg.Record], tuple[str, str]],
) -> AsyncIterator[Difference]:
    """Walk through both in key order, a few rows at a time."""
    ours = aiter(live.cursor(query("scratch", rows), prefetch=_PREFETCH, timeout=_PATIENCE_SECONDS))
    theirs = aiter(scratch.cursor(query("scratch", rows), prefetch=_PREFETCH, timeout=_PATIENCE_SECONDS))
    here, there = await anext(ours, None), await anext(theirs, None)
    while here is not None or there is not None:
        if there is None or (here is not None and _before(key_of(here), key_of(there))):
            assert here is not None  # noqa: S101  # else `there` would not be None
            yield Difference(kind, *key_of(here), "extra", {})
            here = await anext(ours, None)
        elif here is None or _before(key_of(there), key_of(here)):
            yield Difference(kind, *key_of(there), "missing", {})
            there = await anext(theirs, None)
        else:
            if fields := {
                name: (here[name], there[name]) for name in dict(here) if name not in _ARRIVALS and here[name] != there[name]
            }:
                yield Difference(kind, *key_of(here), "different", fields)
            here, there = await anext(ours, None), await anext(theirs, None)


def _before(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Order as PostgreSQL's collation "C" does: by bytes."""
    return tuple(part.encode() for part in one) < tuple(part.encode() for part in other)
