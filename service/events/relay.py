"""The outbox to Kafka: in the order of each asset's revisions, at least once, with ids that are the same each time."""

import asyncio
import contextlib
from dataclasses import dataclass

import asyncpg
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.event import EventType, MediaEvent
from service.database import Connection, Pool
from service.events.batches import Batches
from service.events.cloudevent import data_of, headers_of
from service.kafka import KafkaUnreachableError, ensure_topics, let_go, make_producer, start
from service.mirror.patience import OUTAGES, answers
from service.partitioner import partition_for
from service.settings import Settings
from service.sql import query
from service.telemetry import Metrics

log = structlog.get_logger(__name__)

CHANNEL = "media_outbox"

_BATCH = 1000
_BATCH_BYTES = 16 * 1024**2  # held twice: with Kafka, and read meanwhile
_POLL_SECONDS = 2.0  # a notice can be lost with its connection; a row can't
_RESTART_SECONDS = 0.5
_LEADER_SECONDS = 1.0
_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Flight:
    """Rows that Kafka has been given, and what ends when it has acked them."""

    ids: list[int]
    acked: asyncio.Task[None]


class Relay:
    """Publishes one shard of the outbox, for as long as it is the shard's leader.

    Rows of one asset are in the outbox in the order of its revisions, since each was written with the asset's row locked. They
    are sent in that order by one idempotent producer, which keeps it, and deleted when Kafka has acked them. A crash in between
    sends some again. While some are with Kafka, the next are read and made ready.
    """

    def __init__(self, settings: Settings, pool: Pool, metrics: Metrics, shard: int = 0) -> None:
        self._settings = settings
        self._pool = pool
        self._metrics = metrics
        self._shard = shard
        self._wake = asyncio.Event()
        self.leading = asyncio.Event()

    async def run(self) -> None:
        """Relay until cancelled; outages are waited out, loudly."""
        while True:
            try:
                await self._lead()
            except (*OUTAGES, KafkaError, KafkaUnreachableError) as error:
                log.error("relay starts anew", shard=self._shard, reason=str(error) or repr(error))
            finally:
                self.leading.clear()
            await asyncio.sleep(_RESTART_SECONDS)

    async def is_ready(self) -> bool:
        """Tell whether PostgreSQL answers."""
        return await answers(self._pool)

    async def _lead(self) -> None:
        # A connection of its own: the lock lives as long as it does, and notices come on it.
        async with self._pool.acquire() as connection:
            # tried again and again, since PostgreSQL tells nobody that a lock has come free
            while not await connection.fetchval(query("outbox", "try_lead"), self._shard):  # noqa: ASYNC110
                await asyncio.sleep(_LEADER_SECONDS)
            await connection.add_listener(CHANNEL, self._noticed)
            producer = make_producer(self._settings)
            try:
                await ensure_topics(self._settings, self._settings.events_topic, self._settings.assets_topic)
                await start(producer)
                self.leading.set()
                log.info("relay leads", shard=self._shard)
                await self._relay(connection, producer)
            finally:
                # the lock and the listener end with the connection, which must not serve anybody else
                connection.terminate()
                await let_go(producer, patience=_PATIENCE_SECONDS)

    async def _relay(self, connection: Connection, producer: AIOKafkaProducer) -> None:
        await connection.execute(query("outbox", "forget_lightly"))
        flight: _Flight | None = None
        try:
            while True:
                self._wake.clear()
                rows = await connection.fetch(
                    query("outbox", "next"), self._shard, _BATCH, _BATCH_BYTES, flight.ids if flight else []
                )
                batches = await self._batches_of(rows, producer)
                self._metrics.outbox.set(0 if len(rows) < _BATCH else await connection.fetchval(query("outbox", "size")))
                if flight:
                    await flight.acked
                    # with the connection goes the lock: what answers here still leads, and may send the next
                    await connection.execute(query("outbox", "remove"), self._shard, flight.ids)
                    self._metrics.events.inc(len(flight.ids))
                flight = _Flight([row["id"] for row in rows], asyncio.create_task(_send(batches))) if rows else None
                if not flight:
                    await self._rest()
        finally:
            if flight:
                flight.acked.cancel()
                await asyncio.gather(flight.acked, return_exceptions=True)  # seen

    async def _batches_of(self, rows: list[asyncpg.Record], producer: AIOKafkaProducer) -> Batches:
        events_topic, assets_topic = self._settings.events_topic, self._settings.assets_topic
        events_partitions = sorted(await producer.partitions_for(events_topic))
        assets_partitions = sorted(await producer.partitions_for(assets_topic))
        batches = Batches(producer)
        for row in rows:
            event = MediaEvent._make(row[1:])  # its type is a plain string, which is as good as its member
            key = event.subject.encode()
            partition = partition_for(key, events_partitions, ())
            batches.add(events_topic, partition, key, data_of(event), headers_of(event))
            if event.state is not None or event.type == EventType.PURGED:
                if assets_partitions != events_partitions:
                    partition = partition_for(key, assets_partitions, ())
                batches.add(assets_topic, partition, key, event.state, [("cloud", event.cloud.encode())])
        return batches

    async def _rest(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_POLL_SECONDS):
                await self._wake.wait()

    def _noticed(self, *_: object) -> None:
        self._wake.set()


async def _send(batches: Batches) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        await batches.send()
