"""Reads the log in batches and hands them to the store, through outages and rebalances."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from handlers.registry import HANDLERS
from service.database import Pool
from service.kafka import KafkaUnreachableError, describe_cluster, ensure_topics, let_go, make_consumer, start
from service.mirror.applier import Applier, Run
from service.mirror.deadletter import DeadLetters, NotDeadLetteredError
from service.mirror.entry import Entry, LogLine, Record, is_large
from service.mirror.housekeeping import Housekeeping, StandsStillError
from service.mirror.inflight import InFlight
from service.mirror.patience import OUTAGES, answers
from service.mirror.positions import Positions
from service.mirror.retention import Retention
from service.mirror.store import Advance, FencedError, Store
from service.settings import Settings
from service.signatures import check_of
from service.telemetry import Metrics

log = structlog.get_logger(__name__)

_POLL_MS = 500
_RESTART_SECONDS = 0.5
_SEEKING_SECONDS = 0.02
_ALIVE_SECONDS = 120.0  # longer than any single wait of the loop


class Mirror:
    """One member of the mirror's consumer group."""

    def __init__(self, settings: Settings, pool: Pool, metrics: Metrics) -> None:
        self._settings = settings
        self._topic = settings.notifications_topic
        self._pool = pool
        self._metrics = metrics
        self._store = Store(pool, self._topic)
        self._dead_letters = DeadLetters(settings, metrics)
        self._applier = Applier(self._store, dead_letters=self._dead_letters, check=check_of(settings), turned=self._turn)
        self._retention = Retention(pool, settings.sync_log_retention)
        self._turned_at = time.monotonic()
        self.joined = asyncio.Event()  # the group has given us our share of the partitions

    async def run(self) -> None:
        """Apply notifications until cancelled; waits outages out, loudly, and raises only what needs a person."""
        while True:
            try:
                await self._read()
            except (KafkaError, KafkaUnreachableError, StandsStillError, NotDeadLetteredError, *OUTAGES) as error:
                log.error("mirror starts reading anew", reason=str(error) or repr(error))
            self._turn()
            self._metrics.consumer_renewals.inc()
            await asyncio.sleep(_RESTART_SECONDS)

    def is_alive(self) -> bool:
        """Tell whether the loop still turns: a consumer that hangs looks like one that has nothing to do."""
        return time.monotonic() - self._turned_at < _ALIVE_SECONDS

    async def is_ready(self) -> bool:
        """Tell whether the group has been joined and PostgreSQL answers."""
        return self.joined.is_set() and await answers(self._pool)

    async def _read(self) -> None:
        cluster = await describe_cluster(self._settings)
        await ensure_topics(self._settings, self._topic, self._settings.dead_letter_topic)
        await self._store.prepare_log()
        consumer = make_consumer(self._settings)
        try:
            await start(consumer)
            positions = Positions(consumer, self._store, self._topic, cluster, self.joined)
            consumer.subscribe([self._topic], listener=positions)
            await self._loop(consumer, positions)
        finally:
            self.joined.clear()
            await self._dead_letters.close()
            await let_go(consumer)

    async def _loop(self, consumer: AIOKafkaConsumer, positions: Positions) -> None:
        housekeeping = Housekeeping(consumer, positions, self._store, self._topic, self._metrics)
        async with InFlight() as batches:
            while True:
                self._turn()
                await batches.room()
                await housekeeping.turn(batches.busy)
                await self._retention.turn()
                fetched = await self._fetch(consumer, positions, batches)
                positions.check()
                if fetched:
                    self._start(fetched, consumer, positions, batches)
                    if batches.in_turn and sum(map(len, fetched.values())) < self._settings.mirror_batch:
                        # nothing waits behind it, and what comes meanwhile makes one larger batch, not several small ones
                        await batches.one_ended()

    def _start(
        self, fetched: dict[TopicPartition, list[Record]], consumer: AIOKafkaConsumer, positions: Positions, batches: InFlight
    ) -> None:
        """Send off what was fetched: in one batch, but for partitions with a large record, which keeps nobody else waiting."""
        together: dict[TopicPartition, list[Record]] = {}
        for partition, records in fetched.items():
            if any(map(is_large, records)):
                alone = self._apply_fetched(consumer, positions, {partition: records})
                batches.start(alone, [partition.partition], aside=True)
            else:
                together[partition] = records
        if together:
            batches.start(self._apply_fetched(consumer, positions, together), [one.partition for one in together])

    async def _fetch(
        self, consumer: AIOKafkaConsumer, positions: Positions, batches: InFlight
    ) -> dict[TopicPartition, list[Record]]:
        """Give the next records of partitions that have no batch on its way; nothing, when there are none yet."""
        fetched: dict[TopicPartition, list[Record]] = {}
        most = self._settings.mirror_batch
        busy = batches.busy
        free = [TopicPartition(self._topic, number) for number in positions.next if number not in busy]
        try:
            if not busy:
                fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=most)
            elif free:
                patience = 0 if batches.in_turn else _POLL_MS
                fetched = await consumer.getmany(*free, timeout_ms=patience, max_records=most)
            if busy and not fetched and (batches.in_turn or not free):
                await batches.one_ended(_POLL_MS / 1000)
        except NoOffsetForPartitionError:
            # The consumer has looked before `positions` has told it where to begin.
            await asyncio.sleep(_SEEKING_SECONDS)
        except OffsetOutOfRangeError:
            await positions.load(consumer.assignment())  # raises what is wrong, in words
            await asyncio.sleep(_RESTART_SECONDS)
        return fetched

    async def _apply_fetched(
        self, consumer: AIOKafkaConsumer, positions: Positions, fetched: dict[TopicPartition, list[Record]]
    ) -> None:
        runs: list[Run] = []
        for partition, records in fetched.items():
            begins = positions.next.get(partition.partition)
            # None: revoked since; below: fetched before a seek
            if begins is not None and (new := [record for record in records if record.offset >= begins.offset]):
                runs.append(Run(partition.partition, new, begins))
        started = time.perf_counter()

        def applied(entries: Sequence[Entry], advances: Sequence[Advance], lines: Sequence[LogLine]) -> None:
            nonlocal started
            self._metrics.batches.observe(time.perf_counter() - started)
            self._count(lines)
            log.debug("batch applied", notifications=len(entries), lines=len(lines), partitions=len(advances))
            positions.advance(advances)
            if not positions.hold(advances):
                raise FencedError  # revoked meanwhile: whoever has it now goes on behind this
            started = time.perf_counter()

        try:
            await self._applier.apply(runs, applied)
        except FencedError:
            log.warning("batch belongs to another mirror now", partitions=sorted(run.partition for run in runs))
            await positions.load(consumer.assignment())

    def _count(self, lines: Sequence[LogLine]) -> None:
        counts = Counter((line.cloud, line.notification_type, line.outcome) for line in lines)
        for (cloud, kind, outcome), number in counts.items():
            self._metrics.notifications.labels(cloud or "", kind if kind in HANDLERS else "other", outcome).inc(number)

    def _turn(self) -> None:
        self._turned_at = time.monotonic()
