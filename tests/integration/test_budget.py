import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from cloudinary import api, uploader
from pydantic import SecretStr

from service.cloudinary.budget import Allowance, Budget
from service.cloudinary.client import Account, Purpose, accounts
from service.cloudinary.errors import RateLimitedError, UnavailableError
from service.database import Pool
from service.settings import Cloud, Settings
from standin.options import Options
from standin.server import run_standin
from tests.answering import NOON, Answering, Reply, answering, limits
from tests.bodies import CLOUD, KEY, SECRET

LIMITED = {"error": {"message": "Rate Limit Exceeded. Limit of 500 api operations reached."}}


@pytest.fixture
def budget(pool: Pool, settings: Settings) -> Budget:
    return Budget(pool, CLOUD, settings)


def allowance(remaining: int, *, allowed: int = 500, window: int = 0, resets_in: float = 1800) -> Allowance:
    """What an answer tells in the window of this number."""
    return Allowance(allowed, remaining, NOON + timedelta(hours=window), resets_in)


@asynccontextmanager
async def has_to_wait(budget: Budget, purpose: Purpose = Purpose.RECONCILE) -> AsyncIterator[list[tuple[str, float]]]:
    told: list[tuple[str, float]] = []
    waiting = asyncio.Event()

    def on_pause(why: str, seconds: float) -> None:
        told.append((why, seconds))
        waiting.set()

    budget.on_pause = on_pause
    taking = asyncio.create_task(budget.take(purpose))
    try:
        await asyncio.wait([taking, asyncio.create_task(waiting.wait())], return_when=asyncio.FIRST_COMPLETED, timeout=5)
        assert waiting.is_set()
        assert not taking.done()
        yield told
    finally:
        taking.cancel()
        await asyncio.wait([taking])


async def test_before_anything_is_known_half_of_five_hundred_calls_are_reconciliations(budget: Budget) -> None:
    assert (await budget.state()).share_left == 250
    await budget.take(Purpose.RECONCILE)
    state = await budget.state()
    assert (state.allowed, state.remaining, state.taken, state.share_left) == (500, 500, 1, 249)


async def test_reconciliation_stays_within_its_share_however_many_ask(pool: Pool, settings: Settings, budget: Budget) -> None:
    await budget.feed(allowance(20, allowed=20))
    others = [Budget(pool, CLOUD, settings) for _ in range(3)]
    asking = [asyncio.create_task(one.take(Purpose.RECONCILE)) for one in [budget, *others] for _ in range(5)]
    done, waiting = await asyncio.wait(asking, timeout=1)
    assert len(done) == 10
    assert (await budget.state()).share_left == 0
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    await budget.take(Purpose.WRITE)  # may use the rest
    assert (await budget.state()).remaining == 9


async def test_who_has_to_wait_is_told_why(budget: Budget) -> None:
    await budget.feed(allowance(0))
    async with has_to_wait(budget, Purpose.WRITE) as told:
        ((why, seconds),) = told
    assert why == "no calls left"
    assert 1790 < seconds <= 1800


async def test_in_the_next_window_everything_begins_anew(budget: Budget) -> None:
    await budget.feed(allowance(2, allowed=2, resets_in=1))
    await budget.take(Purpose.RECONCILE)
    waited = []
    budget.on_pause = lambda why, seconds: waited.append((why, seconds))
    await asyncio.wait_for(budget.take(Purpose.RECONCILE), 5)
    assert [why for why, _ in waited] == ["share used up"]
    assert (await budget.state()).taken == 1


async def test_a_late_answer_of_the_last_window_says_nothing_about_this_one(budget: Budget) -> None:
    await budget.feed(allowance(400, window=1))
    await budget.feed(allowance(0, window=0))
    assert (await budget.state()).remaining == 400


async def test_of_one_windows_answers_in_any_order_the_least_holds(budget: Budget) -> None:
    for remaining in (400, 398, 399):
        await budget.feed(allowance(remaining))
    assert (await budget.state()).remaining == 398


async def test_a_window_that_slides_does_not_free_what_was_taken(budget: Budget) -> None:
    for window in range(10):
        await budget.feed(allowance(20, allowed=20, window=window))
        await budget.take(Purpose.RECONCILE)
    async with has_to_wait(budget) as told:
        assert told[0][0] == "share used up"


async def test_a_window_that_began_a_moment_before_we_thought_counts_what_cloudinary_counted(budget: Budget) -> None:
    await budget.feed(allowance(12, allowed=20, resets_in=1))
    for _ in range(8):
        await budget.take(Purpose.RECONCILE)
    await budget.feed(allowance(19, allowed=20, window=1, resets_in=3600))
    assert (await budget.state()).taken == 1


async def test_where_no_answer_tells_anything_the_share_of_an_hour_is_waited_for_once(pool: Pool, budget: Budget) -> None:
    for _ in range(250):
        await budget.take(Purpose.RECONCILE)
    await pool.execute("UPDATE media_budgets SET asked_at = asked_at - interval '2 minutes'")
    async with has_to_wait(budget) as told:
        ((why, seconds),) = told
    assert why == "share used up"
    assert 3500 < seconds <= 3600


async def test_a_window_that_has_ended_leaves_no_wait_behind(pool: Pool, budget: Budget) -> None:
    for _ in range(250):
        await budget.take(Purpose.RECONCILE)
    await pool.execute("UPDATE media_budgets SET resets_at = now()")
    await asyncio.wait_for(budget.take(Purpose.RECONCILE), 1)
    assert (await budget.state()).taken == 1


