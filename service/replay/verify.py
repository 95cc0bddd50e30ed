"""Does the mirror equal what the log says?"""

from collections.abc import Callable
from dataclasses import dataclass, field

from service.database import Pool
from service.errors import MediamirrorError
from service.kafka import partition_bounds
from service.replay.compare import Difference, deleted_by_sql, differences
from service.replay.scratch import Progress, applied_positions, records_between, scratch
from service.settings import Settings
from service.sql import query


class LostTablesError(MediamirrorError):
    """The table {table} is not there. `mediamirror rebuild --swap` makes it again from the log."""


@dataclass
class Verdict:
    """What was compared, and found."""

    read: int = 0  # notifications
    in_flight: int = 0  # on the log, but not applied yet: no difference
    begins: dict[int, int] = field(default_factory=dict)  # partitions whose first records retention has removed
    failed: int = 0  # notifications that can't be processed: dead letters of the mirror, and no difference
    deleted: int = 0  # rows deleted by SQL: no difference
    found: int = 0


async def verify(
    settings: Settings, live: Pool, tell: Callable[[Difference], None], *, progress: Progress, expect: Callable[[int], None]
) -> Verdict:
    """Fold the log aside, up to the very notification that the mirror has applied last, and compare every row.

    `tell` is called for each difference, `expect` with how many notifications there are to read. The mirror goes on meanwhile: it
    is compared as it was at one moment.
    """
    verdict = Verdict()

    def count(read: int) -> None:
        verdict.read += read
        progress(read)

    async with scratch(settings, live) as other:
        verdict.begins = {partition: offset for partition, offset in other.begins.items() if offset > 0}
        async with live.acquire() as ours:
            applied = await applied_positions(ours, other)
        expect(records_between(other.positions, applied))
        await other.fold(applied, count)
        async with live.acquire() as ours, ours.transaction(isolation="repeatable_read", readonly=True):
            # the first statement fixes the moment
            at = await applied_positions(ours, other)
            if await ours.fetchval(query("scratch", "is_lost")):
                raise LostTablesError(table="media_assets")
            await other.fold(at, count)
            verdict.failed = other.failed
            async with other.pool.acquire() as theirs, theirs.transaction():
                deleted = await deleted_by_sql(ours)
                verdict.deleted = len(deleted)
                async for difference in differences(ours, theirs, deleted):
                    verdict.found += 1
                    tell(difference)
    bounds = await partition_bounds(settings, settings.notifications_topic)
    verdict.in_flight = sum(latest for _, latest in bounds.values()) - sum(position.offset for position in at.values())
    return verdict
