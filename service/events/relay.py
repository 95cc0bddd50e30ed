"""The outbox to Kafka: in the order of each asset's revisions, at least once, with ids that are the same each time."""

import asyncio
import contextlib
from collections.abc import Sequence

import asyncpg
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.event import EventType, MediaEvent
from service.database import Connection, Pool
from service.events.cloudevent import data_of, headers_of
from service.kafka import KafkaUnreachableError, ensure_topics, let_go, make_producer, start
from service.mirror.patience import OUTAGES, answers
from service.settings import Settings
from service.sql import query
from service.telemetry import Metrics

log = structlog.get_logger(__name__)

CHANNEL = "media_outbox"

_BATCH = 1000
_BATCH_BYTES = 32 * 1024**2
_POLL_SECONDS = 2.0  # a notice can be lost with its connection; a row can't
_RESTART_SECONDS = 0.5
_LEADER_SECONDS = 1.0
_PATIENCE_SECONDS = 10.0


class Relay:
    """Publishes one shard of the outbox, for as long as it is the shard's leader.

    Rows of one asset are in the outbox in the order of its revisions, since each was written with the asset's row locked. They
    are sent in that order by one idempotent producer, which keeps it, and deleted when Kafka has acked them. A crash in between
    sends some again.
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
                await ensure_topics(self._settings)
                await start(producer)
                self.leading.set()
                log.info("relay leads", shard=self._shard)
                while True:
                    self._wake.clear()
                    sent = await self._relay(connection, producer)
                    self._metrics.outbox.set(0 if sent < _BATCH else await connection.fetchval(query("outbox", "size")))
                    if not sent:
                        await self._rest()
            finally:
                # the lock and the listener end with the connection, which must not serve anybody else
                connection.terminate()
                await let_go(producer, patience=_PATIENCE_SECONDS)

    async def _relay(self, connection: Connection, producer: AIOKafkaProducer) -> int:
        """Send a batch and delete what was acked; gives how much that was."""
        rows = await connection.fetch(query("outbox", "next"), self._shard, _BATCH, _BATCH_BYTES)
        if not rows:
            return 0
        sends: list[asyncio.Future[object]] = []
        for row in rows:
            sends += await self._send(producer, _event_of(row))
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await asyncio.gather(*sends)
        await connection.execute(query("outbox", "remove"), self._shard, [row["id"] for row in rows])
        self._metrics.events.inc(len(rows))
        return len(rows)

    async def _send(self, producer: AIOKafkaProducer, event: MediaEvent) -> Sequence["asyncio.Future[object]"]:
        key = event.subject.encode()
        sends = [await producer.send(self._settings.events_topic, data_of(event), key=key, headers=headers_of(event))]
        if event.state is not None or event.type is EventType.PURGED:
            headers = [("cloud", event.cloud.encode())]
            sends.append(await producer.send(self._settings.assets_topic, event.state, key=key, headers=headers))
        return sends

    async def _rest(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_POLL_SECONDS):
                await self._wake.wait()

    def _noticed(self, *_: object) -> None:
        self._wake.set()


def _event_of(row: asyncpg.Record) -> MediaEvent:
    return MediaEvent(
        cloud=row["cloud"],
        subject=row["subject"],
        type=EventType(row["type"]),
        event_id=row["event_id"],
        event_time=row["event_time"],
        revision=row["revision"],
        state=row["state"],
        about=row["about"],
    )
