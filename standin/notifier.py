"""Notifications on their way: signed, posted, tried again as Cloudinary does; on demand lost, doubled, late or out of order."""

import asyncio
import math
import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Self

import aiohttp

from standin.channel import Channel
from standin.faults import Faults
from standin.options import Options
from standin.signing import sign
from standin.store import Store
from standin.triggers import Target, Triggers

_SCHEMA = """
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uri TEXT NOT NULL,
    body BLOB NOT NULL,
    place REAL NOT NULL,            -- in the order of sending
    due REAL NOT NULL,              -- by this machine's clock, seconds since 1970
    tries INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS deliveries_by_place ON deliveries (place);
"""
_AT_ONCE = 16
_BATCH = 256  # deliveries that are read at a time
_PAUSES = (3, 6, 9)  # before each further try, in units of `retry_unit`
_HOLD = 0.1  # seconds without a new notification, after which one that is to be sent behind later ones waits no more


class Notifier:
    """A context manager: delivers while it is entered, and what is left when it is entered the next time.

    `triggers` and `channel` are its own. `counts`: sent, delivered, refused (tries), given_up, lost, doubled; since the start.
    Deliveries are due by this machine's clock; the stand-in's own, which may stand still, is only in the signatures.
    """

    def __init__(self, store: Store, options: Options, faults: Faults) -> None:
        self.triggers = Triggers(store, options)
        self.channel = Channel(store, options)
        self.counts: Counter[str] = Counter()
        self._store = store
        self._options = options
        self._faults = faults
        store.connection.executescript(_SCHEMA)
        row = store.connection.execute("SELECT coalesce(max(place), 0) FROM deliveries").fetchone()
        self._places = math.ceil(max(row[0], self.channel.last_place()))
        self._last_sent = -math.inf
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._dispatching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=self._options.delivery_timeout),
            headers={"Content-Type": "application/json", "User-Agent": "Cloudinary stand-in"},
        )
        self._dispatching = asyncio.create_task(self._dispatch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.channel.close()
        tasks = [task for task in (self._dispatching, *self._under_way.values()) if task]
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()
        for result in results:
            if isinstance(result, Exception):  # a bug, which left deliveries behind
                raise result

    def send(self, notification: Mapping[str, Any], *, notification_url: str | None = None, batch_id: str | None = None) -> None:
        """Queue a notification for whom it concerns, as part of the caller's transaction if there is one.

        `notification_url` and `batch_id` are the call's own, if it had any.
        """
        signed = {**notification, "signature_key": self._options.key}
        with self._store.transaction():
            for target in self.triggers.targets(signed, notification_url):
                copies = self._faults.copies()
                self.counts.update(sent=1, lost=copies == 0, doubled=copies > 1)
                for _ in range(copies):
                    self._queue(target, batch_id or secrets.token_hex(32))
        self._last_sent = time.monotonic()
        self._wake.set()

    async def drained(self, timeout: float = 30) -> None:  # noqa: ASYNC109  # callers think of it as a property of the wait
        """Return once no delivery is left to try, those to channels apart; raises `TimeoutError`."""
        async with asyncio.timeout(timeout):
            while self.queued():
                self._progress.clear()
                await self._progress.wait()

    def queued(self) -> int:
        """How many deliveries are left to try, or to try again."""
        count: int = self._store.connection.execute("SELECT count(*) FROM deliveries").fetchone()[0]
        return count

    def _queue(self, target: Target, batch_id: str) -> None:
        self._places += 1
        place, late = self._places + self._faults.displacement(), self._faults.lateness()
        if target.uri.startswith("poll://"):
            self.channel.put(target.uri.removeprefix("poll://"), batch_id, target.body, place, late)
            return
        self._store.connection.execute(
            "INSERT INTO deliveries (uri, body, place, due) VALUES (?, ?, ?, ?)",
            (target.uri, target.body, place, time.time() + late),
        )

    async def _dispatch(self) -> None:
        while True:
            self._wake.clear()
            now, quiet_in = time.time(), self._last_sent + _HOLD - time.monotonic()
            due = self._due(now, held=quiet_in > 0)
            for row in due:
                await self._slots.acquire()
                task = asyncio.create_task(self._deliver(row))
                self._under_way[row["id"]] = task
                task.add_done_callback(partial(self._settle, row["id"]))
            if due:
                continue
            try:
                async with asyncio.timeout(self._until_next(now, quiet_in)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _due(self, now: float, *, held: bool) -> list[sqlite3.Row]:
        """Read what can be sent, in order; `held`: without what is to be sent behind notifications that may still come."""
        rows = self._store.connection.execute(
            "SELECT id, uri, body, tries FROM deliveries WHERE due <= ? AND place <= ? ORDER BY place LIMIT ?",
            (now, self._places if held else math.inf, _BATCH + len(self._under_way)),
        )
        return [row for row in rows if row["id"] not in self._under_way]

    def _until_next(self, now: float, quiet_in: float) -> float | None:
        """Seconds from `now` until there may be something to send; None when there is nothing to wait for."""
        (due,) = self._store.connection.execute("SELECT min(due) FROM deliveries WHERE due > ?", (now,)).fetchone()
        waits = [] if due is None else [due - now]
        if quiet_in > 0:
            waits.append(quiet_in)
        return min(waits, default=None)

    async def _deliver(self, row: sqlite3.Row) -> None:
        delivered = await self._post(row["uri"], row["body"])
        tries = row["tries"] + 1
        with self._store.transaction() as connection:
            if delivered or tries > len(_PAUSES):
                self.counts["delivered" if delivered else "given_up"] += 1
                connection.execute("DELETE FROM deliveries WHERE id = ?", (row["id"],))
            else:
                due = time.time() + _PAUSES[tries - 1] * self._options.retry_unit
                connection.execute("UPDATE deliveries SET tries = ?, due = ? WHERE id = ?", (tries, due, row["id"]))
        self.counts["refused"] += not delivered

    async def _post(self, uri: str, body: bytes) -> bool:
        """Post it, signed afresh; 200 alone counts as delivered."""
        timestamp = str(int(self._options.clock()))
        headers = {"X-Cld-Timestamp": timestamp, "X-Cld-Signature": sign(body, timestamp, self._options.secret)}
        try:
            async with self._session.post(uri, data=body, headers=headers, allow_redirects=False) as response:
                await response.read()
                return response.status == HTTPStatus.OK
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return False

    def _settle(self, delivery: int, _done: asyncio.Task[None]) -> None:
        del self._under_way[delivery]
        self._slots.release()
        self._progress.set()
        self._wake.set()
