import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from cloudinary import api, uploader
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from service.cloudinary.client import Account, Purpose
from service.gateway.signature import sign
from service.poller.poller import Poller
from service.publisher import Publisher
from service.settings import Cloud, Settings
from service.telemetry import Metrics
from standin.options import Options
from standin.server import run_standin
from tests.answering import Answering, Reply, answering
from tests.bodies import CLOUD, KEY, SECRET, upload
from tests.integration.conftest import Mirrored, eventually

YEAR = 365 * 24 * 3600


@dataclass
class Channel:
    """A channel that gives each message once until `come_again`."""

    waiting: dict[str, dict[str, Any]] = field(default_factory=dict)
    claimed: dict[str, dict[str, Any]] = field(default_factory=dict)
    acked: list[str] = field(default_factory=list)

    def put(self, receipt: str, body: bytes, *, secret: bytes = SECRET, age: float = 0) -> None:
        stamp = int(time.time() - age)
        payload = base64.urlsafe_b64encode(body).decode().rstrip("=")
        signature = sign(body, stamp, secret)
        self.waiting[receipt] = {"signed_payload": payload, "signature": signature, "timestamp": str(stamp), "batch_id": "b"}

    def come_again(self) -> None:
        self.waiting |= self.claimed
        self.claimed.clear()

    def answer(self, _method: str, path: str, body: bytes) -> Reply:
        if path.endswith("/ack"):
            receipts = orjson.loads(body)["receipt_handles"]
            for receipt in receipts:
                self.claimed.pop(receipt, None)
            self.acked += receipts
            return Reply(200, {"results": [{"receipt_handle": one, "status": "acked"} for one in receipts]})
        self.claimed |= self.waiting
        messages = [{"receipt_handle": receipt, **message} for receipt, message in self.waiting.items()]
        self.waiting = {}
        return Reply(200, {"messages": messages}) if messages else Reply(200, {}, seconds=0.05)


@dataclass
class Polling:
    channel: Channel
    metrics: Metrics
    server: Answering
    poller: Poller

    def counted(self, outcome: str, reason: str = "") -> float:
        labels = {"cloud": CLOUD, "outcome": outcome, "reason": reason}
        return self.metrics.registry.get_sample_value("mediamirror_polled_total", labels) or 0


@asynccontextmanager
async def polling(settings: Settings, wait_seconds: int = 0) -> AsyncIterator[Polling]:
    channel, metrics = Channel(), Metrics(CollectorRegistry())
    async with AsyncExitStack() as running:
        server = await running.enter_async_context(answering())
        server.decide = channel.answer
        cloud = Cloud(keys={KEY: SecretStr(SECRET.decode())}, upload_prefix=server.url)
        account = await running.enter_async_context(Account(CLOUD, cloud, settings, None, metrics))
        publisher = await running.enter_async_context(Publisher(settings, metrics))
        poller = Poller(settings, account, publisher, metrics, wait_seconds=wait_seconds)
        task = asyncio.create_task(poller.run())
        try:
            yield Polling(channel, metrics, server, poller)
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_what_lay_in_the_channel_becomes_rows_and_is_acknowledged(mirrored: Mirrored) -> None:
    async with polling(mirrored.settings) as one:
        for number in range(150):
            one.channel.put(f"r{number}", orjson.dumps(upload(f"{number:032x}")), age=YEAR if number % 2 else 0)

        async def acked() -> bool:
            return len(one.channel.acked) == 150

        await eventually(acked)
        mirrored.accepted = 150
        await mirrored.caught_up()
        assert await one.poller.is_ready()
        assert one.counted("accepted") == 150
    assert len(await mirrored.rows()) == 150
    assert sorted(one.channel.acked) == sorted(f"r{number}" for number in range(150))


async def test_what_is_not_proven_is_left_in_the_channel_and_holds_up_nothing(mirrored: Mirrored) -> None:
    async with polling(mirrored.settings) as one:
        one.channel.put("forged", orjson.dumps(upload("f" * 32)), secret=b"another")
        one.channel.put("unknown-key", orjson.dumps(upload("e" * 32) | {"signature_key": "999"}), secret=b"another")
        one.channel.put("future", orjson.dumps(upload("d" * 32)), age=-YEAR)
        one.channel.put("unreadable", b"{}")
        one.channel.waiting["unreadable"]["signed_payload"] = "*"
        one.channel.put("good", orjson.dumps(upload("a" * 32)))

        async def acked() -> bool:
            return bool(one.channel.acked)

        await eventually(acked)
        mirrored.accepted = 1
        await mirrored.caught_up()
        assert one.channel.acked == ["good"]
        assert set(one.channel.claimed) == {"forged", "unknown-key", "future", "unreadable"}
        for reason in ("mismatch", "unknown_key", "in_the_future", "unreadable"):
            assert one.counted("refused", reason) == 1
    assert [row["asset_id"] for row in await mirrored.rows()] == ["a" * 32]


