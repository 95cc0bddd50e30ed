"""The outbox to Kafka: in the order of each asset's revisions, at least once, with ids that are the same each time."""

import asyncio
import contextlib
from collections.abc import Collection
from dataclasses import dataclass, field

import asyncpg
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.event import MediaEvent
from service.database import Connection, Pool
from service.events.alone import Alone, reason_of
from service.events.aside import Aside, Subject
from service.events.backlog import BacklogGauge
from service.events.batches import Batches
from service.events.limits import Limits
from service.events.records import records_of
from service.events.refusal import may_be_a_records
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
# What asyncpg raises for a value that Python can't hold.
_UNREADABLE = (ValueError, OverflowError, asyncpg.DataError)


@dataclass(frozen=True, slots=True)
class _Load:
    """Rows made ready, and those that can't be, or must not."""

    batches: Batches
    rows: list[tuple[int, MediaEvent]] = field(default_factory=list)
    unsendable: dict[int, str] = field(default_factory=dict)  # why, by id
    behind: list[int] = field(default_factory=list)  # one of their subject that can't be sent

    @property
    def ids(self) -> list[int]:
        """What goes to Kafka."""
        return [id_ for id_, _ in self.rows]


@dataclass(frozen=True, slots=True)
class _Flight:
    """A load that Kafka has been given, and what ends when it has acked all."""

    load: _Load
    acked: asyncio.Task[None]


