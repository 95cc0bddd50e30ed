import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import cloudinary
import cloudinary.api
import cloudinary.exceptions
import cloudinary.utils
import pytest

from standin.server import Options, Standin, run_standin
from tests.receiving import eventually
from tests.sdk import Sdk, standin_and_sdk


@pytest.fixture
async def running() -> AsyncIterator[tuple[Standin, Sdk]]:
    async with standin_and_sdk(seed=7) as running:
        await running[1](cloudinary.api.create_trigger, "poll://mirror", "all", uri_type="poll")
        yield running


def upload(standin: Standin, count: int) -> None:
    for number in range(count):
        standin.account.upload(public_id=f"p{number:04}")


def names(answer: dict[str, Any]) -> list[str]:
    return [message["payload"]["public_id"] for message in answer.get("messages", [])]


async def test_messages_verify_with_the_sdk_and_are_gone_once_acked(running: tuple[Standin, Sdk]) -> None:
    standin, sdk = running
    upload(standin, 3)
    answer = await sdk(cloudinary.api.notifications, channel="mirror", wait_seconds=0)
    assert names(answer) == ["p0000", "p0001", "p0002"]
    cloudinary.config(api_secret=standin.secret)
    try:
        for message in answer["messages"]:
            assert message.keys() == {"receipt_handle", "batch_id", "payload", "signed_payload", "signature", "timestamp"}
            assert cloudinary.utils.verify_notification(message)
            assert cloudinary.utils.base64url_decode(message["signed_payload"]).startswith('{"notification_type":"upload",')
    finally:
        cloudinary.reset_config()
    handles = [message["receipt_handle"] for message in answer["messages"]]
    acked = await sdk(cloudinary.api.ack_notifications, [*handles, "unknown"])
    assert [result["status"] for result in acked["results"]] == ["acked", "acked", "acked", "not_found"]
    assert standin.notifier.channel.waiting() == 0
    assert "messages" not in await sdk(cloudinary.api.notifications, channel="mirror", wait_seconds=0)


async def test_what_is_not_acked_comes_again_with_another_receipt_after_its_time(running: tuple[Standin, Sdk]) -> None:
    standin, _ = running
    channel = standin.notifier.channel
    upload(standin, 1)
    first = await channel.receive(channel="mirror", visibility_timeout=1)
    assert await channel.receive(channel="mirror", wait_seconds=0) == {}
    started = time.monotonic()
    again = await channel.receive(channel="mirror", wait_seconds=10)
    assert 0.5 < time.monotonic() - started < 5
    assert names(again) == names(first)
    assert channel.ack([first["messages"][0]["receipt_handle"]])["results"][0]["status"] == "not_found"
    assert channel.ack([again["messages"][0]["receipt_handle"]])["results"][0]["status"] == "acked"


async def test_a_long_poll_ends_with_the_first_message(running: tuple[Standin, Sdk]) -> None:
    standin, sdk = running
    waiting = asyncio.create_task(sdk(cloudinary.api.notifications, channel="mirror", wait_seconds=20))
    await eventually(lambda: standin.calls["GET", "/v2/notifications/{cloud}/messages"])
    upload(standin, 1)
    assert names(await waiting) == ["p0000"]


async def test_a_long_poll_does_not_hold_up_the_end_of_the_standin() -> None:
    started = time.monotonic()
    async with run_standin() as standin:
        waiting = asyncio.create_task(standin.notifier.channel.receive(channel="mirror", wait_seconds=60))
        await asyncio.sleep(0)
    assert await waiting == {}
    assert time.monotonic() - started < 5


async def test_no_more_messages_are_given_than_asked_for(running: tuple[Standin, Sdk]) -> None:
    standin, sdk = running
    upload(standin, 15)
    assert len(names(await sdk(cloudinary.api.notifications, channel="mirror", wait_seconds=0))) == 10
    assert len(names(await sdk(cloudinary.api.notifications, channel="mirror", wait_seconds=0, max_messages=3))) == 3
    assert len(names(await sdk(cloudinary.api.notifications, channel="mirror", wait_seconds=0, max_messages=100))) == 2


async def test_an_anonymous_destination_is_addressed_by_the_batch(running: tuple[Standin, Sdk]) -> None:
    standin, sdk = running
    for batch in ("one", "two"):
        standin.account.upload(public_id=batch, notification_url="poll://*", batch_id=batch)
    assert names(await sdk(cloudinary.api.notifications, batch_id="two", wait_seconds=0)) == ["two"]
    assert names(await sdk(cloudinary.api.notifications, channel="mirror", wait_seconds=0)) == []


async def test_channels_do_not_mix(running: tuple[Standin, Sdk]) -> None:
    standin, sdk = running
    await sdk(cloudinary.api.create_trigger, "poll://other", "delete", uri_type="poll")
    upload(standin, 1)
    standin.account.destroy("p0000")
    other = await sdk(cloudinary.api.notifications, channel="other", wait_seconds=0)
    assert [message["payload"]["notification_type"] for message in other["messages"]] == ["delete"]
    mine = await sdk(cloudinary.api.notifications, channel="mirror", wait_seconds=0)
    assert [message["payload"]["notification_type"] for message in mine["messages"]] == ["upload", "delete"]


@pytest.mark.parametrize("wrong", [{"max_messages": 101}, {"max_messages": 0}, {"wait_seconds": 61}, {"visibility_timeout": 0}])
async def test_numbers_out_of_range_are_refused(running: tuple[Standin, Sdk], wrong: dict[str, int]) -> None:
    with pytest.raises(cloudinary.exceptions.BadRequest):
        await running[1](cloudinary.api.notifications, channel="mirror", **wrong)


async def test_at_most_a_hundred_receipts_are_taken(running: tuple[Standin, Sdk]) -> None:
    with pytest.raises(cloudinary.exceptions.BadRequest):
        await running[1](cloudinary.api.ack_notifications, [str(number) for number in range(101)])


async def test_polling_does_not_count_as_calls_of_the_hour(running: tuple[Standin, Sdk]) -> None:
    standin, sdk = running
    before = standin.limits.remaining
    await sdk(cloudinary.api.notifications, channel="mirror", wait_seconds=0)
    assert standin.limits.remaining == before


async def test_messages_survive_a_restart(tmp_path: Path) -> None:
    options = Options(data_dir=tmp_path)
    async with run_standin(options) as standin:
        standin.notifier.triggers.create("poll://mirror", "all", uri_type="poll")
        upload(standin, 2)
    async with run_standin(options) as standin:
        standin.account.upload(public_id="later")
        received = await standin.notifier.channel.receive(channel="mirror", wait_seconds=0)
    assert names(received) == ["p0000", "p0001", "later"]


async def test_messages_are_lost_doubled_and_reordered_within_the_window(running: tuple[Standin, Sdk]) -> None:
    standin, _ = running
    standin.faults.reorder = 20
    upload(standin, 90)
    received = names(await standin.notifier.channel.receive(channel="mirror", max_messages=100))
    assert sorted(received) != received
    assert all(abs(place - int(name[1:])) <= 20 for place, name in enumerate(received))
    standin.faults.clear()
    standin.faults.lose = standin.faults.double = 0.2
    upload(standin, 60)
    received = names(await standin.notifier.channel.receive(channel="mirror", max_messages=100))
    counts = standin.notifier.counts
    assert counts["lost"] > 0
    assert counts["doubled"] > 0
    assert len(received) == 60 - counts["lost"] + counts["doubled"]
