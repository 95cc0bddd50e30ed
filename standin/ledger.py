"""What all of an account's operations need: its clock, its assets, and a way to tell of what changed."""

import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from standin import cursor
from standin.asset import Asset, Content, Name
from standin.errors import BadRequestError, NotFoundError
from standin.options import Options
from standin.store import Store

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSERT = """
INSERT INTO assets (seq, asset_id, resource_type, type, public_id, alive, created_at, uploaded_at, asset_folder, digest, data)
VALUES (:seq, :asset_id, :resource_type, :type, :public_id, :alive, :created_at, :uploaded_at, :asset_folder, :digest, :data)
ON CONFLICT (seq) DO UPDATE SET (type, public_id, alive, uploaded_at, asset_folder, digest, data)
    = (excluded.type, excluded.public_id, excluded.alive, excluded.uploaded_at, excluded.asset_folder, excluded.digest,
       excluded.data)
RETURNING seq
"""


class Notifier(Protocol):
    """Who brings notifications to the triggers."""

    def send(self, notification: dict[str, Any], *, notification_url: str | None = None, batch_id: str | None = None) -> None:
        """Queue it, within the transaction that is open. A call's own URL and batch id go with it."""


class Ledger:
    """The ground on which the rooms of the account stand. Every operation is one transaction."""

    def __init__(self, store: Store, options: Options, notifier: Notifier) -> None:
        self.store = store
        self.options = options
        self.notifier = notifier
        self.cloud = options.cloud
        self._told_at = int(store.get("told_at") or 0)

    # Time

    def now(self) -> int:
        """Whole seconds since 1970, by the stand-in's clock."""
        return int(self.options.clock())

    def _next_moment(self) -> str:
        """Give a time for `triggered_at`, later than all before."""
        self._told_at = max(int(self.options.clock() * 1_000_000), self._told_at + 1)
        self.store.put("told_at", self._told_at)
        return f"{_EPOCH + timedelta(microseconds=self._told_at):%Y-%m-%dT%H:%M:%S.%fZ}"

    def fresh_id(self) -> str:
        """Give an id that nothing else has."""
        return secrets.token_hex(16)

    def timestamp(self) -> str:
        """Give the time as the field `timestamp` of some bodies does."""
        return f"{datetime.fromtimestamp(self.now(), UTC):%Y-%m-%dT%H:%M:%S}+00:00"

    # Pages

    def _cursor(self, *place: str | float | None) -> str:
        """Make a cursor of the last row's key, dated."""
        return cursor.encode((*place, self.now()))

    def _place(self, text: str) -> list[str | int | float | None]:
        """Read a cursor of a key of two parts; raises `BadRequestError`, also when it has expired."""
        *place, made_at = cursor.decode(text, 3)
        lifetime = self.options.dialect.cursor_seconds
        if not isinstance(made_at, int) or (lifetime and self.now() - made_at > lifetime):
            raise BadRequestError("Invalid value for parameter next_cursor")
        return place

    # Telling

    def tell(
        self,
        notification_type: str,
        said: Mapping[str, Any],
        *,
        notification_url: str | None = None,
        batch_id: str | None = None,
    ) -> None:
        """Send a notification of what was done in the transaction that is open."""
        context = {"triggered_at": self._next_moment(), "triggered_by": {"source": "api", "id": self.options.key}}
        notification = {"notification_type": notification_type, **said, "notification_context": context}
        notification["signature_key"] = self.options.key
        self.notifier.send(notification, notification_url=notification_url or None, batch_id=batch_id or None)

    # Assets

    def find(self, name: Name) -> Asset | None:
        """Give the living asset of that name."""
        row = self.store.connection.execute(
            "SELECT * FROM assets WHERE resource_type = ? AND type = ? AND public_id = ? AND alive", name
        ).fetchone()
        return None if row is None else Asset.from_row(row)

    def find_deleted(self, name: Name) -> Asset | None:
        """Give the asset that had that name last, is deleted, and has a backup."""
        row = self.store.connection.execute(
            "SELECT * FROM assets WHERE resource_type = ? AND type = ? AND public_id = ? AND NOT alive ORDER BY seq DESC LIMIT 1",
            name,
        ).fetchone()
        return None if row is None else Asset.from_row(row)

    def find_by_id(self, asset_id: str) -> Asset | None:
        """Give the asset of that id, alive or with a backup."""
        row = self.store.connection.execute("SELECT * FROM assets WHERE asset_id = ?", (asset_id,)).fetchone()
        return None if row is None else Asset.from_row(row)

    def get(self, public_id: str, resource_type: str = "image", type: str = "upload") -> Asset:
        """Give the living asset of that name; raises `NotFoundError`."""
        asset = self.find(Name(resource_type, type, public_id))
        if asset is None:
            raise NotFoundError(f"Resource not found - {public_id}")
        return asset

    def save(self, asset: Asset) -> None:
        """Write it to the store."""
        (seq,) = self.store.connection.execute(_INSERT, asset.to_row()).fetchone()
        if asset.seq is not None:
            self.store.connection.execute("DELETE FROM asset_tags WHERE seq = ?", (seq,))
        asset.seq = seq
        if asset.tags:
            tags = ((tag, seq) for tag in set(asset.tags))
            self.store.connection.executemany("INSERT INTO asset_tags (tag, seq) VALUES (?, ?)", tags)

    def erase(self, asset: Asset) -> None:
        """Take it, and what is backed up of it, out of the store."""
        backups = self.backups(asset)
        self.store.connection.execute("DELETE FROM backups WHERE asset_id = ?", (asset.asset_id,))
        self.store.connection.execute("DELETE FROM assets WHERE seq = ?", (asset.seq,))
        self.forget(content.digest for content in (asset.content, *backups))

    # Contents

    def back_up(self, asset: Asset) -> None:
        """Keep the asset's content as a backup."""
        content = asset.content
        self.store.connection.execute(
            "INSERT OR REPLACE INTO backups (asset_id, version_id, digest, data) VALUES (?, ?, ?, ?)",
            (asset.asset_id, content.version_id, content.digest, content.to_json()),
        )

    def backups(self, asset: Asset) -> list[Content]:
        """Give the contents that are backed up, oldest first."""
        rows = self.store.connection.execute("SELECT data FROM backups WHERE asset_id = ?", (asset.asset_id,))
        return sorted((Content.from_json(row["data"]) for row in rows), key=lambda content: content.version)

    def next_version(self, before: Asset | None) -> int:
        """Give the version of a content that comes now: the second, and no less than that of the one before, or more."""
        more = 0 if self.options.dialect.shared_versions else 1
        return max(self.now(), before.content.version + more if before else 0)

    def keep(self, digest: str, content: bytes) -> None:
        """Store bytes by their digest."""
        self.store.connection.execute("INSERT OR IGNORE INTO contents (digest, bytes) VALUES (?, ?)", (digest, content))

    def forget(self, digests: Iterable[str | None]) -> None:
        """Drop the bytes that no asset and no backup has any more."""
        self.store.connection.executemany(
            "DELETE FROM contents WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM assets WHERE digest = ?1)"
            " AND NOT EXISTS (SELECT 1 FROM backups WHERE digest = ?1)",
            ((digest,) for digest in digests if digest),
        )

    def content_of(self, asset: Asset) -> bytes | None:
        """Give the stored bytes; of a placeholder or a seeded asset there are none."""
        row = self.store.connection.execute("SELECT bytes FROM contents WHERE digest = ?", (asset.content.digest,)).fetchone()
        return None if row is None else row["bytes"]