async def test_messages_of_no_known_form_hold_up_nothing(mirrored: Mirrored) -> None:
    async with polling(mirrored.settings) as one:
        odd: list[Any] = [None, "x", 7, ["y"], {}, {"receipt_handle": 1, "signed_payload": "e30"}, {"signed_payload": 3}]
        answers = [Reply(200, {"messages": odd}), Reply(200, {"messages": {"a": 1}}), Reply(200, {"messages": "none"})]
        one.server.decide = lambda *request: answers.pop() if answers else one.channel.answer(*request)
        one.channel.put("good", orjson.dumps(upload("a" * 32)))

        async def acked() -> bool:
            return one.channel.acked == ["good"]

        await eventually(acked)
        assert one.counted("refused", "unreadable") == len(odd)


async def test_what_kafka_acked_and_the_channel_did_not_hear_of_comes_again_and_changes_nothing(mirrored: Mirrored) -> None:
    async with polling(mirrored.settings) as one:
        heard = asyncio.Event()

        def deaf(method: str, path: str, body: bytes) -> Reply:
            if path.endswith("/ack"):
                heard.set()
                return Reply(breaks_off=True)
            return one.channel.answer(method, path, body)

        one.server.decide = deaf
        one.channel.put("a", orjson.dumps(upload("a" * 32)))
        await heard.wait()
    assert one.channel.acked == []
    one.channel.come_again()
    async with polling(mirrored.settings) as two:
        two.channel.waiting = one.channel.waiting

        async def acked() -> bool:
            return two.channel.acked == ["a"]

        await eventually(acked)
        mirrored.accepted = 2
        await mirrored.caught_up()
    (row,) = await mirrored.rows()
    assert row["revision"] == 1


async def test_a_channel_that_answers_at_once_is_not_asked_without_end(settings: Settings) -> None:
    async with polling(settings, wait_seconds=10) as one:
        one.server.decide = lambda *_: Reply(200, {})

        async def asked() -> bool:
            return len(one.server.requests) >= 2

        await eventually(asked)
        await asyncio.sleep(0.3)
        assert len(one.server.requests) == 2


async def test_what_is_proven_and_no_json_object_is_kept(settings: Settings) -> None:
    async with polling(settings) as one:
        one.channel.put("list", b"[1]")

        async def acked() -> bool:
            return one.channel.acked == ["list"]

        await eventually(acked)
        assert one.counted("accepted", "not_an_object") == 1


async def test_nothing_is_acknowledged_while_kafka_is_away_and_all_of_it_once_it_is_back(settings: Settings) -> None:
    away = settings.model_copy(update={"kafka_bootstrap": "127.0.0.1:1", "gateway_ack_timeout": 0.2})
    async with polling(away) as one:
        one.channel.put("a", orjson.dumps(upload()))

        async def undurable() -> bool:
            return one.counted("undurable", "not_connected") == 1

        await eventually(undurable)
        asked = len(one.server.requests)
        one.channel.come_again()
        await asyncio.sleep(0.3)
        assert len(one.server.requests) <= asked + 1  # that which was under way
        assert one.channel.acked == []
    one.channel.come_again()
    async with polling(settings) as two:
        two.channel.waiting = one.channel.waiting

        async def acked() -> bool:
            return two.channel.acked == ["a"]

        await eventually(acked)


async def test_a_channel_that_can_not_be_polled_makes_the_poller_unready(settings: Settings) -> None:
    async with polling(settings) as one:
        one.server.decide = lambda *_: Reply(404, {"error": {"message": "no such channel"}})

        async def unready() -> bool:
            return not await one.poller.is_ready()

        await eventually(unready)


async def test_an_upload_at_the_stand_in_comes_by_its_channel(mirrored: Mirrored) -> None:
    metrics = Metrics(CollectorRegistry())
    async with AsyncExitStack() as running:
        options = Options(data_dir=None, cloud=CLOUD, key=KEY, secret=SECRET.decode())
        standin = await running.enter_async_context(run_standin(options))
        cloud = Cloud(keys={KEY: SecretStr(SECRET.decode())}, upload_prefix=standin.url)
        account = await running.enter_async_context(Account(CLOUD, cloud, mirrored.settings, None, metrics))
        channel = f"poll://{mirrored.settings.poller_channel}"
        await account.call(api.create_trigger, channel, "all", purpose=Purpose.WRITE, uri_type="poll")
        publisher = await running.enter_async_context(Publisher(mirrored.settings, metrics))
        poller = Poller(mirrored.settings, account, publisher, metrics, wait_seconds=1)
        task = asyncio.create_task(poller.run())
        try:
            image = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
            uploaded = await account.call(uploader.upload, image, purpose=Purpose.WRITE, public_id="a/b", tags=["t"])
            mirrored.accepted = 1
            await mirrored.caught_up()
        finally:
            task.cancel()
            await asyncio.wait([task])
    (row,) = await mirrored.rows()
    assert (row["asset_id"], row["public_id"]) == (uploaded.body["asset_id"], "a/b")
