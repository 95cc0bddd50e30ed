import asyncio
import time
from collections import Counter
from pathlib import Path

import cloudinary.api
import cloudinary.exceptions
import cloudinary.uploader
import pytest
from aiohttp import web

from standin.server import Options, Standin, run_standin
from standin.store import Store
from tests.receiving import receiving
from tests.sdk import standin_and_sdk

PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def upload(standin: Standin, count: int) -> None:
    for number in range(count):
        standin.account.upload(public_id=f"p{number:04}")


async def test_an_upload_through_the_sdk_reaches_the_trigger_compact_and_signed_as_the_gateway_demands() -> None:
    async with receiving() as receiver, standin_and_sdk() as (standin, sdk):
        trigger = await sdk(cloudinary.api.create_trigger, receiver.url, "all")
        assert (await sdk(cloudinary.api.triggers))["triggers"][0]["id"] == trigger["id"]
        await sdk(cloudinary.uploader.upload, PNG, public_id="é", tags=["a"])
        await standin.notifier.drained()
    [webhook] = receiver.webhooks
    assert webhook.signed_by(standin, time.time()) == standin.key
    assert webhook.content_type == "application/json"
    assert webhook.body.startswith(b'{"notification_type":"upload",')
    said = webhook.said()
    assert said["public_id"] == "é"
    assert said["signature_key"] == standin.key
    assert said["notification_context"]["triggered_by"] == {"source": "api", "id": standin.key}


async def test_a_notification_is_tried_four_times_with_growing_pauses_unchanged_and_signed_afresh() -> None:
    now = 1_700_000_000.0

    def clock() -> float:
        return now

    async with receiving() as receiver, run_standin(Options(retry_unit=0.01, clock=clock)) as standin:
        receiver.answers = [500, 204, 302, 503, 500]
        standin.notifier.triggers.create(receiver.url, "upload")
        upload(standin, 1)
        await receiver.has(2)
        now += 60
        await standin.notifier.drained()
        assert standin.notifier.counts["given_up"] == 1
        assert standin.notifier.counts["refused"] == 4
    assert len(receiver.webhooks) == 4
    assert len({webhook.body for webhook in receiver.webhooks}) == 1
    assert receiver.webhooks[0].timestamp == "1700000000"
    assert receiver.webhooks[-1].timestamp == "1700000060"
    assert all(webhook.signed_by(standin, now) for webhook in receiver.webhooks)


async def test_only_200_ends_the_trying() -> None:
    async with receiving() as receiver, run_standin(Options(retry_unit=0.001)) as standin:
        receiver.answers = [503, 201]
        standin.notifier.triggers.create(receiver.url, "upload")
        upload(standin, 1)
        await standin.notifier.drained()
        assert standin.notifier.counts["delivered"] == 1
    assert len(receiver.webhooks) == 3


async def test_what_is_undelivered_survives_a_restart_with_its_tries(tmp_path: Path) -> None:
    async with receiving() as receiver:
        options = Options(data_dir=tmp_path, retry_unit=0.001)
        receiver.answers = [500] * 10
        async with run_standin(Options(data_dir=tmp_path, retry_unit=3600)) as standin:
            standin.notifier.triggers.create(receiver.url, "all")
            upload(standin, 10)
            await receiver.has(10)
        with Store(tmp_path) as store:
            store.connection.execute("UPDATE deliveries SET due = 0")  # an hour later
        async with run_standin(options) as standin:
            await standin.notifier.drained()
            assert standin.notifier.counts["delivered"] == 10
            upload(standin, 1)
            await standin.notifier.drained()
    assert sorted(Counter(receiver.names()).values()) == [2] * 9 + [3]


async def test_a_notification_of_a_change_that_is_undone_is_never_sent() -> None:
    def fail(standin: Standin) -> None:
        with standin.account.store.transaction():
            upload(standin, 1)
            raise RuntimeError

    async with receiving() as receiver, run_standin() as standin:
        standin.notifier.triggers.create(receiver.url, "all")
        with pytest.raises(RuntimeError):
            fail(standin)
        standin.account.upload(public_id="after")
        await standin.notifier.drained()
    assert receiver.names() == ["after"]


async def test_triggers_get_the_events_they_ask_for() -> None:
    async with receiving() as receiver, run_standin() as standin:
        for event_type in ("upload", "delete", "rename"):
            standin.notifier.triggers.create(f"{receiver.url}/{event_type}", event_type)
        upload(standin, 1)
        standin.account.destroy("p0000")
        standin.account.create_folder("f")
        await standin.notifier.drained()
    assert sorted(webhook.said()["notification_type"] for webhook in receiver.webhooks) == ["delete", "upload"]


async def test_a_calls_own_url_overrides_all_triggers_but_additive_ones() -> None:
    async with receiving() as own, receiving() as plain, receiving() as additive, standin_and_sdk() as (standin, sdk):
        standin.notifier.triggers.create(plain.url, "all")
        standin.notifier.triggers.create(additive.url, "all", additive=True)
        await sdk(cloudinary.uploader.upload, PNG, public_id="a", notification_url=own.url)
        await sdk(cloudinary.uploader.add_tag, "t", ["a"], notification_url=own.url)
        await standin.notifier.drained()
    assert [len(receiver.webhooks) for receiver in (own, plain, additive)] == [2, 0, 2]


