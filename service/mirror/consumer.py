"""Reads the log in batches and hands them to the store, through outages and rebalances."""

import asyncio
import contextlib
import time
from collections.abc import Sequence

import asyncpg
import stamina
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from handlers.registry import HANDLERS
from service.database import Pool
from service.kafka import KafkaUnreachableError, describe_cluster, ensure_topics, make_consumer
from service.mirror.entry import Entry, LogLine, Record, failed, understand
from service.mirror.positions import Positions
from service.mirror.store import Advance, ConflictError, FencedError, Store
from service.settings import Settings
from service.telemetry import Metrics

log = structlog.get_logger(__name__)

_POLL_MS = 500
_RESTART_SECONDS = 0.5
_HOUSEKEEPING_SECONDS = 10.0
_KAFKA_SECONDS = 5.0  # for one answer to a side question
_ALIVE_SECONDS = 120.0  # longer than any single wait of the loop

# A record's own fault. Everything else that PostgreSQL says is an outage, and an outage never costs a record.
_RECORD_ERRORS = (asyncpg.DataError, asyncpg.ProgramLimitExceededError)
_OUTAGES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


class _StandsStillError(Exception):
    """There is something to read, or Kafka does not say whether there is, and nothing comes."""


class Mirror:
    """One member of the mirror's consumer group."""

    def __init__(self, settings: Settings, pool: Pool, metrics: Metrics) -> None:
        self._settings = settings
        self._topic = settings.notifications_topic
        self._pool = pool
        self._metrics = metrics
        self._store = Store(pool, self._topic)
        self._turned_at = time.monotonic()
        self.joined = asyncio.Event()  # the group has given us our share of the partitions

    async def run(self) -> None:
        """Apply notifications until cancelled; waits outages out, loudly, and raises only what needs a person."""
        while True:
            try:
                await self._read()
            except (KafkaError, KafkaUnreachableError, _StandsStillError, *_OUTAGES) as error:
                log.error("mirror starts reading anew", reason=str(error) or repr(error))
            self._turn()
            self._metrics.consumer_renewals.inc()
            await asyncio.sleep(_RESTART_SECONDS)

    def is_alive(self) -> bool:
        """Tell whether the loop still turns: a consumer that hangs looks like one that has nothing to do."""
        return time.monotonic() - self._turned_at < _ALIVE_SECONDS

    async def is_ready(self) -> bool:
        """Tell whether the group has been joined and PostgreSQL answers."""
        if not self.joined.is_set():
            return False
        try:
            async with asyncio.timeout(2):
                return bool(await self._pool.fetchval("SELECT true"))
        except _OUTAGES:
            return False

    async def _read(self) -> None:
        cluster = await describe_cluster(self._settings)
        await ensure_topics(self._settings)
        await self._store.prepare_log()
        consumer = make_consumer(self._settings)
        try:
            await consumer.start()
            positions = Positions(consumer, self._store, self._topic, cluster)
            consumer.subscribe([self._topic], listener=positions)
            await self._loop(consumer, positions)
        finally:
            self.joined.clear()
            with contextlib.suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(_KAFKA_SECONDS):
                    await consumer.stop()

    async def _loop(self, consumer: AIOKafkaConsumer, positions: Positions) -> None:
        housekeeping = _Housekeeping(consumer, positions, self._store, self._topic, self._metrics)
        while True:
            self._turn()
            try:
                fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=self._settings.mirror_batch)
            except (OffsetOutOfRangeError, NoOffsetForPartitionError):
                await positions.load(consumer.assignment())  # raises what is wrong, in words
                await asyncio.sleep(_RESTART_SECONDS)
                continue
            positions.check()
            if positions.assigned:
                self.joined.set()
            if fetched:
                await self._apply_fetched(consumer, positions, fetched)
            await housekeeping.turn()

    async def _apply_fetched(
        self, consumer: AIOKafkaConsumer, positions: Positions, fetched: dict[TopicPartition, list[Record]]
    ) -> None:
        entries: list[Entry] = []
        advances: list[Advance] = []
        for partition, records in fetched.items():
            expected = positions.next.get(partition.partition)
            # None: revoked since; below: fetched before a seek
            new = [] if expected is None else [record for record in records if record.offset >= expected]
            if expected is not None and new:
                entries += map(understand, new)
                advances.append(Advance(partition.partition, expected, new[-1].offset + 1))
        if not entries:
            return
        started = time.perf_counter()
        try:
            lines = await self._apply(entries, advances)
        except FencedError:
            log.warning("batch belongs to another mirror now", partitions=sorted(advance.partition for advance in advances))
            await positions.load(consumer.assignment())
            return
        for advance in advances:
            positions.next[advance.partition] = advance.next_offset
        self._metrics.batches.observe(time.perf_counter() - started)
        for line in lines:
            kind = line.notification_type if line.notification_type in HANDLERS else "other"
            self._metrics.notifications.labels(line.cloud or "", kind, line.outcome).inc()
        log.debug("batch applied", notifications=len(entries), lines=len(lines), partitions=len(advances))

    async def _apply(self, entries: Sequence[Entry], advances: Sequence[Advance]) -> Sequence[LogLine]:
        """Apply a batch, however long PostgreSQL is away; one record that it refuses fails alone."""
        try:
            return await self._apply_patiently(entries, advances)
        except _RECORD_ERRORS as error:
            if len(entries) == 1:
                return await self._apply_patiently([failed(entries[0], str(error))], advances)
        lines: list[LogLine] = []
        expected = {advance.partition: advance.expected for advance in advances}
        for entry in entries:
            partition, after = entry.record.partition, entry.record.offset + 1
            lines += await self._apply([entry], [Advance(partition, expected[partition], after)])
            expected[partition] = after
        return lines

    async def _apply_patiently(self, entries: Sequence[Entry], advances: Sequence[Advance]) -> Sequence[LogLine]:
        async for attempt in stamina.retry_context(on=_is_passing, attempts=None, timeout=None, wait_initial=0.1, wait_max=5.0):
            self._turn()
            with attempt:
                return await self._store.apply(entries, advances)
        raise AssertionError  # without a limit of attempts the loop ends by returning or raising

    def _turn(self) -> None:
        self._turned_at = time.monotonic()


