"""Mirrors that apply a topic which is full before they start, and what that costs."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
import asyncpg

from bench.contestant import failure, fresh
from bench.measured import KAFKA, OWN, POSTGRES, Measured
from bench.processes import MEDIAMIRROR, Meter, Program
from bench.site import Site
from service.errors import MediamirrorError
from service.settings import PREFIX
from service.sql import query

_POLL_SECONDS: Final = 0.025
_JOIN_SECONDS: Final = 60.0
_SETTLE_SECONDS: Final = 0.5  # after the last has joined: the others may be taking their new share over
_STALL_SECONDS: Final = 60.0


class NotAppliedError(MediamirrorError):
    """Of the {count} notifications of {topic}, {lines} have a line in the sync log: the mirror's figures would not count."""


@dataclass(frozen=True)
class _Member:
    name: str
    program: Program
    ready_url: str


def contestant_name(processes: int) -> str:
    """Give what tables call so many mirrors."""
    return f"mediamirror, {processes} process{'es' if processes > 1 else ''}"


async def apply_topic(site: Site, database_url: str, topic: str, count: int, *, processes: int) -> Measured:
    """Have `processes` mirrors apply the `count` notifications of a topic that none has read, and measure from the first effect
    in the database to the last.

    They are held back until all have joined the group, so that none has a start. Raises EmbeddedProgramError when one ends or
    none moves, `NotAppliedError` when a notification has left no line.
    """
    async with AsyncExitStack() as running:
        database = await asyncpg.connect(database_url)
        running.push_async_callback(database.close)
        await database.execute("CHECKPOINT")
        members = await _members(running, site, database_url, topic, processes)
        async with _held_back(database_url):
            await _joined(members)
        meter = Meter(
            {f"{OWN} {number}": member.program.pid for number, member in enumerate(members)}
            | {POSTGRES: site.postgres_pid, KAFKA: site.kafka_pid}
        )
        progress = _Progress(database, topic, members)
        began, began_at = await progress.reach(1)
        meter.start()
        _, ended_at = await progress.reach(count)
        usages = meter.stop()
        lines: int = await database.fetchval("SELECT count(*) FROM media_sync_log WHERE kafka_topic = $1", topic)
        if lines < count:
            raise NotAppliedError(count=count, topic=topic, lines=lines)
    return Measured(contestant_name(processes), count - began, ended_at - began_at, usages)


async def _members(running: AsyncExitStack, site: Site, database_url: str, topic: str, processes: int) -> list[_Member]:
    group = f"{topic}.{uuid.uuid4().hex}"
    members = []
    for number in range(processes):
        environment = site.environment(topic, database_url, mirror_group=group)
        name = f"mirror.{topic}.{number}"
        program = await running.enter_async_context(fresh(name, (*MEDIAMIRROR, "mirror"), environment, site.folder / "programs"))
        members.append(_Member(name, program, f"http://127.0.0.1:{environment[f'{PREFIX}MIRROR_PORT']}/readyz"))
    return members


@asynccontextmanager
async def _held_back(database_url: str) -> AsyncIterator[None]:
    """Keep every mirror from writing."""
    database = await asyncpg.connect(database_url)
    try:
        async with database.transaction():
            await database.execute(query("mirror", "lock_mirrors"))
            yield
    finally:
        await database.close()


async def _joined(members: Sequence[_Member]) -> None:
    """Return when all have their share of the partitions."""
    deadline = time.monotonic() + _JOIN_SECONDS
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as client:
        for member in members:
            while not await _is_ready(client, member.ready_url):
                member.program.check()
                if time.monotonic() > deadline:
                    reason = f"it has not joined its group after {_JOIN_SECONDS:.0f} seconds"
                    raise failure(member.name, member.program.log, reason)
                await asyncio.sleep(_POLL_SECONDS)
    await asyncio.sleep(_SETTLE_SECONDS)


async def _is_ready(client: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with client.get(url) as answer:
            return answer.ok
    except (aiohttp.ClientError, TimeoutError):
        return False


class _Progress:
    """How far the offsets of a topic have come."""

    def __init__(self, database: "asyncpg.Connection[asyncpg.Record]", topic: str, members: Sequence[_Member]) -> None:
        self._database = database
        self._topic = topic
        self._members = members

    async def reach(self, count: int) -> tuple[int, float]:
        """Wait for `count` notifications to be applied; gives how many are, and when that was seen."""
        seen, moved_at = 0, time.perf_counter()
        while True:
            at: int = await self._database.fetchval(
                "SELECT coalesce(sum(next_offset), 0)::bigint FROM media_offsets WHERE kafka_topic = $1", self._topic
            )
            now = time.perf_counter()
            if at >= count:
                return at, now
            if at > seen:
                seen, moved_at = at, now
            for member in self._members:
                member.program.check()
            if now - moved_at > _STALL_SECONDS:
                first = self._members[0]
                raise failure(
                    first.name, first.program.log, f"it stands still at {at} of {count} for {_STALL_SECONDS:.0f} seconds"
                )
            await asyncio.sleep(_POLL_SECONDS)
