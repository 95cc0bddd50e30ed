"""Topics for Debezium's JDBC sink: the same notifications, as the rows that the mirror makes of them for users."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.site import Site
from service.errors import MediamirrorError

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

TABLE: Final = "assets"
_KEY: Final = ("cloud", "asset_id")
# Sorted after every asset, whose id begins with a digit or one of the first six letters.
_MARK: Final = "zz-"
MARKS: Final = f"SELECT count(*) FROM {TABLE} WHERE cloud = 'acme' AND asset_id >= '{_MARK}'"  # noqa: S608

# What only the mirror needs.
_OURS: Final = frozenset({"clocks", "revision", "assigned_folder", "updated_at"})
_PARTS: Final = 100  # of a topic, a mark in each partition after each of them
_PARTITIONS: Final = 12
_BATCH_BYTES: Final = 256 * 1024

_TEXT: Final = {"type": "string"}
# By PostgreSQL's types, what Debezium writes to a column of them.
_TYPES: Final[Mapping[str, Mapping[str, object]]] = {
    "text": _TEXT,
    "bigint": {"type": "int64"},
    "integer": {"type": "int32"},
    "double precision": {"type": "double"},
    "boolean": {"type": "boolean"},
    "timestamp with time zone": {"type": "string", "name": "io.debezium.time.ZonedTimestamp", "version": 1},
    "jsonb": {"type": "string", "name": "io.debezium.data.Json", "version": 1},
    "text[]": {"type": "array", "items": {"type": "string", "optional": False}},
}


class UnknownTypeError(MediamirrorError):
    """bench/sinktopic.py does not say how Debezium writes {column}, which is {kind}."""


@dataclass(frozen=True)
class Columns:
    """The columns of `media_assets` that are for users, with their types, and the row of some asset."""

    kinds: Mapping[str, str]
    row: Mapping[str, object]

    @classmethod
    async def of(cls, database_url: str) -> "Columns":
        """Read them from a database with mirrored assets."""
        database = await asyncpg.connect(database_url)
        try:
            columns = await database.fetch(
                "SELECT attname, format_type(atttypid, NULL) AS kind FROM pg_attribute"
                " WHERE attrelid = 'media_assets'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
            )
            kinds = {column["attname"]: column["kind"] for column in columns if column["attname"] not in _OURS}
            for column, kind in kinds.items():
                if kind not in _TYPES:
                    raise UnknownTypeError(column=column, kind=kind)
            (row,) = await database.fetch("SELECT * FROM media_assets LIMIT 1")
            return cls(kinds, {column: row[column] for column in kinds})
        finally:
            await database.close()

    def schema(self) -> str:
        """Give the schema of the records, as Kafka Connect's JSON."""
        fields = [{**_TYPES[kind], "field": column, "optional": column not in _KEY} for column, kind in self.kinds.items()]
        return orjson.dumps({"type": "struct", "name": "asset", "optional": False, "fields": fields}).decode()

    async def make_table(self, database: Connection) -> None:
        """Make a table for them in a database with the mirror's schema: the same types, primary key and index on names."""
        await database.execute(f"CREATE TABLE {TABLE} AS SELECT {', '.join(self.kinds)} FROM media_assets WITH NO DATA")  # noqa: S608
        await database.execute(f"ALTER TABLE {TABLE} ADD PRIMARY KEY ({', '.join(_KEY)})")
        index: str = await database.fetchval("SELECT pg_get_indexdef('media_assets_name'::regclass)")
        _, _, definition = index.partition(" USING ")
        await database.execute(f"CREATE INDEX ON {TABLE} USING {definition}")

    def record(self, body: bytes) -> bytes:
        """Give the row that a notification makes, as a record.

        What a notification tells under the name of a column is its own; the rest is as in the row of that other asset.
        """
        told: dict[str, Any] = orjson.loads(body)
        return self._record({column: told[column] for column, kind in self.kinds.items() if column in told and kind != "jsonb"})

    def mark(self, partition: int, part: int) -> bytes:
        """Give the record that marks the end of a part of a partition."""
        return self._record({"asset_id": f"{_MARK}{partition:02}-{part:03}"})

    def _record(self, told: Mapping[str, object]) -> bytes:
        return orjson.dumps({**self.row, **told})


@dataclass(frozen=True)
class SinkTopic:
    """A topic that is full, in which each partition's last record, and many before, is a mark."""

    name: str
    columns: Columns
    records: int
    marks: int

    @classmethod
    async def fill(cls, site: Site, name: str, columns: Columns, bodies: Sequence[bytes]) -> "SinkTopic":
        """Make a topic with a record for each notification, keyed by its asset."""
        await _make(site, name)
        producer = AIOKafkaProducer(
            **site.kafka_client,
            acks="all",
            linger_ms=20,
            max_batch_size=_BATCH_BYTES,
            compression_type="lz4",
        )
        await producer.start()
        try:
            for part in range(_PARTS):
                for body in bodies[part * len(bodies) // _PARTS : (part + 1) * len(bodies) // _PARTS]:
                    key = orjson.loads(body)["asset_id"].encode()
                    await producer.send(name, columns.record(body), key=key)
                # in whole batches, so that no record is behind its mark
                await producer.flush()
                for partition in range(_PARTITIONS):
                    await producer.send(name, columns.mark(partition, part), key=b"mark", partition=partition)
            await producer.flush()
        finally:
            await producer.stop()
        marks = _PARTS * _PARTITIONS
        return cls(name, columns, len(bodies) + marks, marks)


async def _make(site: Site, topic: str) -> None:
    admin = AIOKafkaAdminClient(**site.kafka_client)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, _PARTITIONS, 1, topic_configs={"retention.ms": "-1"})])
    finally:
        await admin.close()