async def test_no_header_makes_anybody_wait_for_more_than_a_day(budget: Budget) -> None:
    await budget.pause(1e9)
    await budget.feed(allowance(0, resets_in=1e9))
    state = await budget.state()
    assert max(state.paused_for, state.resets_in) <= 86400


async def test_no_more_of_the_share_is_left_than_there_are_calls(budget: Budget) -> None:
    await budget.feed(allowance(3))
    assert (await budget.state()).share_left == 3
    await budget.feed(allowance(2, allowed=1))
    for _ in range(2):
        await budget.take(Purpose.WRITE)
    assert (await budget.state()).share_left == 0


@asynccontextmanager
async def account(settings: Settings, pool: Pool, *replies: Reply) -> AsyncIterator[tuple[Account, Answering]]:
    async with answering(*replies) as server:
        cloud = Cloud(keys={KEY: SecretStr(SECRET.decode())}, upload_prefix=server.url)
        async with accounts(settings.model_copy(update={"clouds": {CLOUD: cloud}}), pool) as opened:
            yield opened[CLOUD], server


async def test_each_answers_headers_are_learnt(settings: Settings, pool: Pool) -> None:
    async with account(settings, pool, Reply(200, {}, limits(77, allowed=100))) as (one, _):
        await one.call(api.resources, purpose=Purpose.RECONCILE)
        assert one.budget
        state = await one.budget.state()
    assert (state.allowed, state.remaining, state.taken) == (100, 77, 1)
    assert 1790 < state.resets_in <= 1800


async def test_at_the_limit_calls_pause_until_its_reset_and_are_done_again(settings: Settings, pool: Pool) -> None:
    limited = Reply(420, LIMITED, limits(0, resets_in=1))
    fresh = Reply(200, {"resources": []}, limits(499, date=NOON + timedelta(seconds=1), resets_in=3600))
    async with account(settings, pool, limited, fresh) as (one, server):
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await one.call(api.resources, purpose=Purpose.RECONCILE)
        assert 0.95 < loop.time() - began < 3
        assert answer.body == {"resources": []}
        assert len(server.requests) == 2


async def test_a_pause_holds_for_every_process(settings: Settings, pool: Pool, budget: Budget) -> None:
    await budget.pause(30)
    async with account(settings, pool, Reply()) as (one, server):
        assert one.budget
        async with has_to_wait(one.budget, Purpose.WRITE) as told:
            assert told[0][0] == "rate limited"
        assert not server.requests
    assert 29 < (await budget.state()).paused_for <= 30


async def test_a_check_never_waits(settings: Settings, pool: Pool, budget: Budget) -> None:
    await budget.pause(30)
    async with account(settings, pool, Reply(420, LIMITED, limits(0))) as (one, _):
        with pytest.raises(RateLimitedError) as caught:
            await one.call(api.ping, purpose=Purpose.CHECK)
        assert caught.value.resets_in == 1800


async def test_the_upload_api_has_no_hourly_limit(settings: Settings, pool: Pool, budget: Budget) -> None:
    await budget.pause(30)
    async with account(settings, pool, Reply(200, {"result": "ok"})) as (one, _):
        await asyncio.wait_for(one.call(uploader.destroy, "a", purpose=Purpose.WRITE), 5)


async def test_a_call_that_never_left_costs_nothing(settings: Settings, pool: Pool, budget: Budget) -> None:
    await budget.feed(allowance(10))
    async with account(settings, pool, Reply()) as (one, server):
        one._credentials["upload_prefix"] = server.url.rpartition(":")[0] + ":1"
        with pytest.raises(UnavailableError):
            await one.call(api.ping, purpose=Purpose.RECONCILE)
    state = await budget.state()
    assert (state.remaining, state.taken) == (10, 0)


async def test_in_no_window_of_cloudinarys_reconciliation_takes_more_than_its_share(settings: Settings, pool: Pool) -> None:
    options = Options(data_dir=None, cloud=CLOUD, key=KEY, secret=SECRET.decode(), hourly_limit=10, window=1.0)
    async with run_standin(options) as standin:
        cloud = Cloud(keys={KEY: SecretStr(SECRET.decode())}, upload_prefix=standin.url)
        async with accounts(settings.model_copy(update={"clouds": {CLOUD: cloud}}), pool) as opened:
            calls = [opened[CLOUD].call(api.ping, purpose=Purpose.RECONCILE) for _ in range(12)]
            answers = await asyncio.gather(*calls)
    by_window = Counter(answer.date for answer in answers)
    assert max(by_window.values()) <= 5
    assert standin.calls.total() == 12


async def test_writes_beyond_the_limit_wait_and_none_is_lost_or_doubled(settings: Settings, pool: Pool) -> None:
    options = Options(data_dir=None, cloud=CLOUD, key=KEY, secret=SECRET.decode(), hourly_limit=5, window=1.0)
    async with run_standin(options) as standin:
        cloud = Cloud(keys={KEY: SecretStr(SECRET.decode())}, upload_prefix=standin.url)
        async with accounts(settings.model_copy(update={"clouds": {CLOUD: cloud}}), pool) as opened:
            folders = [opened[CLOUD].call(api.create_folder, f"f{number}", purpose=Purpose.WRITE) for number in range(12)]
            answers = await asyncio.gather(*folders)
    assert sorted(answer.body["path"] for answer in answers) == sorted(f"f{number}" for number in range(12))
    assert max(Counter(answer.date for answer in answers).values()) <= 5