async def test_a_filter_holds_back_and_a_template_replaces() -> None:
    async with receiving() as filtered, receiving() as templated, standin_and_sdk() as (standin, sdk):
        rule = {"and": [{"in": ["p000", {"var": "public_id"}]}, {"!=": [{"var": "bytes"}, None]}]}
        trigger = standin.notifier.triggers.create(filtered.url, "upload", filter=rule)
        standin.notifier.triggers.create(templated.url, "upload", payload_template='{"public_id":"my {{public_id}}"}')
        standin.account.upload(public_id="other")
        standin.account.upload(public_id="p000")
        await standin.notifier.drained()
        tried = await sdk(cloudinary.api.test_trigger, trigger["id"], {"public_id": "x"})
        assert (tried["filter_present"], tried["filter_result"]) == (True, False)
    assert filtered.names() == ["p000"]
    assert sorted(templated.names()) == ["my other", "my p000"]


async def test_triggers_are_changed_and_deleted_and_survive_a_restart(tmp_path: Path) -> None:
    async with standin_and_sdk(data_dir=tmp_path) as (_, sdk):
        trigger = await sdk(cloudinary.api.create_trigger, "https://h/x", "upload")
        gone = await sdk(cloudinary.api.create_trigger, "poll://mirror", "all", uri_type="poll")
        await sdk(cloudinary.api.update_trigger, trigger["id"], "https://h/y")
        await sdk(cloudinary.api.delete_trigger, gone["id"])
    async with standin_and_sdk(data_dir=tmp_path) as (_, sdk):
        listed = await sdk(cloudinary.api.triggers)
        assert [(one["uri"], one["uri_type"], one["additive"]) for one in listed["triggers"]] == [
            ("https://h/y", "webhook", False)
        ]
        assert (await sdk(cloudinary.api.triggers, event_type="delete"))["total"] == 0
        with pytest.raises(cloudinary.exceptions.NotFound):
            await sdk(cloudinary.api.delete_trigger, gone["id"])


@pytest.mark.parametrize(
    ("uri", "event_type", "options"),
    [
        ("poll://mirror", "all", {}),
        ("https://h/x", "all", {"uri_type": "poll"}),
        ("nonsense", "all", {}),
        ("", "all", {}),
        ("https://h/x", "", {}),
        ("https://h/x", "all", {"uri_type": "flow"}),
    ],
)
async def test_a_trigger_that_can_not_work_is_refused(uri: str, event_type: str, options: dict[str, str]) -> None:
    async with standin_and_sdk() as (_, sdk):
        with pytest.raises(cloudinary.exceptions.BadRequest):
            await sdk(cloudinary.api.create_trigger, uri, event_type, **options)


async def test_lost_and_doubled_notifications_are_as_many_as_ordered() -> None:
    async with receiving() as receiver, run_standin(Options(seed=7)) as standin:
        standin.notifier.triggers.create(receiver.url, "all")
        standin.faults.lose = standin.faults.double = 0.2
        upload(standin, 500)
        await standin.notifier.drained()
        counts = standin.notifier.counts
    seen = Counter(receiver.names())
    assert len(seen) == 500 - counts["lost"]
    assert sum(count == 2 for count in seen.values()) == counts["doubled"]
    assert 70 < counts["lost"] < 130
    assert 50 < counts["doubled"] < 110


@pytest.mark.parametrize("window", [20, True, 1000])
async def test_reordered_notifications_all_arrive(window: int) -> None:
    async with receiving() as receiver, run_standin(Options(seed=7)) as standin:
        standin.notifier.triggers.create(receiver.url, "all")
        standin.faults.reorder = window
        for _ in range(6):
            upload(standin, 50)
            await asyncio.sleep(0)
        await standin.notifier.drained()
    names = receiver.names()
    assert Counter(names) == dict.fromkeys(names, 6)
    assert len(names) == 300
    assert names[:50] != sorted(names[:50])


async def test_late_notifications_come_within_the_delay() -> None:
    async with receiving() as receiver, run_standin(Options(seed=7)) as standin:
        standin.notifier.triggers.create(receiver.url, "all")
        standin.faults.delay = 0.2
        started = time.monotonic()
        upload(standin, 50)
        await standin.notifier.drained()
        assert 0.1 < time.monotonic() - started < 5
    assert len(receiver.webhooks) == 50
    assert receiver.names() != sorted(receiver.names())


async def test_a_receiver_that_is_away_or_silent_counts_as_refusing() -> None:
    async with run_standin(Options(retry_unit=0.001, delivery_timeout=0.05)) as standin:

        async def never(_request: web.Request) -> web.Response:
            await asyncio.sleep(0.2)
            raise AssertionError

        app = web.Application()
        app.router.add_post("/", never)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        standin.notifier.triggers.create(f"http://127.0.0.1:{runner.addresses[0][1]}/", "upload")
        standin.notifier.triggers.create("http://127.0.0.1:1/", "upload")
        upload(standin, 1)
        await standin.notifier.drained()
        await runner.cleanup()
        assert standin.notifier.counts["given_up"] == 2
        assert standin.notifier.counts["refused"] == 8


async def test_waiting_for_the_end_gives_up_in_time() -> None:
    async with run_standin() as standin:
        standin.notifier.triggers.create("http://127.0.0.1:1/", "upload")
        upload(standin, 1)
        with pytest.raises(TimeoutError):
            await standin.notifier.drained(timeout=0.05)


async def test_two_thousand_notifications_are_delivered_in_seconds() -> None:
    async with receiving() as receiver, run_standin() as standin:
        standin.notifier.triggers.create(receiver.url, "all")
        upload(standin, 2000)
        await standin.notifier.drained(timeout=20)
    assert len(set(receiver.names())) == 2000
