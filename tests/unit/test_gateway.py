import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest
from aiohttp import ClientResponse
from prometheus_client import CollectorRegistry

from schemas.envelope import Envelope, digest_of
from service.gateway.app import make_app, run_gateway
from service.gateway.signature import sign
from service.http import serve
from service.publisher import NotDurableError, RefusedByKafkaError
from service.settings import NoCloudError, Settings, load_settings
from service.telemetry import Metrics
from tests.bodies import KEY, SECRET, documented

BODY = documented("01_upload")


class FakePublisher:
    """Stands for Kafka, which has its own tests."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes, Sequence[tuple[str, bytes]]]] = []
        self.error: NotDurableError | None = None

    async def publish(self, key: str, value: bytes, headers: Sequence[tuple[str, bytes]]) -> None:
        if self.error:
            raise self.error
        self.published.append((key, value, headers))

    async def is_ready(self) -> bool:
        return self.error is None


class Gateway:
    def __init__(self, url: str, client: aiohttp.ClientSession, publisher: FakePublisher, metrics: Metrics) -> None:
        self.address = urlsplit(url)
        self.client = client
        self.publisher = publisher
        self.metrics = metrics

    async def post(self, body: bytes, path: str = "/webhooks/cloudinary/acme", **headers: str) -> ClientResponse:
        now = int(time.time())
        signed = {"X-Cld-Timestamp": str(now), "X-Cld-Signature": sign(body, now, SECRET)} | headers
        return await self.client.post(
            path, data=io.BytesIO(body), headers={name: value for name, value in signed.items() if value}
        )

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert self.address.hostname is not None
        return await asyncio.open_connection(self.address.hostname, self.address.port)

    def counted(self, cloud: str, outcome: str, reason: str) -> float | None:
        labels = {"cloud": cloud, "outcome": outcome, "reason": reason}
        return self.metrics.registry.get_sample_value("mediamirror_webhooks_total", labels)


def settings_with(*clouds: str, **overrides: Any) -> Settings:
    return load_settings(clouds={name: {"keys": {KEY: SECRET.decode()}} for name in clouds or ("acme",)}, **overrides)


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., Awaitable[Gateway]]]:
    async with AsyncExitStack() as running:

        async def make(*clouds: str, **overrides: Any) -> Gateway:
            publisher, metrics = FakePublisher(), Metrics(CollectorRegistry())
            app = make_app(settings_with(*clouds, **overrides), publisher, metrics)  # type: ignore[arg-type]  # a fake
            url = await running.enter_async_context(serve(app, "127.0.0.1", 0, 1))
            client = await running.enter_async_context(aiohttp.ClientSession(url))
            return Gateway(url, client, publisher, metrics)

        yield make


@pytest.fixture
async def gateway(make: Callable[..., Awaitable[Gateway]]) -> Gateway:
    return await make()


async def assert_problem(response: ClientResponse, status: int) -> None:
    assert response.status == status
    assert response.content_type == "application/problem+json"
    problem = await response.json()
    assert set(problem) == {"type", "title", "status"}
    assert problem["status"] == status


async def test_a_signed_webhook_is_published_byte_for_byte_with_its_envelope(gateway: Gateway) -> None:
    response = await gateway.post(BODY)
    assert response.status == 200
    ((key, value, headers),) = gateway.publisher.published
    assert value == BODY
    assert key == orjson.loads(BODY)["asset_id"]
    envelope = Envelope.from_headers(headers)
    told = (envelope.cloud, envelope.notification_type, envelope.key_id, envelope.source)
    assert told == ("acme", "upload", KEY, "webhook")
    assert envelope.digest == digest_of(BODY)
    assert envelope.signature == sign(BODY, envelope.signed_at, SECRET)
    assert gateway.counted("acme", "accepted", "") == 1


async def test_the_cloud_may_be_left_out_when_there_is_one(make: Callable[..., Awaitable[Gateway]]) -> None:
    assert (await (await make("acme")).post(BODY, "/webhooks/cloudinary")).status == 200
    two = await make("acme", "umbrella")
    await assert_problem(await two.post(BODY, "/webhooks/cloudinary"), 404)
    assert (await two.post(BODY, "/webhooks/cloudinary/umbrella")).status == 200


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"X-Cld-Signature": ""}, "missing"),
        ({"X-Cld-Timestamp": ""}, "missing"),
        ({"X-Cld-Signature": "0" * 40}, "mismatch"),
        ({"X-Cld-Signature": "", "X-Cld-Signature_v2": "x"}, "only_v2"),
        ({"X-Cld-Timestamp": "1000000000"}, "too_old"),
        ({"X-Cld-Timestamp": "9999999999"}, "in_the_future"),
        ({"X-Cld-Timestamp": "yesterday"}, "bad_timestamp"),
        ({"X-Cld-Signature": "ü" * 40}, "bad_form"),
    ],
)
async def test_a_webhook_without_a_good_signature_gets_401(gateway: Gateway, headers: dict[str, str], reason: str) -> None:
    await assert_problem(await gateway.post(BODY, **headers), 401)
    assert not gateway.publisher.published
    assert gateway.counted("acme", "401", reason) == 1


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'"text"', b"{", b"{}{}", b"{} x", b'{"a": NaN}', b"\xff{}", b"{public_id: 'sample'}", b"[" * 100_000]
)
async def test_a_signed_body_that_is_not_one_json_object_is_kept_for_sent_again_it_would_be_no_better(
    gateway: Gateway, body: bytes
) -> None:
    assert (await gateway.post(body)).status == 200
    ((key, value, headers),) = gateway.publisher.published
    assert (key, value) == (digest_of(body), body)
    envelope = Envelope.from_headers(headers)
    assert (envelope.cloud, envelope.notification_type, envelope.digest) == ("acme", "", digest_of(body))
    assert gateway.counted("acme", "accepted", "not_an_object") == 1


async def test_what_can_be_read_of_a_broken_body_becomes_its_key_and_its_type(gateway: Gateway) -> None:
    body = BODY[:-20]
    assert (await gateway.post(body)).status == 200
    ((key, value, headers),) = gateway.publisher.published
    assert (key, value) == (orjson.loads(BODY)["asset_id"], body)
    assert Envelope.from_headers(headers).notification_type == "upload"


@pytest.mark.parametrize(
    "body", [b"{}", rb'{"public_id": "\ud800", "notification_type": "\u0000\udfff"}', b'{"a": 1e400, "b": 1' + b"0" * 400 + b"}"]
)
async def test_odd_but_lawful_json_is_accepted(gateway: Gateway, body: bytes) -> None:
    assert (await gateway.post(body)).status == 200
    assert gateway.publisher.published[0][1] == body


async def test_an_unknown_notification_type_is_accepted(gateway: Gateway) -> None:
    assert (await gateway.post(b'{"notification_type": "brand_new", "asset_id": "x"}')).status == 200


async def test_an_unknown_cloud_gets_404_and_another_method_405(gateway: Gateway) -> None:
    await assert_problem(await gateway.post(BODY, "/webhooks/cloudinary/other"), 404)
    await assert_problem(await gateway.client.get("/nowhere"), 404)
    response = await gateway.client.get("/webhooks/cloudinary/acme")
    await assert_problem(response, 405)
    assert response.headers["Allow"] == "POST"


async def test_without_kafkas_ack_the_answer_is_503_and_says_when_to_come_back(gateway: Gateway) -> None:
    gateway.publisher.error = NotDurableError("no_ack_in_time")
    response = await gateway.post(BODY)
    await assert_problem(response, 503)
    assert int(response.headers["Retry-After"]) > 0
    assert gateway.counted("acme", "503", "no_ack_in_time") == 1


async def test_a_bug_is_a_500_that_tells_nothing(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(gateway.publisher, "publish", fail)
    await assert_problem(await gateway.post(BODY), 500)


async def test_a_body_over_the_limit_gets_413(make: Callable[..., Awaitable[Gateway]]) -> None:
    gateway = await make(gateway_max_body=1000)
    exact = b'{"a":"%s"}' % (b"x" * 992)
    assert len(exact) == 1000
    assert (await gateway.post(exact)).status == 200
    await assert_problem(await gateway.post(exact + b" "), 413)
    assert gateway.counted("acme", "413", "too_large") == 1


@pytest.mark.parametrize("expect", ["", "Expect: 100-continue\r\n"])
async def test_an_announced_body_over_the_limit_is_refused_before_it_is_sent(
    make: Callable[..., Awaitable[Gateway]], expect: str
) -> None:
    gateway = await make("acme", "umbrella")
    reader, writer = await gateway.connect()
    head = f"POST /webhooks/cloudinary/acme HTTP/1.1\r\nHost: x\r\nContent-Length: {2**40}\r\n{expect}\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(5):
        assert await reader.readline() == b"HTTP/1.1 413 Request Entity Too Large\r\n"
    writer.close()
    await writer.wait_closed()


async def test_an_unannounced_body_over_the_limit_is_refused_before_its_end(make: Callable[..., Awaitable[Gateway]]) -> None:
    gateway = await make(gateway_max_body=100_000)
    reader, writer = await gateway.connect()
    head = "POST /webhooks/cloudinary/acme HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    signed = f"X-Cld-Signature: {'0' * 40}\r\nX-Cld-Timestamp: {int(time.time())}\r\n\r\n"
    writer.write((head + signed).encode())
    async with asyncio.timeout(10):
        for _ in range(40):  # 200 kB of a body without end
            writer.write(b"1388\r\n" + b"x" * 5000 + b"\r\n")
            await writer.drain()
        assert b" 413 " in await reader.readline()
    writer.close()


async def test_the_public_port_tells_that_it_lives_and_nothing_more(gateway: Gateway) -> None:
    alive = await gateway.client.get("/livez")
    assert (alive.status, alive.headers["Server"]) == (200, "mediamirror")
    await assert_problem(await gateway.client.get("/readyz"), 404)
    await assert_problem(await gateway.client.get("/metrics"), 404)


async def test_the_admin_port_tells_who_runs_it_how_it_is() -> None:
    settings = settings_with(kafka_bootstrap="127.0.0.1:1", gateway_ack_timeout=0.1, gateway_port=0)
    async with (
        run_gateway(settings, Metrics(CollectorRegistry())) as (url, admin),
        aiohttp.ClientSession() as client,
    ):
        assert (await client.get(f"{admin}/livez")).status == 200
        assert (await client.get(f"{url}/readyz")).status == 404
        ready = await client.get(f"{admin}/readyz")
        assert (ready.status, await ready.json()) == (503, {"ready": False, "checks": {"kafka": False}})
        now = int(time.time())
        signed = {"X-Cld-Timestamp": str(now), "X-Cld-Signature": sign(BODY, now, SECRET)}
        answer = await client.post(f"{url}/webhooks/cloudinary/acme", data=io.BytesIO(BODY), headers=signed)
        assert answer.status == 503
        page = await (await client.get(f"{admin}/metrics")).text()
        assert 'mediamirror_webhooks_total{cloud="acme",outcome="503",reason="not_connected"} 1.0' in page


async def test_a_cloud_of_which_all_is_refused_is_told_of_but_keeps_the_gateway_ready() -> None:
    settings = settings_with("acme", "umbrella", kafka_bootstrap="127.0.0.1:1", gateway_port=0)
    metrics = Metrics(CollectorRegistry())
    async with run_gateway(settings, metrics) as (url, admin), aiohttp.ClientSession() as client:
        now = int(time.time())
        wrong = {"X-Cld-Timestamp": str(now), "X-Cld-Signature": sign(BODY, now, b"another secret")}
        for _ in range(3):
            answer = await client.post(f"{url}/webhooks/cloudinary/acme", data=io.BytesIO(BODY), headers=wrong)
            assert answer.status == 401
        said = await (await client.get(f"{admin}/readyz")).json()
    assert said["checks"] == {"kafka": False}
    assert said["warnings"] == ["signature: every webhook of cloud acme is refused (3 × mismatch)"]
    assert metrics.registry.get_sample_value("mediamirror_signatures_refused", {"cloud": "acme"}) == 1
    assert metrics.registry.get_sample_value("mediamirror_signatures_refused", {"cloud": "umbrella"}) == 0


async def test_a_record_that_kafka_never_takes_gets_413(gateway: Gateway) -> None:
    gateway.publisher.error = RefusedByKafkaError()
    await assert_problem(await gateway.post(BODY), 413)
    assert gateway.counted("acme", "413", "too_large_for_kafka") == 1


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip", "aes"])
async def test_a_body_that_is_encoded_in_any_way_gets_415_unread(gateway: Gateway, encoding: str) -> None:
    reader, writer = await gateway.connect()
    now = int(time.time())
    head = f"POST /webhooks/cloudinary/acme HTTP/1.1\r\nHost: x\r\nContent-Encoding: {encoding}\r\nContent-Length: 9999\r\n"
    writer.write(f"{head}X-Cld-Signature: {'0' * 40}\r\nX-Cld-Timestamp: {now}\r\n\r\n".encode())
    async with asyncio.timeout(5):
        assert await reader.readline() == b"HTTP/1.1 415 Unsupported Media Type\r\n"
        assert b"Connection: close" in await reader.read()
    writer.close()
    assert gateway.counted("acme", "415", "content_encoding") == 1


async def test_identity_is_no_encoding(gateway: Gateway) -> None:
    assert (await gateway.post(BODY, **{"Content-Encoding": "Identity"})).status == 200


async def test_only_a_continuation_can_be_expected(gateway: Gateway) -> None:
    assert (await gateway.post(BODY, Expect="100-Continue")).status == 200
    await assert_problem(await gateway.post(BODY, Expect="a-miracle"), 417)


async def test_a_request_without_a_version_is_refused(gateway: Gateway) -> None:
    reader, writer = await gateway.connect()
    writer.write(b"POST /webhooks/cloudinary/acme\r\n\r\n")
    async with asyncio.timeout(5):
        assert b" 400 " in await reader.readline()
    writer.close()


async def test_without_a_secret_there_is_no_gateway() -> None:
    with pytest.raises(NoCloudError):
        async with run_gateway(load_settings(kafka_bootstrap="127.0.0.1:1"), Metrics(CollectorRegistry())):
            pass
