import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import cloudinary.api
import cloudinary.exceptions
import cloudinary.uploader
import pytest

from standin.faults import Faults
from standin.server import Standin
from tests.receiving import eventually
from tests.sdk import Sdk, standin_and_sdk


@pytest.fixture
async def running() -> AsyncIterator[tuple[Standin, Sdk]]:
    async with standin_and_sdk(seed=7) as running:
        running[0].account.upload(public_id="a")
        yield running


async def destroy(sdk: Sdk) -> Any:
    return await sdk(cloudinary.uploader.destroy, "a")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, cloudinary.exceptions.BadRequest),
        (401, cloudinary.exceptions.AuthorizationRequired),
        (403, cloudinary.exceptions.NotAllowed),
        (409, cloudinary.exceptions.AlreadyExists),
        (420, cloudinary.exceptions.RateLimited),
        (423, cloudinary.exceptions.Error),
        (500, cloudinary.exceptions.GeneralError),
        (502, cloudinary.exceptions.Error),
    ],
)
async def test_a_call_fails_as_ordered_without_effect_and_the_next_goes_well(
    running: tuple[Standin, Sdk], status: int, error: type[Exception]
) -> None:
    standin, sdk = running
    standin.faults.fail("POST */image/destroy", status=status)
    with pytest.raises(error, match=f"Ordered to fail with {status}"):
        await destroy(sdk)
    assert len(standin.account.resources()) == 1
    assert (await destroy(sdk))["result"] == "ok"


async def test_other_calls_are_spared(running: tuple[Standin, Sdk]) -> None:
    standin, sdk = running
    standin.faults.fail("POST */rename", status=500)
    assert (await destroy(sdk))["result"] == "ok"
    assert standin.faults.ordered == 1


async def test_a_rate_limit_tells_when_calls_are_served_again(running: tuple[Standin, Sdk]) -> None:
    standin, _ = running
    standin.faults.fail("GET */ping", status=420, resets_in=90)
    async with aiohttp.ClientSession() as session, session.get(f"{standin.url}/v1_1/demo/ping") as response:
        assert response.status == 420
        resets_at = parsedate_to_datetime(response.headers["X-FeatureRateLimit-Reset"])
        assert response.headers["X-FeatureRateLimit-Remaining"] == "0"
    assert abs(resets_at - datetime.now(UTC) - timedelta(seconds=90)) < timedelta(seconds=10)


async def test_an_answer_that_is_lost_after_the_effect_looks_like_a_broken_connection(running: tuple[Standin, Sdk]) -> None:
    standin, sdk = running
    standin.faults.time_out_after_effect("POST */destroy")
    with pytest.raises(cloudinary.exceptions.Error):
        await destroy(sdk)
    assert standin.account.resources() == []
    assert (await destroy(sdk))["result"] == "not found"


async def test_a_call_can_take_longer_than_its_caller_waits(running: tuple[Standin, Sdk]) -> None:
    standin, sdk = running
    standin.faults.time_out_after_effect("POST */destroy", times=None, seconds=0.3)
    started = time.monotonic()
    with pytest.raises(cloudinary.exceptions.Error):
        await sdk(cloudinary.uploader.destroy, "a", timeout=0.1)
    assert time.monotonic() - started < 5
    assert standin.account.resources() == []


async def test_an_answer_breaks_off_in_the_middle(running: tuple[Standin, Sdk]) -> None:
    standin, sdk = running
    standin.account.seed(10)
    standin.faults.break_off("GET */resources/image", times=4, after=1)  # urllib3 tries a GET four times
    assert len((await sdk(cloudinary.api.resources))["resources"]) == 10
    with pytest.raises(cloudinary.exceptions.GeneralError):
        await sdk(cloudinary.api.resources)
    assert len((await sdk(cloudinary.api.resources))["resources"]) == 10


async def test_a_refused_connection_has_no_effect(running: tuple[Standin, Sdk]) -> None:
    standin, sdk = running
    standin.faults.refuse_connections = True
    with pytest.raises(cloudinary.exceptions.Error):
        await destroy(sdk)
    standin.faults.refuse_connections = False
    assert (await destroy(sdk))["result"] == "ok"


