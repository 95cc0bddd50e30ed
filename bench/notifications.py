"""Webhooks as Cloudinary sends them, in any number: the documented upload, made of ever new assets."""

import asyncio
import hashlib
import random
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2
from pydantic import SecretStr

from bench.processes import ROOT
from service.gateway.record import Recorder
from service.gateway.signature import Policy, read_claim, sign
from service.kafka import MAX_RECORD_BYTES, ensure_topics
from service.settings import Cloud, Settings

if TYPE_CHECKING:
    from bench.site import Site

CLOUD: Final = "acme"
KEY: Final = "333333333333333"
SECRET: Final = b"a-secret-of-acme"

_PAYLOAD: Final = ROOT / "tests" / "payloads" / "01_upload_jeans.json"
_BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)
_EPOCH: Final = int(_BEGINNING.timestamp())
_EDITION_SECONDS: Final = 3600
_EDITIONS: Final = 4
_TAGS: Final = ("sale", "summer", "denim", "hero", "studio", "detail", "model", "outlet", "organic", "archive", "draft")
_BATCH_BYTES: Final = 256 * 1024


def _template() -> str:
    """The documented body, compact as Cloudinary sends it, with a place for everything that differs from asset to asset."""
    body: dict[str, Any] = orjson.loads(_PAYLOAD.read_bytes())
    body |= {
        "timestamp": "@moment+00:00",
        "request_id": "@request",
        "asset_id": "@asset",
        "public_id": "@name",
        "version": "@@version",
        "version_id": "@etag",
        "width": "@@width",
        "height": "@@height",
        "created_at": "@createdZ",
        "tags": ["@tag1", "@tag2", "@tag3"],
        "bytes": "@@bytes",
        "etag": "@etag",
        "display_name": "@name",
        "original_filename": "@name",
    }
    for url in ("url", "secure_url"):
        body[url] = body[url].replace("/v1719310887/jeans", "/v@version/@name")
    body["notification_context"]["triggered_at"] = "@micro"
    text = orjson.dumps(body).decode().replace("%", "%%")
    names = ("moment", "request", "asset", "name", "version", "width", "height", "created", "tag1", "tag2", "tag3", "bytes")
    for name in (*names, "etag", "micro"):
        text = text.replace(f'"@@{name}"', f"%({name})s").replace(f"@{name}", f"%({name})s")
    return text


_TEMPLATE: Final = _template()


def upload(number: int, edition: int = 0) -> bytes:
    """Give the body of the upload of an asset; with a later `edition`, of its file once more, which is other in size and tags.

    The same arguments give the same bytes.
    """
    asset = hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest()
    etag = hashlib.md5(b"%d.%d" % (number, edition), usedforsecurity=False).hexdigest()
    created = _BEGINNING + timedelta(milliseconds=number * 10)
    moment = created + timedelta(seconds=edition * _EDITION_SECONDS)
    at = moment.isoformat(timespec="microseconds")[:26]
    tag = number % len(_TAGS) + edition
    return (
        _TEMPLATE
        % {
            "moment": at[:19],
            "micro": at + "Z",
            "created": created.isoformat(timespec="seconds")[:19],
            "request": etag[::-1],
            "asset": asset,
            "name": f"jeans-{number:08}",
            "version": _EPOCH + number // 100 + edition * _EDITION_SECONDS,
            "width": 400 + number % 1200,
            "height": 300 + number % 900,
            "bytes": 100_000 + number % 50_000 + edition,
            "etag": etag,
            "tag1": _TAGS[tag % len(_TAGS)],
            "tag2": _TAGS[(tag + 1) % len(_TAGS)],
            "tag3": _TAGS[(tag + 2) % len(_TAGS)],
        }
    ).encode()


def inserts(count: int, first: int = 0) -> Iterator[bytes]:
    """Give uploads of `count` assets, from number `first`."""
    return (upload(number) for number in range(first, first + count))


def updates(count: int) -> Iterator[bytes]:
    """Give the second edition of the first `count` assets."""
    return (upload(number, 1) for number in range(count))


def mixed(count: int) -> Iterator[bytes]:
    """Give one insert to three updates: four editions each of a quarter as many assets, shuffled, always alike.

    The editions of an asset come in their order.
    """
    numbers = [number for number in range(count // _EDITIONS) for _ in range(_EDITIONS)]
    random.Random(7).shuffle(numbers)
    next_edition = [0] * (count // _EDITIONS)
    for number in numbers:
        yield upload(number, next_edition[number])
        next_edition[number] += 1


def signed(body: bytes, at: int) -> dict[str, str]:
    """Give the headers of a webhook, signed at `at`, unix seconds."""
    return {"X-Cld-Timestamp": str(at), "X-Cld-Signature": sign(body, at, SECRET)}


class _Records:
    """Makes records of bodies as the gateway does, by its own code."""

    def __init__(self) -> None:
        self._recorder = Recorder(Settings(clouds={CLOUD: Cloud(keys={KEY: SecretStr(SECRET.decode())})}))

    def make(self, body: bytes) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
        now = int(time.time())
        claim = read_claim(sign(body, now, SECRET), str(now), has_v2=False, now=now, policy=Policy())
        record = self._recorder.record(CLOUD, body, claim)
        return record.key.encode(), record.value, record.headers


_records: Final = _Records()


def record(body: bytes) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """Give key, value and headers of the body's record on Kafka."""
    return _records.make(body)


async def fill(site: "Site", topic: str, bodies: Iterable[bytes], partitions: int = 12) -> int:
    """Make the topic, if it isn't there, and put the bodies on it in their order; gives how many.

    The records are the gateway's to the byte and in the partitions that it would choose; the batches are larger.
    """
    await ensure_topics(site.settings(topic, site.database_url, notifications_partitions=partitions))
    producer = AIOKafkaProducer(
        **site.kafka_client,
        acks="all",
        linger_ms=20,
        max_batch_size=_BATCH_BYTES,
        max_request_size=MAX_RECORD_BYTES,
        compression_type="lz4",
    )
    await producer.start()
    try:
        return await _Filling(producer, topic, partitions).run(bodies)
    finally:
        await producer.stop()


class _Filling:
    """Whole batches instead of single sends, which would cost a future for each record."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partitions: int) -> None:
        self._producer = producer
        self._topic = topic
        self._batches = [producer.create_batch() for _ in range(partitions)]
        self._sent: list[asyncio.Future[object]] = []

    async def run(self, bodies: Iterable[bytes]) -> int:
        count = 0
        for body in bodies:
            key, value, headers = record(body)
            partition = (murmur2(key) & 0x7FFFFFFF) % len(self._batches)
            while self._batches[partition].append(key=key, value=value, timestamp=None, headers=headers) is None:
                await self._send(partition)
            count += 1
        for partition in range(len(self._batches)):
            await self._send(partition)
        await asyncio.gather(*self._sent)
        return count

    async def _send(self, partition: int) -> None:
        batch = self._batches[partition]
        self._batches[partition] = self._producer.create_batch()
        if batch.record_count():
            self._sent.append(await self._producer.send_batch(batch, self._topic, partition=partition))
            await asyncio.sleep(0)