class Relay:
    """Publishes one shard of the outbox, for as long as it is the shard's leader.

    Rows of one asset are in the outbox in the order of its revisions, since each was written with the asset's row locked. They
    are sent in that order by one idempotent producer, which keeps it, and deleted when Kafka has acked them. A crash in between
    sends some again. While some are with Kafka, the next are read and made ready.

    A row that can't be sent is set aside, and so is what comes behind it of the same asset, until somebody has it sent or
    dropped: an asset's events are never out of order, and nobody else's wait for it.
    """

    def __init__(self, settings: Settings, pool: Pool, metrics: Metrics, shard: int = 0) -> None:
        self._settings = settings
        self._pool = pool
        self._metrics = metrics
        self._shard = shard
        self._wake = asyncio.Event()
        self._limits = Limits()
        self._aside = Aside(shard)
        self._gauge = BacklogGauge(pool, metrics, shard)
        self.leading = asyncio.Event()

    async def run(self) -> None:
        """Relay until cancelled; outages are waited out, loudly, and so is whatever else goes wrong."""
        looking = asyncio.create_task(self._gauge.run())
        try:
            while True:
                try:
                    await self._lead()
                except (*OUTAGES, KafkaError, KafkaUnreachableError) as error:
                    log.error("relay starts anew", shard=self._shard, reason=str(error) or repr(error))
                except Exception:
                    log.exception("relay starts anew", shard=self._shard)
                finally:
                    self.leading.clear()
                await asyncio.sleep(_RESTART_SECONDS)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def is_ready(self) -> bool:
        """Tell whether PostgreSQL answers."""
        return await answers(self._pool)

    async def _lead(self) -> None:
        # A connection of its own: the lock lives as long as it does, and notices come on it.
        async with self._pool.acquire() as connection:
            try:
                # tried again and again, since PostgreSQL tells nobody that a lock has come free
                while not await connection.fetchval(query("outbox", "try_lead"), self._shard):  # noqa: ASYNC110
                    await asyncio.sleep(_LEADER_SECONDS)
                await connection.add_listener(CHANNEL, self._noticed)
                await connection.execute(query("outbox", "forget_lightly"))
                await self._aside.begin(connection)
                await ensure_topics(self._settings, self._settings.events_topic, self._settings.assets_topic)
                while True:
                    await self._lead_with_a_producer(connection)
            finally:
                # the lock and the listener end with the connection, which must not serve anybody else
                with contextlib.suppress(asyncpg.InterfaceError):  # it has ended
                    connection.terminate()

    async def _lead_with_a_producer(self, connection: Connection) -> None:
        """Relay until Kafka refuses something; then send that one by one."""
        producer = make_producer(self._settings)
        try:
            await start(producer)
            self.leading.set()
            log.info("relay leads", shard=self._shard)
            refused = await self._relay(connection, producer)
        finally:
            await let_go(producer, patience=_PATIENCE_SECONDS)
        async with Alone(self._settings, self._limits) as alone:
            outcome = await alone.send(refused)
        await self._remove(connection, outcome.acked)
        if outcome.refused:
            await self._aside.put(connection, outcome.refused)

    async def _relay(self, connection: Connection, producer: AIOKafkaProducer) -> list[tuple[int, MediaEvent]]:
        """Relay until Kafka refuses something that it was given: gives the rows of which it may be any."""
        flight: _Flight | None = None
        try:
            while True:
                self._wake.clear()
                self._limits.forget()
                load = await self._load(connection, producer, flight.load.ids if flight else [])
                if flight:
                    try:
                        await flight.acked
                    except KafkaError as error:
                        if not may_be_a_records(error):
                            raise
                        log.warning("Kafka refuses an event", among=len(flight.load.rows), reason=repr(error))
                        return flight.load.rows
                    # with the connection goes the lock: what answers here still leads, and may send the next
                    await self._remove(connection, flight.load.ids)
                if load.unsendable:
                    await self._aside.put(connection, load.unsendable)
                if load.behind:
                    await self._aside.hold(connection, load.behind)
                flight = _Flight(load, asyncio.create_task(_send(load.batches))) if load.rows else None
                if not (flight or load.unsendable or load.behind):
                    await self._rest()
        finally:
            if flight:
                flight.acked.cancel()
                await asyncio.gather(flight.acked, return_exceptions=True)  # seen

    async def _load(self, connection: Connection, producer: AIOKafkaProducer, with_kafka: list[int]) -> _Load:
        """Read the next rows and make them ready."""
        topics = events_topic, assets_topic = self._settings.events_topic, self._settings.assets_topic
        events_partitions = sorted(await producer.partitions_for(events_topic))
        assets_partitions = sorted(await producer.partitions_for(assets_topic))
        load = _Load(Batches(producer, self._limits))
        held: Collection[Subject] = self._aside.held
        least = self._limits.least
        for row in await self._read(connection, with_kafka, load.unsendable):
            event = MediaEvent._make(row[1:])  # its type is a plain string, which is as good as its member
            if held and (event.cloud, event.subject) in held:
                load.behind.append(row[0])
                continue
            try:
                records = records_of(event, *topics, self._limits, least)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is this row's
                load.unsendable[row[0]] = reason_of(error)
                held = {*held, (event.cloud, event.subject)}
                continue
            partition = partition_for(records[0][1], events_partitions, ())
            for topic, key, value, headers in records:
                if topic == assets_topic and assets_partitions != events_partitions:
                    partition = partition_for(key, assets_partitions, ())
                load.batches.add(topic, partition, key, value, headers)
            load.rows.append((row[0], event))
        return load

    async def _read(self, connection: Connection, with_kafka: list[int], unreadable: dict[int, str]) -> list[asyncpg.Record]:
        try:
            return await connection.fetch(query("outbox", "next"), self._shard, _BATCH, _BATCH_BYTES, with_kafka)
        except _UNREADABLE:
            log.debug("an event can't be read")
        # one of them holds what Python has no value for: a time beyond its calendar, say
        rows: list[asyncpg.Record] = []
        size = 0
        for (id_,) in await connection.fetch(query("outbox", "next_ids"), self._shard, _BATCH):
            if id_ in with_kafka or size > _BATCH_BYTES:
                continue
            try:
                rows += await connection.fetch(query("outbox", "one"), self._shard, id_)
            except _UNREADABLE as error:
                unreadable[id_] = reason_of(error)
                break  # what comes behind it may be of its asset
            size += len(rows[-1]["state"] or b"") + len(rows[-1]["about"])
        return rows

    async def _remove(self, connection: Connection, ids: list[int]) -> None:
        await connection.execute(query("outbox", "remove"), self._shard, ids)
        self._metrics.events.inc(len(ids))

    async def _rest(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_POLL_SECONDS):
                await self._wake.wait()

    def _noticed(self, *_: object) -> None:
        self._wake.set()


async def _send(batches: Batches) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        await batches.send()
