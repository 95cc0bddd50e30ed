"""Answers to the mirror's questions: readings of the assets of which no notification tells all."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import structlog

from service.cloudinary.announcer import Announcer, Told
from service.cloudinary.client import Account
from service.cloudinary.reading import BATCH, Batches, Found, Reader, explicit
from service.database import Pool
from service.reconcile.difference import is_gone
from service.reconcile.sweep import SETTLING_SECONDS
from service.sql import query
from service.telemetry import Metrics

log = structlog.get_logger(__name__)

_BY = "refetch"
# Assets that are asked for as well, when nothing of a batch is there: an answer that has none of them either is none.
_WITNESSES = 3


class Refetcher:
    """Answers the questions of one cloud in `media_refetch`.

    A question is old enough when the answer's clock is sure to lie after the notification that raised it.
    """

    def __init__(
        self, account: Account, pool: Pool, announcer: Announcer, metrics: Metrics, *, settling: float = SETTLING_SECONDS
    ) -> None:
        self._account = account
        self._pool = pool
        self._announcer = announcer
        self._metrics = metrics
        self._settling = settling

    async def turn(self) -> int:
        """Answer up to a batch of questions; gives how many, 0 when there are none to answer yet.

        Raises `CloudinaryError` or `NotDurableError`, and the questions stay. One that is asked again meanwhile stays, too.
        """
        cloud = self._account.name
        rows = await self._pool.fetch(query("reconciliation", "questions"), cloud, self._settling, BATCH)
        if not rows:
            return 0
        asked: dict[str, datetime] = {row["asset_id"]: row["requested_at"] for row in rows}
        reader = Reader(self._account)
        for keys, found in await self._read(reader, list(asked)):
            if found.refused is not None:
                # it would be refused again and again; what there really is, a sweep finds
                log.error("questions can't be asked, and are dropped", cloud=cloud, assets=keys, reason=str(found.refused))
            told = await asyncio.gather(*(self._answer(reader, key, found) for key in keys), return_exceptions=True)
            for one in told:
                if isinstance(one, BaseException):
                    raise one
            await self._pool.execute(query("reconciliation", "answered"), cloud, keys, [asked[key] for key in keys])
            for kind in Told:
                self._metrics.refetches.labels(cloud, kind).inc(told.count(kind))
            log.info("questions answered", cloud=cloud, snapshots=told.count(Told.SNAPSHOT), missing=told.count(Told.MISSING))
        return len(rows)

    async def _read(self, reader: Reader, keys: Sequence[str]) -> Batches:
        answers: Batches = []
        for asked, found in await reader.by_keys(keys):
            about = (self._account.name, asked, _WITNESSES)
            doubtful = not found.readings and found.refused is None and asked[0].count("/") <= 1
            rows = await self._pool.fetch(query("reconciliation", "alive_besides"), *about) if doubtful else ()
            witnesses = [row["asset_id"] for row in rows]
            if witnesses:
                answers += await reader.by_ids(asked, witnesses)
            else:
                answers.append((asked, found))
        return answers

    async def _answer(self, reader: Reader, key: str, found: Found) -> Told | None:
        if found.refused is not None:
            return None
        if (listed := found.readings.get(key)) is not None:
            if (reading := await reader.named(listed)) is None:
                return None
            reading = explicit(reading)
            await self._announcer.announce(self._account, Told.SNAPSHOT, reading.resource, reading.read_at, _BY)
            return Told.MISSING if is_gone(reading) else Told.SNAPSHOT
        # by its key alone: what it was called then may have become another's name
        await self._announcer.announce(self._account, Told.MISSING, {"asset_id": key}, found.read_at, _BY)
        return Told.MISSING
