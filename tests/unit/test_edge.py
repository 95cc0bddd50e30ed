"""What a sender may cost before its signature is proven, over real sockets."""

import asyncio
import gc
import json
import time
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from service.connection import Bounds, Connection
from service.gateway.app import make_app
from service.gateway.bodies import Body
from service.gateway.signature import Algorithm, sign
from service.http import serve
from service.settings import load_settings
from service.telemetry import Metrics
from tests.bodies import KEY, SECRET
from tests.receiving import eventually

KIB = 1024


class FakePublisher:
    def __init__(self) -> None:
        self.published: list[bytes] = []

    async def publish(self, _key: str, value: bytes, _headers: Sequence[Any]) -> None:
        self.published.append(value)

    async def is_ready(self) -> bool:
        return True


class Edge:
    def __init__(self, url: str, metrics: Metrics, publisher: FakePublisher) -> None:
        self.port = int(url.rpartition(":")[2])
        self.metrics = metrics
        self.publisher = publisher
        self._running = AsyncExitStack()

    async def connect(self, sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._running.callback(writer.close)
        writer.write(sent)
        await writer.drain()
        return reader, writer

    async def status(self, sent: bytes) -> int:
        """Send a request, and give the answer's status; 0 when the connection ends without one."""
        reader, writer = await self.connect(sent)
        async with asyncio.timeout(20):
            line = await reader.readline()
        writer.close()
        return int(line.split()[1]) if line else 0

    def refused(self, status: int, reason: str) -> float:
        labels = {"cloud": "acme", "outcome": str(status), "reason": reason}
        return self.metrics.registry.get_sample_value("mediamirror_webhooks_total", labels) or 0

    def ended(self, reason: str) -> float:
        return self.metrics.registry.get_sample_value("mediamirror_connections_ended_total", {"reason": reason}) or 0

    @property
    def held(self) -> float:
        return self.metrics.registry.get_sample_value("mediamirror_unverified_bytes") or 0


@asynccontextmanager
async def edge(bounds: Bounds = Bounds(), **settings: Any) -> AsyncIterator[Edge]:  # noqa: B008  # frozen
    metrics, publisher = Metrics(CollectorRegistry()), FakePublisher()
    given = load_settings(clouds={"acme": {"keys": {KEY: SECRET.decode()}}}, **settings)
    app = make_app(given, publisher, metrics)  # type: ignore[arg-type]  # a fake
    count: Callable[[str], None] = lambda reason: metrics.connections_ended.labels(reason).inc()  # noqa: E731
    async with serve(app, "127.0.0.1", 0, 1, bounds=bounds, count=count) as url:
        one = Edge(url, metrics, publisher)
        try:
            yield one
        finally:
            await one._running.aclose()


def head(*headers: str, body: bytes | None = None, secret: bytes = SECRET, algorithm: Algorithm = "sha1") -> bytes:
    """Give a head; signed for `body`, or with what looks like a signature."""
    now = int(time.time())
    signature = "0" * 40 if body is None else sign(body, now, secret, algorithm)
    length = [] if body is None else [f"Content-Length: {len(body)}"]
    lines = ["POST /webhooks/cloudinary/acme HTTP/1.1", "Host: x", f"X-Cld-Signature: {signature}"]
    return "\r\n".join([*lines, f"X-Cld-Timestamp: {now}", *length, *headers, "", ""]).encode()


def signed(size: int = 100) -> bytes:
    body = json.dumps({"notification_type": "upload", "public_id": "a", "pad": "x" * size}).encode()
    return head(body=body) + body


def promised(length: int, sent: int) -> bytes:
    """A request whose body stays short of what it announces."""
    return head(f"Content-Length: {length}") + b"a" * sent


async def test_bodies_together_hold_no_more_than_may_be_and_a_signed_one_comes_through() -> None:
    async with edge(gateway_max_unverified=4 * KIB**2) as one:
        for _ in range(20):
            await one.connect(promised(1_000_000, 600_000))
        await eventually(lambda: one.refused(503, "no_room") > 10)
        assert one.held <= 4 * KIB**2
        async with asyncio.timeout(5):  # while the others hold on for 20
            assert await one.status(signed()) == 200
            assert await one.status(signed(500_000)) == 200


async def test_the_slowest_of_the_larger_bodies_gives_way_and_is_told_when_to_come_again() -> None:
    async with edge(gateway_max_unverified=2 * KIB**2) as one:
        slow, _ = await one.connect(promised(1_000_000, 900_000))
        await eventually(lambda: one.held > 900_000)
        await asyncio.sleep(0.05)
        await one.connect(promised(1_000_000, 900_000))
        async with asyncio.timeout(5):
            answer = await slow.read()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 30\r\n" in answer
        assert one.refused(503, "no_room") == 1


async def test_small_bodies_keep_their_place_beside_larger_ones() -> None:
    async with edge(gateway_max_unverified=2 * KIB**2) as one:
        webhook = signed(50_000)
        small, writer = await one.connect(webhook[:-10])
        await eventually(lambda: one.held > 50_000)
        for _ in range(10):
            await one.connect(promised(5_000_000, 1_000_000))
        await eventually(lambda: one.refused(503, "no_room") > 5)
        writer.write(webhook[-10:])
        assert b" 200 " in await small.readline()


async def test_a_body_that_takes_too_long_gets_408_however_it_trickles() -> None:
    async with edge(gateway_body_timeout=0.3) as one:
        reader, writer = await one.connect(promised(1000, 1))

        async def trickle() -> None:
            with suppress(ConnectionError):
                while True:
                    writer.write(b"a")
                    await writer.drain()
                    await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        async with asyncio.timeout(5):
            assert b" 408 " in await reader.readline()
        trickling.cancel()
        assert one.refused(408, "slow_body") == 1
        assert one.held == 0


@pytest.mark.parametrize("sent", [b"", b"POST /webhooks/clou", b"POST / HTTP/1.1\r\nHost: x\r\nX-A: "])
async def test_a_head_that_takes_too_long_ends_the_connection(sent: bytes) -> None:
    async with edge(Bounds(header_seconds=0.3)) as one:
        reader, _ = await one.connect(sent)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        assert one.ended("slow_headers") == 1


async def test_the_second_head_of_a_connection_has_its_own_time() -> None:
    async with edge(Bounds(header_seconds=0.5)) as one:
        reader, writer = await one.connect(signed())
        assert b" 200 " in await reader.readline()
        await asyncio.sleep(1.2)  # idle for longer than a head may take
        webhook = signed()
        writer.write(webhook[:50])
        await asyncio.sleep(0.1)
        writer.write(webhook[50:])
        async with asyncio.timeout(5):
            while b" 200 " not in await reader.readline():
                pass
        writer.write(b"POST ")
        async with asyncio.timeout(5):
            await reader.read()
        assert one.ended("slow_headers") == 1


async def test_an_idle_connection_is_ended_after_a_while() -> None:
    async with edge(Bounds(idle_seconds=0.2)) as one:
        reader, _ = await one.connect(signed())
        async with asyncio.timeout(5):
            await reader.read()


async def test_connections_that_wait_make_room_for_those_that_come() -> None:
    async with edge(Bounds(connections=10)) as one:
        slow = [await one.connect(b"POST ") for _ in range(6)] + [await one.connect(promised(1000, 10)) for _ in range(6)]
        assert one.ended("made_room") == 2
        async with asyncio.timeout(5):
            assert [await reader.read() for reader, _ in slow[:2]] == [b"", b""]
        for _ in range(30):
            assert await one.status(signed()) == 200


async def test_when_all_are_at_work_a_new_connection_is_told_to_come_again() -> None:
    async with edge(Bounds(connections=2)) as one:
        going = asyncio.Event()
        begun: list[object] = []

        async def wait(*given: object) -> None:
            begun.append(given)
            await going.wait()

        one.publisher.publish = wait  # type: ignore[assignment, method-assign]  # Kafka takes its time
        at_work = [await one.connect(signed()) for _ in range(2)]
        await eventually(lambda: len(begun) == 2)
        assert await one.status(signed()) == 503
        assert one.ended("too_many") == 1
        going.set()
        for reader, _ in at_work:
            assert b" 200 " in await reader.readline()


async def test_after_413_no_more_is_read() -> None:
    async with edge(gateway_max_body=100_000) as one:
        _, writer = await one.connect(head("Transfer-Encoding: chunked"))
        sent, began = 0, time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - began < 20:
                writer.write(b"10000\r\n" + b"a" * 65536 + b"\r\n")
                await writer.drain()
                sent += 65536
        assert time.monotonic() - began < 5
        assert sent < 40 * KIB**2  # with what the sockets take
        assert one.refused(413, "too_large") == 1


async def test_nothing_is_inflated() -> None:
    async with edge() as one:
        bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
        body = bomb.compress(bytes(9 * KIB**2)) + bomb.flush()
        encoded = head("Content-Encoding: gzip", f"Content-Length: {len(body) + 1}") + body
        assert await one.status(encoded) == 415
        assert await one.status(head(body=body) + body) == 200
        assert one.publisher.published == [body]


@pytest.mark.parametrize(
    "sent",
    [
        b"x\n\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 20_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_counted_and_not_logged(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with edge() as one:
        assert await one.status(sent) == 400
        assert one.ended("malformed") == 1
    assert not caplog.records


@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_a_sender_that_hangs_up_is_counted_and_not_logged(how: str, caplog: pytest.LogCaptureFixture) -> None:
    async with edge() as one:
        with capture_logs() as logged:
            _, writer = await one.connect(promised(10_000, 5_000))
            await eventually(lambda: one.held >= 5_000)
            (writer.transport.abort if how == "reset" else writer.close)()
            await eventually(lambda: one.refused(400, "hung_up") == 1)
        assert logged == []
        assert one.held == 0
    assert not caplog.records


async def test_a_broken_body_is_counted_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with edge() as one:
        assert await one.status(head("Transfer-Encoding: chunked") + b"5\r\naaaaa\r\nzz\r\n") == 400
        assert one.held == 0
    assert not caplog.records


async def test_an_ended_request_leaves_nothing_to_the_garbage_collector() -> None:
    async with edge(gateway_max_unverified=3 * KIB**2, gateway_body_timeout=1) as one:
        gc.collect()
        gc.disable()
        try:
            for sent in (promised(4_000_000, 3_900_000), promised(10_000, 10_000), promised(10**9, 0), promised(10_000, 9_999)):
                assert await one.status(sent) in {401, 408, 413, 503}
            for _ in range(3):
                _, writer = await one.connect(promised(1_000_000, 500_000))
                await eventually(lambda: one.held > 500_000)
                writer.transport.abort()
                await eventually(lambda: one.held == 0)
            await one.status(head("Transfer-Encoding: chunked") + b"5\r\naaaaa\r\nzz\r\n")
            await one.status(b"x\n\n")
            await eventually(lambda: not any(isinstance(thing, (Connection, Body)) for thing in gc.get_objects()))
        finally:
            gc.enable()


async def test_the_wrong_signature_of_a_large_body_is_refused_and_a_right_one_published_whole() -> None:
    async with edge() as one:
        body = json.dumps({"public_id": "a", "pad": "é" * 1_000_000}).encode()
        assert await one.status(head(body=body, algorithm="sha1") + body) == 200
        assert await one.status(head(body=body, algorithm="sha256") + body) == 200
        assert one.publisher.published == [body, body]
        assert await one.status(head(body=body, secret=b"another") + body) == 401
        assert one.refused(401, "mismatch") == 1


@pytest.mark.parametrize("hint", [b"\x1b[2J\x1b]0;mine\x07", b"a\nb", "\u202e1".encode(), b"\xff", b"1" * 65])
async def test_of_an_unproven_body_nothing_is_logged_that_is_no_key(hint: bytes) -> None:
    async with edge() as one:
        body = b'{"signature_key":"' + hint + b'"}'
        with capture_logs() as logged:
            assert await one.status(head(f"Content-Length: {len(body)}") + body) == 401
        assert [(line["reason"], line["detail"]) for line in logged] == [("mismatch", "mismatch")]