async def test_an_answer_of_your_own_replaces_the_true_one(running: tuple[Standin, Sdk]) -> None:
    standin, sdk = running
    standin.faults.answer("GET */resources/image", {"resources": []})
    assert (await sdk(cloudinary.api.resources))["resources"] == []
    standin.faults.answer("GET */resources/image", "<html>Bad gateway</html>", status=502)
    with pytest.raises(cloudinary.exceptions.GeneralError, match="Bad gateway"):
        await sdk(cloudinary.api.resources)


async def test_a_slow_answer_is_of_the_time_before_it(running: tuple[Standin, Sdk]) -> None:
    standin, sdk = running
    standin.faults.slow("GET */resources/image", seconds=0.2)
    listing = asyncio.create_task(sdk(cloudinary.api.resources))
    await eventually(lambda: not standin.faults.ordered)
    await asyncio.sleep(0.05)  # in which the call is carried out
    started = time.monotonic()
    standin.account.destroy("a")
    assert len((await listing)["resources"]) == 1
    assert time.monotonic() - started > 0.05


def test_orders_happen_in_turn_and_as_often_as_ordered() -> None:
    faults = Faults()
    faults.fail("POST /x", status=500, times=2, after=1)
    faults.fail("* /x", status=503, times=None)
    happened = [faults.for_call("POST", "/x") for _ in range(5)]
    assert [fault and fault.status for fault in happened] == [503, 500, 500, 503, 503]
    assert faults.for_call("GET", "/y") is None
    faults.clear()
    assert faults.for_call("POST", "/x") is None


def test_the_same_seed_gives_the_same_misfortune() -> None:
    def draws(seed: int) -> list[float]:
        faults = Faults(seed)
        faults.lose, faults.double, faults.delay, faults.reorder = 0.3, 0.3, 5, True
        return [draw() for _ in range(50) for draw in (faults.copies, faults.lateness, faults.displacement)]

    assert draws(1) == draws(1) != draws(2)


async def test_faults_are_set_from_outside_and_their_state_is_told(running: tuple[Standin, Sdk]) -> None:
    standin, sdk = running
    order = {"kind": "fail", "match": "POST */destroy", "status": 503}
    async with aiohttp.ClientSession(standin.url) as session:
        async with session.post("/standin/faults", json={"lose": 0.2, "reorder": True, "calls": [order]}) as response:
            assert response.status == 200
        assert (standin.faults.lose, standin.faults.reorder) == (0.2, True)
        with pytest.raises(cloudinary.exceptions.GeneralError):
            await destroy(sdk)
        standin.faults.refuse_connections = True  # but not these
        async with session.get("/standin/state") as response:
            state = await response.json()
            assert state["assets"] == 1
            assert state["faults"]["lose"] == 0.2
            assert state["faults"]["calls"] == 0
            assert state["notifications"]["queued"] == 0
        async with session.delete("/standin/faults") as response:
            assert response.status == 200
        assert (await destroy(sdk))["result"] == "ok"
        async with session.get("/standin/state") as response:
            assert (await response.json())["calls"] == {"POST /{resource_type}/destroy": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"lose": 2},
        {"lose": True},
        {"delay": -1},
        {"nonsense": 1},
        {"calls": [{"kind": "fail"}]},
        {"calls": [{"kind": "clear", "match": "*"}]},
        {"calls": [{"kind": "slow", "match": "*"}]},
        {"calls": [{"kind": "fail", "match": "*", "nonsense": 1}]},
        {"lose": 0.5, "calls": [{"kind": "fail", "match": "*", "times": "x"}]},
    ],
)
async def test_faults_that_do_not_exist_are_refused_whole(running: tuple[Standin, Sdk], wrong: Any) -> None:
    standin, _ = running
    async with aiohttp.ClientSession() as session, session.post(f"{standin.url}/standin/faults", json=wrong) as response:
        assert response.status == 400
    assert standin.faults.lose == 0
    assert standin.faults.ordered == 0
