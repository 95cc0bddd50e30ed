"""Notifications that the mirror had before, applied again: to the live tables, while it works."""

import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import structlog

from service.database import Connection, Pool
from service.mirror.applier import Applier
from service.mirror.entry import Check, Entry, LogLine, Outcome, Record
from service.mirror.store import Advance, Store
from service.replay.batches import each_batch, runs_of
from service.replay.subject import Subject
from service.settings import Settings
from service.topic import Ranges

log = structlog.get_logger(__name__)


class Selection:
    """Which notifications of a span are meant; each filter is off when None."""

    def __init__(self, cloud: str | None = None, subjects: Collection[Subject] | None = None, check: Check | None = None) -> None:
        self.check = check
        self._cloud = None if cloud is None else ("cloud", cloud.encode())
        self._subjects = subjects
        self._needles = [needle for subject in subjects or () for needle in subject.needles()]

    def may_be_meant(self, record: Record) -> bool:
        """Tell without reading the body."""
        if self._cloud is not None and self._cloud not in record.headers:
            return False
        value = record.value or b""
        return self._subjects is None or any(needle in value for needle in self._needles)

    def narrow(self, entry: Entry) -> Entry | None:
        """Give an entry with those of its statements that are meant, None if there are none."""
        # of one that failed, nobody can tell whom it is about
        if self._subjects is None or entry.failure is not None:
            return entry
        meant = [one for one in entry.statements if any(subject.is_meant(entry.cloud, one) for subject in self._subjects)]
        return entry._replace(statements=meant) if meant else None


@dataclass
class Summary:
    """What became of the notifications of a replay. `read` is the sum of the others."""

    read: int = 0
    applied: int = 0  # changed something
    unchanged: int = 0  # all they say was known, or they say nothing
    failed: int = 0  # could not be processed
    skipped: int = 0  # about other clouds or assets
    complete: bool = False  # came to its end


class Replay:
    """Applies notifications again, as the mirror did, but for the offsets and what tells that nothing has changed.

    What fails is counted and logged, and is no dead letter once more. With `rehearsing`, each batch is taken back: its lines tell
    what it would change in the mirror as it is.
    """

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        selection: Selection,
        *,
        rehearsing: bool = False,
        tell: Callable[[LogLine], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._topic = settings.notifications_topic
        self._pool = pool
        # as much of a pool as applying takes
        store = Store(cast("Pool", _TakenBack(pool)) if rehearsing else pool, self._topic)
        self._applier = Applier(store, check=selection.check, choose=selection.narrow, log_unchanged=False)
        self._selection = selection
        self._tell = tell
        self._started = time.perf_counter()
        self.summary = Summary()

    @property
    def seconds(self) -> float:
        """How long it has been at work."""
        return time.perf_counter() - self._started

    async def run(self, ranges: Ranges, progress: Callable[[int], None]) -> None:
        """Replay ranges of the log; `progress` is told how many notifications were read. PostgreSQL's outages are waited out.

        Raises `KafkaUnreachableError`. Cut short, it has done what `summary` says, and can be begun anew.
        """
        await Store(self._pool, self._topic).prepare_log()

        async def replay(records: Sequence[Record]) -> None:
            await self._replay(records)
            progress(len(records))

        await each_batch(self._settings, ranges, replay)
        self.summary.complete = True

    async def _replay(self, records: Sequence[Record]) -> None:
        meant: set[tuple[int, int]] = set()
        changed: set[tuple[int, int]] = set()
        failed: set[tuple[int, int]] = set()

        def applied(entries: Sequence[Entry], _advances: Sequence[Advance], lines: Sequence[LogLine]) -> None:
            for entry in entries:
                (meant if entry.failure is None else failed).add((entry.record.partition, entry.record.offset))
            for line in lines:
                if line.outcome is Outcome.APPLIED:
                    changed.add((line.kafka_partition, line.kafka_offset))
                    self._tell(line)

        await self._applier.apply(runs_of([record for record in records if self._selection.may_be_meant(record)]), applied)
        # of a large record, some may have been applied before it failed
        self.summary.read += len(records)
        self.summary.skipped += len(records) - len(meant | failed)
        self.summary.failed += len(failed)
        self.summary.applied += len(changed - failed)
        self.summary.unchanged += len(meant - changed - failed)


class _TakenBack:
    """Gives connections whose transactions come to nothing."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        async with self._pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                yield connection  # a transaction within this one is but a savepoint
            finally:
                if not connection.is_closed():
                    await transaction.rollback()