def _is_passing(error: Exception) -> bool:
    return isinstance(error, (ConflictError, *_OUTAGES)) and not isinstance(error, _RECORD_ERRORS)


class _Housekeeping:
    """What is due now and then: day partitions, lag, the offsets' copy in Kafka, and a look whether reading still works."""

    def __init__(self, consumer: AIOKafkaConsumer, positions: Positions, store: Store, topic: str, metrics: Metrics) -> None:
        self._consumer = consumer
        self._positions = positions
        self._store = store
        self._topic = topic
        self._metrics = metrics
        self._due_at = 0.0
        self._seen: dict[int, int] = {}

    async def turn(self) -> None:
        """Do what is due; raises `_StandsStillError` when a new consumer is needed."""
        if time.monotonic() < self._due_at:
            return
        self._due_at = time.monotonic() + _HOUSEKEEPING_SECONDS
        await self._store.prepare_log()
        at = dict(self._positions.next)
        partitions = [TopicPartition(self._topic, number) for number in at]
        if not partitions:
            return
        try:
            async with asyncio.timeout(_KAFKA_SECONDS):
                ends = await self._consumer.end_offsets(partitions)
                # Only a hint for lag monitors; what counts is in PostgreSQL.
                await self._consumer.commit({partition: at[partition.partition] for partition in partitions})
        except (KafkaError, TimeoutError) as error:
            raise _StandsStillError(f"kafka does not answer: {error!r}") from error
        for partition, end in ends.items():
            number = partition.partition
            self._metrics.position.labels(self._topic, number).set(at[number])
            self._metrics.lag.labels(self._topic, number).set(end - at[number])
            if self._seen.get(number) == at[number] < end:
                raise _StandsStillError(f"partition {number} stands at {at[number]} of {end}")
        self._seen = at
