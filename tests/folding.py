"""The mirror without its parts: batches folded into a dictionary instead of a table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import orjson

from handlers.folders import folders_after
from schemas.asset import Asset, AssetKey
from schemas.clock import Clock
from schemas.event import Cause, MediaEvent, purge_event
from schemas.folder import FolderEvent
from schemas.json import clean_text, parse_object
from schemas.refetch import Refetch
from service.mirror.book import Purged
from service.mirror.entry import Entry, understand
from service.mirror.fold import Folded, fold
from tests.bodies import BEGINNING, CLOUD, envelope


@dataclass
class FakeRecord:
    """What the mirror needs of a Kafka record."""

    value: bytes
    offset: int
    headers: tuple[tuple[str, bytes], ...]
    topic: str = "notifications"
    partition: int = 0
    key: bytes | None = None
    timestamp: int = 0


@dataclass
class MemoryMirror:
    """Holds what PostgreSQL would hold, and gives a batch all of it to fold into."""

    cloud: str = CLOUD
    rows: dict[AssetKey, Asset] = field(default_factory=dict)
    folder_events: list[FolderEvent] = field(default_factory=list)
    refetches: list[Refetch] = field(default_factory=list)
    purged: dict[AssetKey, Purged] = field(default_factory=dict)
    events: list[MediaEvent] = field(default_factory=list)
    offsets: "count[int]" = field(default_factory=count)

    def apply(self, bodies: Iterable[dict[str, Any] | bytes], *, signed_at: int | None = None) -> Folded:
        """Fold one batch of bodies."""
        entries = [understand(self._record(body, signed_at)) for body in bodies]
        folded = self._fold(entries)
        for key in folded.adopted:
            del self.rows[key]
        self.rows |= {asset.key: asset for asset in folded.assets}
        self.purged |= {key: Purged(revision) for key, revision in folded.gone.items()}
        self.purged = {key: purged for key, purged in self.purged.items() if key not in self.rows}
        self.events += folded.events
        self.folder_events = sorted(
            [*self.folder_events, *(event for _, event in folded.folder_events)], key=lambda one: one.clock
        )
        self.refetches += folded.refetches
        return folded

    def delete_by_sql(self, key: AssetKey) -> None:
        """Delete a row as anybody may, which the trigger tells of."""
        was = self.rows.pop(key)
        self.purged[key] = Purged(was.revision + 1, was)
        self.events.append(purge_event(was, BEGINNING, Cause("sql", None, "", -1, -1)))

    def _fold(self, entries: Sequence[Entry]) -> Folded:
        """Fold until all is known of what the batch brings back."""
        looked_for: set[AssetKey] = set()
        while True:
            purged = {key: self.purged[key] for key in looked_for if key in self.purged}
            folded = fold(entries, self.rows.values(), {self.cloud: self.folder_events}, purged)
            born = {AssetKey(cloud, asset_id) for cloud, asset_ids in folded.born.items() for asset_id in asset_ids}
            if not born - looked_for & self.purged.keys():
                return folded
            looked_for |= born

    def apply_in_batches(self, bodies: Sequence[dict[str, Any]], size: int, *, signed_at: int | None = None) -> None:
        """Fold bodies in batches of `size`."""
        for start in range(0, len(bodies), size):
            self.apply(bodies[start : start + size], signed_at=signed_at)

    def asset(self, asset_id: str) -> Asset:
        """The row of an asset."""
        return self.rows[AssetKey(self.cloud, asset_id)]

    @property
    def folders(self) -> dict[str, Clock]:
        """The folders that there are."""
        return folders_after(self.folder_events)

    def state(self) -> dict[AssetKey, Asset]:
        """The rows, but for `revision`, which counts arrivals."""
        return {key: asset._replace(revision=0) for key, asset in self.rows.items()}

    def _record(self, body: dict[str, Any] | bytes, signed_at: int | None) -> FakeRecord:
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        kind = clean_text(str(parse_object(raw).get("notification_type", "")))
        return FakeRecord(raw, next(self.offsets), tuple(envelope(raw, kind, signed_at=signed_at, cloud=self.cloud).to_headers()))
