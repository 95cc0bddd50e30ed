import asyncio
import base64
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import cloudinary
import pytest
from cloudinary import Search, api, uploader
from prometheus_client import CollectorRegistry

from service.cloudinary import client
from service.cloudinary.client import Account, Answer, Purpose
from service.cloudinary.errors import (
    AlreadyExistsError,
    BadRequestError,
    CloudinaryError,
    CredentialsError,
    NoDateError,
    NotAllowedError,
    NotFoundError,
    RateLimitedError,
    StillProcessingError,
    UnavailableError,
)
from service.settings import load_settings
from service.telemetry import Metrics
from tests.answering import NOON, Answering, Reply, answering, limits
from tests.bodies import CLOUD, KEY, SECRET

CALLS: list[tuple[Callable[..., Any], tuple[object, ...]]] = [(api.resource, ("a",)), (uploader.destroy, ("a",))]
BOTH = pytest.mark.parametrize(("function", "args"), CALLS, ids=["api", "uploader"])


@asynccontextmanager
async def account_at(url: str, *, patience: float = 5, metrics: Metrics | None = None) -> AsyncIterator[Account]:
    settings = load_settings(
        clouds={CLOUD: {"keys": {KEY: SECRET.decode()}, "upload_prefix": url}}, cloudinary_timeout=patience, cloudinary_threads=2
    )
    async with Account(CLOUD, settings.clouds[CLOUD], settings, None, metrics) as account:
        yield account


@asynccontextmanager
async def answered_by(*replies: Reply, **options: Any) -> AsyncIterator[tuple[Account, Answering]]:
    async with answering(*replies) as server, account_at(server.url, **options) as account:
        yield account, server


@BOTH
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, CredentialsError),
        (403, NotAllowedError),
        (404, NotFoundError),
        (409, AlreadyExistsError),
        (420, RateLimitedError),
        (423, StillProcessingError),
        (429, RateLimitedError),
        (422, CloudinaryError),
        (500, UnavailableError),
        (502, UnavailableError),
        (503, UnavailableError),
    ],
)
async def test_each_status_is_an_error_of_its_own(
    function: Callable[..., Any], args: tuple[object, ...], status: int, kind: type[CloudinaryError]
) -> None:
    reply = Reply(status, {"error": {"message": "so it is {0}"}}, {"X-Request-Id": "r-1"})
    async with answered_by(reply) as (account, server):
        with pytest.raises(CloudinaryError) as caught:
            await account.call(function, *args, purpose=Purpose.CHECK)
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.said, error.request_id) == (status, "so it is {0}", "r-1")
    assert error.passing is (status in (420, 423, 429, 500, 502, 503))
    assert error.effect_unknown is (status >= 500)
    assert SECRET.decode() not in str(error)
    assert len(server.requests) == 1


@BOTH
async def test_an_error_status_is_an_error_whatever_the_body(function: Callable[..., Any], args: tuple[object, ...]) -> None:
    bodies: list[Any] = [{}, b"<html>Bad gateway</html>", b"null", b"[]"]
    for said in bodies:
        async with answered_by(Reply(502, said)) as (account, _):
            with pytest.raises(UnavailableError) as caught:
                await account.call(function, *args, purpose=Purpose.CHECK)
            assert caught.value.effect_unknown


@BOTH
async def test_an_answer_that_is_no_json_is_none(function: Callable[..., Any], args: tuple[object, ...]) -> None:
    async with answered_by(Reply(200, b"<html>")) as (account, _):
        with pytest.raises(UnavailableError) as caught:
            await account.call(function, *args, purpose=Purpose.CHECK)
        assert caught.value.effect_unknown
        assert caught.value.status == 200


@BOTH
async def test_a_refused_connection_had_no_effect(function: Callable[..., Any], args: tuple[object, ...]) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # nobody listens, and nobody else can
        async with account_at(f"http://127.0.0.1:{deaf.getsockname()[1]}") as account:
            with pytest.raises(UnavailableError) as caught:
                await account.call(function, *args, purpose=Purpose.WRITE)
    assert not caught.value.effect_unknown
    assert caught.value.status is None


@BOTH
async def test_a_connection_broken_off_may_have_had_one_and_is_not_repeated(
    function: Callable[..., Any], args: tuple[object, ...]
) -> None:
    async with answered_by(Reply(breaks_off=True)) as (account, server):
        with pytest.raises(UnavailableError) as caught:
            await account.call(function, *args, purpose=Purpose.WRITE)
        assert caught.value.effect_unknown
        assert len(server.requests) == 1


@BOTH
async def test_a_time_out_may_have_had_one(function: Callable[..., Any], args: tuple[object, ...]) -> None:
    async with answered_by(Reply(seconds=0.5), patience=0.1) as (account, server):
        with pytest.raises(UnavailableError) as caught:
            await account.call(function, *args, purpose=Purpose.WRITE)
        assert caught.value.effect_unknown
        assert len(server.requests) == 1


