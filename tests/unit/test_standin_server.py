import asyncio
import json
import signal
import subprocess
import sys
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp
import cloudinary.api
import cloudinary.exceptions
import cloudinary.uploader
import pytest

from standin.server import Options, run_standin
from tests.sdk import close_connections, standin_and_sdk


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


async def test_the_admin_api_is_limited_by_the_clock_hour_and_the_upload_api_is_not() -> None:
    clock = Clock(1_728_048_000.0 - 90.5)  # 2024-10-04 13:20:00 UTC, less a minute and a half
    async with standin_and_sdk(hourly_limit=2, clock=clock, window=600.0) as (standin, sdk):
        first = await sdk(cloudinary.api.ping)
        await sdk(cloudinary.api.ping)
        assert (first.rate_limit_allowed, first.rate_limit_remaining) == (2, 1)
        assert first.rate_limit_reset_at[:6] == (2024, 10, 4, 13, 20, 0)

        with pytest.raises(cloudinary.exceptions.RateLimited) as refused:
            await sdk(cloudinary.api.ping)
        assert str(refused.value) == (
            "Error 420 - Rate Limit Exceeded. Limit of 2 api operations reached. Try again on 2024-10-04 13:20:00 UTC"
        )
        assert (await sdk(cloudinary.uploader.destroy, "a", timestamp=int(clock.now)))["result"] == "not found"
        assert standin.calls["GET", "/ping"] == 2

        clock.now += 91
        assert (await sdk(cloudinary.api.ping)).rate_limit_remaining == 1


async def test_every_answer_tells_the_time_of_the_standin_and_its_own_id() -> None:
    clock = Clock(1_000_000_000.9)
    async with run_standin(Options(clock=clock)) as standin, aiohttp.ClientSession() as session:
        for path in ("/v1_1/demo/ping", "/v1_1/demo/nothing", "/demo/image/upload/none"):
            async with session.get(standin.url + path) as response:
                assert parsedate_to_datetime(response.headers["Date"]).timestamp() == 1_000_000_000
                assert response.headers["X-Request-Id"]
                assert response.content_type == ("text/html" if path.endswith("/ping") else "application/json")
        standin.account.upload(public_id="a")
        standin.account.upload(public_id="a")
        (asset,) = standin.account.resources()
    assert (asset["created_at"], asset["version"]) == ("2001-09-09T01:46:40Z", 1_000_000_000)


async def test_what_was_answered_survives_being_killed(tmp_path: Path) -> None:
    def start() -> tuple[subprocess.Popen[bytes], str]:
        ready = tmp_path / "ready.json"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "standin", "--data-dir", str(tmp_path / "data"), "--ready-file", str(ready)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not ready.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return process, json.loads(ready.read_text())["url"]

    options = {"cloud_name": "demo", "api_key": Options.key, "api_secret": Options.secret}

    def use_it() -> None:
        process, url = start()
        try:
            for number in range(5):
                cloudinary.uploader.upload(
                    b"%d" % number, resource_type="raw", public_id=f"{number}", upload_prefix=url, **options
                )
        finally:
            process.kill()
            process.wait()
            close_connections()
        process, url = start()
        try:
            answer = cloudinary.api.resources(resource_type="raw", upload_prefix=url, **options)
            assert [resource["public_id"] for resource in answer["resources"]] == ["4", "3", "2", "1", "0"]
            assert answer.rate_limit_remaining == 499
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
            close_connections()

    await asyncio.to_thread(use_it)


async def test_a_large_library_is_listed_page_by_page_each_asset_once() -> None:
    async with standin_and_sdk() as (standin, sdk):
        standin.account.seed(2_250)
        listed: list[str] = []
        cursor = None
        while cursor or not listed:
            page = await sdk(cloudinary.api.resources, max_results=500, next_cursor=cursor)
            listed += [resource["public_id"] for resource in page["resources"]]
            cursor = page.get("next_cursor")
    assert len(listed) == len(set(listed)) == 2_250
