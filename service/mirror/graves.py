"""What is left of rows that are gone (`media_purged`): they may come back, and a revision is never used twice."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from schemas.asset import Asset, AssetKey
from service.database import Connection
from service.mirror.book import NEVER, Purged
from service.sql import query


class ConflictError(Exception):
    """Another mirror created a row of this batch after we had looked."""


class Graves:
    """Looks for what a transaction brings back, and leaves what it ends."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._opened: dict[AssetKey, Purged] = {}

    async def of(self, born: Mapping[str, Collection[str]]) -> Mapping[AssetKey, Purged]:
        """Give what is left of all that is brought back, if that is more than was known; else nothing.

        `born`: by cloud. What is left of one may make a batch bring back others, so it is to be folded, and this asked, again.
        Raises `ConflictError` when something that was only named is a row by now.
        """
        is_more = False
        for cloud in sorted(born):
            new = sorted(asset_id for asset_id in born[cloud] if AssetKey(cloud, asset_id) not in self._opened)
            if new:
                found = await self._open(cloud, new)
                self._opened |= {(key := AssetKey(cloud, asset_id)): found.get(key, NEVER) for asset_id in new}
                is_more = is_more or any(purged.revision for purged in found.values())
        return {key: purged for key, purged in self._opened.items() if purged.revision} if is_more else {}

    async def leave(self, gone: Mapping[AssetKey, int] = MappingProxyType({})) -> None:
        """Note what is gone now, with its last revision, and forget what is there again; once the rows are written."""
        if gone:
            await self._connection.execute(query("mirror", "bury"), *_columns_of(gone), list(gone.values()))
        if left := [key for key, purged in self._opened.items() if purged.revision or key.is_name]:
            await self._connection.execute(query("mirror", "leave_graves"), *_columns_of(left))

    async def _open(self, cloud: str, asset_ids: Sequence[str]) -> dict[AssetKey, Purged]:
        named = {key for asset_id in asset_ids if (key := AssetKey(cloud, asset_id)).is_name}
        found = await self._read(cloud, asset_ids)
        while closed := sorted(key.asset_id for key in named - found.keys()):
            # what was there when we claimed it may be gone once we are let in, and then be no claim
            await self._connection.execute(query("mirror", "claim_graves"), cloud, closed)
            found |= await self._read(cloud, closed)
        if named and await self._connection.fetchval(query("mirror", "any_rows"), cloud, [key.asset_id for key in named]):
            raise ConflictError
        return found

    async def _read(self, cloud: str, asset_ids: Sequence[str]) -> dict[AssetKey, Purged]:
        found: dict[AssetKey, Purged] = {}
        for row in await self._connection.fetch(query("mirror", "graves"), cloud, asset_ids):
            was = Asset._make(row[name] for name in Asset._fields) if row["is_known"] else None
            found[AssetKey(cloud, row["asset_id"])] = Purged(row["revision"], was)
        return found


def _columns_of(keys: Collection[AssetKey]) -> list[list[str]]:
    return [[key.cloud for key in keys], [key.asset_id for key in keys]]