@BOTH
async def test_a_proxy_that_takes_no_connection_lets_nothing_through(
    function: Callable[..., Any], args: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # nobody listens, and nobody else can
        monkeypatch.setattr(cloudinary.config(), "api_proxy", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        async with account_at("https://api.example.com") as account:
            with pytest.raises(UnavailableError) as caught:
                await account.call(function, *args, purpose=Purpose.WRITE)
    assert not caught.value.effect_unknown


@BOTH
async def test_who_leaves_does_not_wait_for_an_answer_that_stays_away(
    function: Callable[..., Any], args: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_LEAVE_SECONDS", 0.05)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.setblocking(False)
        async with account_at(f"http://127.0.0.1:{silent.getsockname()[1]}", patience=60) as account:
            calling = asyncio.create_task(account.call(function, *args, purpose=Purpose.WRITE))
            peer, _ = await asyncio.get_running_loop().sock_accept(silent)
            began = time.monotonic()
        assert time.monotonic() - began < 10
        with pytest.raises(UnavailableError) as caught:
            await calling
        assert caught.value.effect_unknown
        peer.close()


def test_what_the_environment_configures_for_the_sdk_is_no_other_accounts() -> None:
    url = "cloudinary://1:leaked@leaked?upload_preset=p&signature_version=1&oauth_token=t&upload_prefix=http://leaked&api_proxy=http://x"
    script = "import service, cloudinary, os; print(dict(vars(cloudinary.config())), os.environ['CLOUDINARY_URL'])"
    said = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"CLOUDINARY_URL": url}, capture_output=True, check=True, text=True
    ).stdout.removesuffix(f" {url}\n")
    assert "leaked" not in said
    assert "'api_proxy': 'http://x'" in said


async def test_a_redirect_is_not_followed_with_our_credentials() -> None:
    async with answering(Reply(200, {})) as elsewhere:
        async with answered_by(Reply(302, b"", {"Location": elsewhere.url})) as (account, _):
            with pytest.raises(UnavailableError):
                await account.call(api.ping, purpose=Purpose.CHECK)
        assert not elsewhere.requests


async def test_each_account_signs_with_its_own_key_and_leaves_the_sdk_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloudinary.config(), "upload_preset", "another's", raising=False)
    before = dict(vars(cloudinary.config()))
    async with answered_by(Reply(200, {"result": "ok"})) as (account, server):
        await account.call(api.ping, purpose=Purpose.CHECK)
        await account.call(uploader.destroy, "a", purpose=Purpose.WRITE, resource_type="video")
        await account.call(uploader.upload, "https://example.com/x.png", purpose=Purpose.WRITE)
    assert server.authorizations[0] == f"Basic {base64.b64encode(b':'.join([KEY.encode(), SECRET])).decode()}"
    assert [(method, path) for method, path, _ in server.requests] == [
        ("GET", f"/v1_1/{CLOUD}/ping"),
        ("POST", f"/v1_1/{CLOUD}/video/destroy"),
        ("POST", f"/v1_1/{CLOUD}/image/upload"),
    ]
    assert b"another's" not in server.requests[2][2]
    assert KEY.encode() in server.requests[1][2]
    assert dict(vars(cloudinary.config())) == before


async def test_an_answer_tells_when_by_cloudinarys_clock_it_was_surely_not_read_yet() -> None:
    async with answered_by(Reply(200, {"resources": []}, limits(499), seconds=0.01)) as (account, _):
        answer = await account.call(Search().expression("x").execute, purpose=Purpose.CHECK)
    assert answer.body == {"resources": []}
    assert answer.date == NOON
    assert answer.seconds >= 0.01
    assert answer.read_at == NOON - timedelta(seconds=1)


def test_a_reading_is_dated_down_to_the_whole_second() -> None:
    assert Answer({}, NOON, 2.5).read_at == datetime(2026, 10, 7, 11, 59, 57, tzinfo=UTC)
    assert Answer({}, NOON, 0).read_at == NOON
    with pytest.raises(NoDateError):
        _ = Answer({}, None, 0).read_at


@pytest.mark.parametrize(
    ("headers", "said", "seconds"),
    [
        (limits(0, resets_in=90), "Rate Limit Exceeded.", 90),
        ({"Date": limits(0)["Date"]}, "Limit reached. Try again on 2026-10-07 13:00:00 UTC", 3600),
        ({}, "Slow down", 60),
        (limits(0, resets_in=-5), "Rate Limit Exceeded.", 0.1),
    ],
)
async def test_a_limit_tells_by_cloudinarys_own_clock_when_it_ends(headers: dict[str, str], said: str, seconds: float) -> None:
    async with answered_by(Reply(420, {"error": {"message": said}}, headers)) as (account, _):
        with pytest.raises(RateLimitedError) as caught:
            await account.call(api.ping, purpose=Purpose.CHECK)
    assert caught.value.resets_in == seconds


async def test_an_add_on_without_a_subscription_is_no_limit_to_wait_for() -> None:
    async with answered_by(Reply(420, {"error": {"message": "You don't have an active subscription"}})) as (account, _):
        with pytest.raises(NotAllowedError, match="subscription"):
            await account.call(api.ping, purpose=Purpose.CHECK)


async def test_a_call_that_the_sdk_can_not_make_is_a_mistake_of_ours() -> None:
    async with answered_by(Reply()) as (account, server):
        with pytest.raises(ValueError, match="exactly one"):
            await account.call(api.notifications, purpose=Purpose.WRITE)
        assert not server.requests


async def test_calls_are_counted_by_function_and_outcome() -> None:
    metrics = Metrics(CollectorRegistry())
    async with answered_by(Reply(404, {"error": {"message": "x"}}), Reply(200, {}), metrics=metrics) as (account, _):
        with pytest.raises(NotFoundError):
            await account.call(api.resource, "a", purpose=Purpose.CHECK)
        await account.call(Search().execute, purpose=Purpose.CHECK)

    def count(function: str, outcome: str) -> float | None:
        return metrics.registry.get_sample_value(
            "mediamirror_cloudinary_calls_total", {"cloud": CLOUD, "function": function, "outcome": outcome}
        )

    assert count("resource", "NotFoundError") == 1
    assert count("Search", "ok") == 1
