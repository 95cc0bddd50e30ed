"""Applies records in the one way that there is, whether they come now or are read again."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import structlog

from service.mirror.entry import Check, Entry, LogLine, Record, failed, is_large, understand, understand_in_pieces, unreadable
from service.mirror.patience import patiently
from service.mirror.store import Advance, FencedError, Position, Store, after

log = structlog.get_logger(__name__)

# Of one transaction, beside its number of records.
_MOST_BYTES = 4 * 1024**2
_MOST_STATEMENTS = 2_000


class Run(NamedTuple):
    """Records of one partition, in their order."""

    partition: int
    records: Sequence[Record]
    begins: Position  # no later than the first record, or within it
    until: Position | None = None  # within the last record, of which the rest is left out


Applied: TypeAlias = Callable[[Sequence[Entry], Sequence[Advance], Sequence[LogLine]], None]


class Graveyard(Protocol):
    """Where records are put that can't be processed."""

    async def write(self, failed: Sequence[Entry]) -> None:
        """Return once they are safe there."""


class Applier:
    """Applies runs of records, each transaction of bounded size: small records together, large ones alone and in pieces.

    `check`: raises what is wrong with a record, which then can't be processed. `dead_letters`: where such records go. Without it,
    the records have been applied before: of what fails, no more is said than to the caller, and the offsets stay as they are.
    `choose`: gives what is meant of an entry, or None. `turned`: called whenever something is tried.
    """

    def __init__(
        self,
        store: Store,
        *,
        check: Check | None = None,
        dead_letters: Graveyard | None = None,
        choose: Callable[[Entry], Entry | None] = lambda entry: entry,
        turned: Callable[[], None] = lambda: None,
        log_unchanged: bool = True,
    ) -> None:
        self._store = store
        self._check = check
        self._dead_letters = dead_letters
        self._choose = choose
        self._turned = turned
        self._log_unchanged = log_unchanged
        self._one_large = asyncio.Lock()  # each takes many times its size while it is read

    async def apply(self, runs: Sequence[Run], applied: Applied) -> None:
        """Apply records, however long PostgreSQL is away; one that makes its transaction fail fails alone.

        `applied` is told of each transaction: of the entries that were meant, how partitions have moved, and the lines.
        Raises `FencedError`, and what `dead_letters` and `applied` raise.
        """
        work = _Work(applied, {run.partition: run.begins for run in runs})
        entries: list[Entry] = []
        size = statements = 0
        for run in runs:
            for record in run.records:
                if is_large(record):
                    await self._apply_together(entries, work)
                    entries, size, statements = [], 0, 0
                    await self._apply_in_pieces(record, run, work)
                    continue
                entry = understand(record, self._check)
                entries.append(entry)
                size += len(record.value or b"")
                statements += len(entry.statements)
                if size >= _MOST_BYTES or statements >= _MOST_STATEMENTS:
                    await self._apply_together(entries, work)
                    entries, size, statements = [], 0, 0
        await self._apply_together(entries, work)

    async def _apply_in_pieces(self, record: Record, run: Run, work: "_Work") -> None:
        async with self._one_large:
            pieces = understand_in_pieces(record, self._check)
            while (piece := await asyncio.to_thread(_next, pieces)) is not None:
                if run.until is not None and Position(record.offset, piece.place) >= run.until:
                    return
                if after(piece) > work.stands[run.partition]:  # else it was applied before
                    await self._apply_together([piece], work)
                if work.stands[run.partition].offset > record.offset:
                    return

    async def _apply_together(self, entries: Sequence[Entry], work: "_Work") -> None:
        """Apply entries in one transaction, or each in its own if that fails."""
        if not entries:
            return
        await self._bury(entries)
        if (error := await self._write(entries, work)) is None:
            return
        log.warning("batch failed, its records are applied one by one", notifications=len(entries), reason=repr(error))
        for entry in entries:
            await self._apply_alone(entry, work)

    async def _apply_alone(self, entry: Entry, work: "_Work") -> None:
        error = await self._write([entry], work)
        if error is not None and entry.failure is None:
            entry = failed(entry, error, attempts=2)
            await self._bury([entry])
            error = await self._write([entry], work)
        if error is not None and (error := await self._write([unreadable(entry)], work)) is not None:
            raise error

    async def _bury(self, entries: Sequence[Entry]) -> None:
        failures = [entry for entry in entries if entry.failure]
        for entry in failures:
            told = {"partition": entry.record.partition, "offset": entry.record.offset, "reason": entry.reason}
            if self._dead_letters is None:
                log.warning("notification failed", **told)
            elif entry.failure and entry.failure.traceback:
                log.error("notification failed", **told, exception=entry.failure.traceback)
            else:
                log.error("notification failed", **told)
        if failures and self._dead_letters is not None:
            await self._dead_letters.write(failures)

    async def _write(self, entries: Sequence[Entry], work: "_Work") -> Exception | None:
        """Write entries in one transaction; gives the error when it lies with one of them, and nothing was written."""
        lasts = {entry.record.partition: entry for entry in entries}
        moved = {partition: after(entry) for partition, entry in lasts.items()}
        advances = [Advance(partition, work.stands[partition], position) for partition, position in moved.items()]
        meant = [entry for entry in map(self._choose, entries) if entry is not None]
        try:
            lines = await self._write_patiently(meant, advances)
        except FencedError:
            raise
        except Exception as error:  # noqa: BLE001  # no outage
            return error
        work.stands.update(moved)
        work.applied(meant, advances, lines)
        return None

    async def _write_patiently(self, entries: Sequence[Entry], advances: Sequence[Advance]) -> Sequence[LogLine]:
        if self._dead_letters is None:
            advances = ()
            entries = [entry for entry in entries if entry.failure is None]
            if not entries:
                return ()
        async for attempt in patiently():
            self._turned()
            with attempt:
                return await self._store.apply(entries, advances, log_unchanged=self._log_unchanged)
        raise AssertionError  # without a limit of attempts the loop ends by returning or raising


class _Work(NamedTuple):
    """What is under way."""

    applied: Applied
    stands: dict[int, Position]  # by partition, behind what was applied


def _next(pieces: Iterator[Entry]) -> Entry | None:
    return next(pieces, None)
