"""`poll://` channels: notifications that wait until they are fetched and acknowledged."""

import asyncio
import base64
import json
import secrets
import time
from collections.abc import Sequence
from typing import Any

from standin.errors import BadRequestError
from standin.options import Options
from standin.signing import sign
from standin.store import Store

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    channel TEXT NOT NULL,          -- *: addressed by its batch
    batch_id TEXT NOT NULL,
    body BLOB NOT NULL,
    place REAL NOT NULL,            -- in the order of sending
    visible_at REAL NOT NULL,       -- by this machine's clock, seconds since 1970
    receipt TEXT                    -- of the last time it was fetched
);
CREATE INDEX IF NOT EXISTS messages_by_channel ON messages (channel, place);
CREATE UNIQUE INDEX IF NOT EXISTS messages_by_receipt ON messages (receipt) WHERE receipt IS NOT NULL;
"""
_MOST = 100  # messages, or receipts, in one call


class Channel:
    """All channels of an account. What is fetched and not acknowledged comes again after its visibility timeout.

    Times of waiting go by this machine's clock; the stand-in's own, which may stand still, is only in the signatures.
    """

    def __init__(self, store: Store, options: Options) -> None:
        self._store = store
        self._options = options
        self._arrival = asyncio.Event()
        self._closing = False
        store.connection.executescript(_SCHEMA)

    def put(self, channel: str, batch_id: str, body: bytes, place: float, late: float = 0.0) -> None:
        """Queue a notification, to be seen `late` seconds from now."""
        with self._store.transaction() as connection:
            connection.execute(
                "INSERT INTO messages (channel, batch_id, body, place, visible_at) VALUES (?, ?, ?, ?, ?)",
                (channel, batch_id, body, place, time.time() + late),
            )
        self._arrival.set()

    async def receive(
        self,
        *,
        channel: str | None = None,
        batch_id: str | None = None,
        max_messages: int = 10,
        wait_seconds: float = 20,
        visibility_timeout: float = 30,
    ) -> dict[str, Any]:
        """Give `{"messages": […]}`, or `{}` if none has come within `wait_seconds`."""
        if bool(channel) == bool(batch_id):
            raise BadRequestError("Supply exactly one of channel and batch_id")
        _check("max_messages", max_messages, 1, _MOST)
        _check("wait_seconds", wait_seconds, 0, 60)
        _check("visibility_timeout", visibility_timeout, 1, 600)
        deadline = time.time() + wait_seconds
        while True:
            self._arrival.clear()
            if messages := self._claim(channel, batch_id, max_messages, visibility_timeout):
                return {"messages": messages}
            left = deadline - time.time()
            if left <= 0 or self._closing:
                return {}
            try:
                async with asyncio.timeout(min(left, self._until_next(channel, batch_id))):
                    await self._arrival.wait()
            except TimeoutError:
                continue

    def ack(self, receipt_handles: Sequence[str]) -> dict[str, Any]:
        """Remove messages; the receipt of a message that has been fetched again since is not good any more."""
        if not 1 <= len(receipt_handles) <= _MOST:
            raise BadRequestError(f"Supply 1 to {_MOST} receipt_handles")
        results = []
        with self._store.transaction() as connection:
            for handle in receipt_handles:
                removed = connection.execute("DELETE FROM messages WHERE receipt = ?", (handle,)).rowcount
                results.append({"receipt_handle": handle, "status": "acked" if removed else "not_found"})
        return {"results": results}

    def waiting(self) -> int:
        """How many messages are not acknowledged."""
        count: int = self._store.connection.execute("SELECT count(*) FROM messages").fetchone()[0]
        return count

    def last_place(self) -> float:
        """The highest place that is taken."""
        place: float = self._store.connection.execute("SELECT coalesce(max(place), 0) FROM messages").fetchone()[0]
        return place

    def close(self) -> None:
        """Answer those who wait: there is nothing."""
        self._closing = True
        self._arrival.set()

    def _claim(self, channel: str | None, batch_id: str | None, limit: int, visibility: float) -> list[dict[str, Any]]:
        now = time.time()
        timestamp = str(int(self._options.clock()))
        messages = []
        with self._store.transaction() as connection:
            rows = connection.execute(
                "SELECT id, batch_id, body FROM messages"
                " WHERE channel = ? AND batch_id = coalesce(?, batch_id) AND visible_at <= ? ORDER BY place LIMIT ?",
                (channel or "*", batch_id, now, limit),
            ).fetchall()
            for row in rows:
                receipt = secrets.token_urlsafe(24)
                connection.execute(
                    "UPDATE messages SET visible_at = ?, receipt = ? WHERE id = ?", (now + visibility, receipt, row["id"])
                )
                messages.append(
                    {
                        "receipt_handle": receipt,
                        "batch_id": row["batch_id"],
                        "payload": json.loads(row["body"]),
                        "signed_payload": base64.urlsafe_b64encode(row["body"]).rstrip(b"=").decode(),
                        "signature": sign(row["body"], timestamp, self._options.secret),
                        "timestamp": timestamp,
                    }
                )
        return messages

    def _until_next(self, channel: str | None, batch_id: str | None) -> float:
        """Seconds until a message is seen (again)."""
        row = self._store.connection.execute(
            "SELECT min(visible_at) FROM messages WHERE channel = ? AND batch_id = coalesce(?, batch_id)",
            (channel or "*", batch_id),
        ).fetchone()
        return float("inf") if row[0] is None else max(0.0, row[0] - time.time())


def _check(name: str, value: float, least: int, most: int) -> None:
    if not least <= value <= most:
        raise BadRequestError(f"Invalid value {value} for {name}: allowed are {least} to {most}")
