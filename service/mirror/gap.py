"""An operator's word that a partition is to be read from somewhere else than where the mirror stopped."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from service.database import Pool
from service.errors import MediamirrorError
from service.kafka import describe_cluster, partition_bounds
from service.mirror.store import Store
from service.settings import Settings

log = structlog.get_logger(__name__)


class BadGapError(MediamirrorError):
    """--accept-gap takes PARTITION:OFFSET, two whole numbers, as the error that names it prints them; got {text!r}."""

    exit_code = 2


class NoSuchOffsetError(MediamirrorError):
    """{topic} has no offset {offset} in partition {partition}; it has {known}."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Gap:
    """Read `partition` from `offset`."""

    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> "Gap":
        """Read `PARTITION:OFFSET`; raises `BadGapError`."""
        partition, _, offset = text.partition(":")
        if not (partition.isdecimal() and offset.isdecimal()):
            raise BadGapError(text=text)
        return cls(int(partition), int(offset))


async def accept(gaps: Sequence[Gap], settings: Settings, pool: Pool) -> None:
    """Set the offsets, all of them or none; raises `NoSuchOffsetError`."""
    if not gaps:
        return
    topic = settings.notifications_topic
    bounds = await partition_bounds(settings, topic)
    for gap in gaps:
        earliest, latest = bounds.get(gap.partition, (1, 0))
        if not earliest <= gap.offset <= latest:
            known = f"{earliest} to {latest}" if gap.partition in bounds else f"partitions 0 to {max(bounds)}"
            raise NoSuchOffsetError(topic=topic, partition=gap.partition, offset=gap.offset, known=known)
    cluster = await describe_cluster(settings)
    store = Store(pool, topic)
    for gap in gaps:
        await store.set_offset(gap.partition, cluster, gap.offset)
        log.warning("gap accepted", topic=topic, partition=gap.partition, reads_from=gap.offset)
