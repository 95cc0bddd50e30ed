"""Where the stand-in keeps everything: one SQLite database, used from one thread."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS assets (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    asset_id TEXT NOT NULL UNIQUE,
    resource_type TEXT NOT NULL,
    type TEXT NOT NULL,
    public_id TEXT NOT NULL,
    alive INTEGER NOT NULL,         -- 0: deleted, with a backup
    created_at INTEGER NOT NULL,    -- seconds since 1970
    uploaded_at INTEGER NOT NULL,   -- seconds since 1970
    asset_folder TEXT NOT NULL,
    digest TEXT,                    -- of its content; null: it has a size, but nobody stored its bytes
    data TEXT NOT NULL              -- everything else, JSON
);
CREATE UNIQUE INDEX IF NOT EXISTS assets_name ON assets (resource_type, type, public_id) WHERE alive;
CREATE INDEX IF NOT EXISTS assets_by_type ON assets (resource_type, type, public_id, seq);
CREATE INDEX IF NOT EXISTS assets_by_public_id ON assets (resource_type, public_id, seq);
CREATE INDEX IF NOT EXISTS assets_by_creation ON assets (resource_type, created_at, seq);
CREATE INDEX IF NOT EXISTS assets_by_upload ON assets (uploaded_at, seq);
CREATE INDEX IF NOT EXISTS assets_by_folder ON assets (asset_folder, public_id, seq);
CREATE INDEX IF NOT EXISTS assets_by_digest ON assets (digest) WHERE digest IS NOT NULL;
CREATE TABLE IF NOT EXISTS asset_tags (
    tag TEXT NOT NULL,
    seq INTEGER NOT NULL REFERENCES assets ON DELETE CASCADE,
    PRIMARY KEY (tag, seq)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS asset_tags_by_asset ON asset_tags (seq);
CREATE TABLE IF NOT EXISTS backups (
    asset_id TEXT NOT NULL,
    version_id TEXT NOT NULL,
    digest TEXT,
    data TEXT NOT NULL,             -- the content as it was, JSON
    PRIMARY KEY (asset_id, version_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS backups_by_digest ON backups (digest) WHERE digest IS NOT NULL;
CREATE TABLE IF NOT EXISTS contents (digest TEXT PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS folders (path TEXT PRIMARY KEY, external_id TEXT NOT NULL, created_at INTEGER NOT NULL) WITHOUT ROWID;
"""


class Store:
    """A context manager. What a transaction wrote survives the end of the process, however it comes.

    The rooms that keep more make their own tables, through `connection`.
    """

    def __init__(self, data_dir: Path | None) -> None:
        if data_dir is not None:
            data_dir.mkdir(parents=True, exist_ok=True)
        where = ":memory:" if data_dir is None else str(data_dir / "standin.sqlite")
        self.connection = sqlite3.connect(where, isolation_level=None)
        self.connection.row_factory = sqlite3.Row
        self._depth = 0
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", "case_sensitive_like = ON"):
            self.connection.execute(f"PRAGMA {pragma}")
        self.connection.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; a transaction that is open is undone."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; one inside another is part of it."""
        if self._depth == 0:
            self.connection.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield self.connection
        except BaseException:
            self._depth -= 1
            if self._depth == 0:
                self.connection.execute("ROLLBACK")
            raise
        self._depth -= 1
        if self._depth == 0:
            self.connection.execute("COMMIT")

    def get(self, name: str) -> int | str | None:
        """Give a value that was put, or nothing."""
        row = self.connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        value: int | str | None = None if row is None else row["value"]
        return value

    def put(self, name: str, value: int | str) -> None:
        """Keep one value by name."""
        self.connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (name, value))
