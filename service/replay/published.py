"""What subscribers have last been told of each asset: the revisions that a lost table has forgotten."""

import hashlib
from dataclasses import dataclass

import orjson

from schemas.asset import Asset, AssetKey
from schemas.event import state_of
from service.database import Connection
from service.kafka import partition_bounds
from service.settings import Settings
from service.sql import query
from service.topic import read_topic


@dataclass(frozen=True, slots=True)
class Published:
    """The last revision of an asset that is out, and its state's digest."""

    revision: int
    digest: bytes

    def tells(self, asset: Asset) -> bool:
        """Whether it is what an asset of the same revision would be told as."""
        return self.digest == _digest(state_of(asset))


async def read_published(settings: Settings, live: Connection) -> dict[AssetKey, Published]:
    """Read `media.assets` to its end, and what is in the outbox on its way there."""
    told: dict[AssetKey, Published] = {}
    bounds = await partition_bounds(settings, settings.assets_topic)
    async for records in read_topic(settings, settings.assets_topic, bounds):
        for record in records:
            key = AssetKey(dict(record.headers)["cloud"].decode(), record.key.decode())
            if record.value is None:
                told.pop(key, None)
            else:
                told[key] = Published(orjson.loads(record.value)["revision"], _digest(record.value))
    for row in await live.fetch(query("scratch", "pending")):
        told[AssetKey(row["cloud"], row["subject"])] = Published(row["revision"], _digest(row["state"] or b"null"))
    return told


def _digest(state: bytes) -> bytes:
    """Digest a state whatever the order of its members, which PostgreSQL changes."""
    canonical = orjson.dumps(orjson.loads(state), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha1(canonical, usedforsecurity=False).digest()
