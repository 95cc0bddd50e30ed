"""Sweeps against a stand-in for Cloudinary: what the mirror missed is found and repaired, and nothing else is touched."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from handlers.registry import HANDLERS
from service.cloudinary.client import accounts
from service.database import Pool
from service.publisher import Publisher
from service.reconcile.drift import BYPASSED, NOT_LOGGED, read_drift
from service.reconcile.reconciler import Reconciler
from service.reconcile.sweep import Sweep, SweepUnderWayError
from service.reconcile.sweeps import Scope, locked
from service.settings import Cloud, Settings
from standin.dialect import OTHER, Dialect
from tests.bodies import CLOUD, KEY
from tests.integration.conftest import MEDIAMIRROR, eventually
from tests.integration.reconciling import FEW_CALLS, Clock, Reconciling, live_through, reconciling_with

LISTING = "GET */resources/*"


@pytest.fixture
async def site(settings: Settings, pool: Pool) -> AsyncIterator[Reconciling]:
    async with reconciling_with(settings, pool, Clock(), dialect=FEW_CALLS) as site:
        site.trigger()
        yield site


@pytest.mark.parametrize("dialect", [Dialect(), OTHER], ids=["documented", "other"])
async def test_one_sweep_repairs_a_history_of_which_a_fifth_was_lost(settings: Settings, pool: Pool, dialect: Dialect) -> None:
    # private assets that no webhook told of are not listed where a listing is of uploads alone
    dialect = replace(dialect, lists_all_types=True)
    async with reconciling_with(settings, pool, Clock(), dialect=dialect) as site:
        site.trigger()
        site.standin.faults.lose = site.standin.faults.double = 0.2
        site.standin.faults.reorder = True
        for part in range(4):
            live_through(site.standin, site.clock, 250, seed=part)
            await asyncio.sleep(0)
        await site.settled()
        assert await site.differences()

        first = await site.sweep()
        assert first.status == "complete"
        assert first.progress.published > 50
        assert first.progress.missing > 10
        assert await site.differences() == []

        second = await site.sweep()
        assert (second.progress.published, second.progress.missing, second.kinds) == (0, 0, {})


async def test_after_a_history_of_which_nothing_was_lost_there_is_no_drift(site: Reconciling) -> None:
    live_through(site.standin, site.clock, 300, seed=1)
    await site.settled()
    report = await site.sweep()
    assert (report.kinds, report.progress.missing) == ({}, 0)
    assert await site.differences() == []


async def test_findings_say_what_differed_and_why_it_may_have(site: Reconciling) -> None:
    account, faults = site.standin.account, site.standin.faults
    for name in ("kept", "told", "restored"):
        account.upload(public_id=name)
    account.upload(public_id="elsewhere", notification_url="http://127.0.0.1:9/other")
    site.clock.pass_by(2)
    account.destroy("restored")
    await site.settled()
    faults.lose = 1.0
    account.upload(public_id="unheard")
    account.destroy("kept")
    site.clock.pass_by(5)
    account.upload(public_id="told")
    report = await site.sweep(Scope(dry_run=True))
    assert report.kinds == {"missing": 2, "extra": 1, "stale": 1}
    (drift,) = await read_drift(site.pool, CLOUD, None)
    found = {row["public_id"]: (row["kind"], row["cause"], row["announced"]) for row in drift.findings}
    assert found == {
        "unheard": ("missing", NOT_LOGGED, False),
        "elsewhere": ("missing", NOT_LOGGED, False),
        "kept": ("extra", BYPASSED, False),
        "told": ("stale", BYPASSED, False),
    }
    stale = next(row for row in drift.findings if row["public_id"] == "told")
    assert stale["fields"]["version"]["mirror"] < stale["fields"]["version"]["account"]
    assert await site.pool.fetchval("SELECT count(*) FROM media_assets WHERE public_id = 'unheard'") == 0
    assert (await site.sweep()).kinds == report.kinds
    assert await site.differences() == []


async def test_what_was_deleted_with_a_backup_counts_as_deleted_and_restored_it_comes_back(
    settings: Settings, pool: Pool
) -> None:
    async with reconciling_with(settings, pool, Clock(), backup=True) as site:
        site.trigger()
        account = site.standin.account
        asset_id = account.upload(public_id="one")["asset_id"]
        await site.settled()
        site.standin.faults.lose = 1.0
        site.clock.pass_by(2)
        account.destroy("one")
        assert (await site.sweep()).kinds == {"tombstone": 1}
        assert not await site.live()
        assert (await site.sweep()).kinds == {}
        asset = account.find_by_id(asset_id)
        assert asset is not None
        account.restore(asset)
        assert (await site.sweep()).kinds == {"tombstone": 1}
        assert await site.differences() == []


async def filled(site: Reconciling, count: int) -> None:
    site.standin.account.seed(count)
    await site.sweep()
    assert len(await site.live()) == count


async def test_a_listing_that_breaks_off_deletes_nothing_and_goes_on_where_it_stood(site: Reconciling) -> None:
    await filled(site, 1600)
    site.standin.account.destroy("seed/0000007")
    await site.settled()
    await site.pool.execute("UPDATE media_assets SET deleted_at = NULL")
    site.standin.faults.fail(LISTING, 500, times=None, after=2)
    broken = await site.sweep()
    assert (broken.status, broken.progress.listed, broken.progress.missing) == ("broken", 1000, 0)
    assert len(await site.live()) == 1600
    site.standin.faults.clear()
    before = site.standin.calls.total()
    again = await site.sweep()
    assert (again.status, again.progress.id, again.progress.resumed) == ("complete", broken.progress.id, True)
    assert again.progress.listed == 1599
    assert site.standin.calls.total() - before == 5  # two pages of images, videos, raw files, and the confirming read


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_wrong_credentials_delete_nothing(site: Reconciling, status: int) -> None:
    await filled(site, 30)
    site.standin.faults.fail(LISTING, status, times=None)
    report = await site.sweep()
    assert (report.status, report.progress.missing) == ("broken", 0)
    assert len(await site.live()) == 30


async def test_another_secret_than_the_accounts_deletes_nothing(site: Reconciling) -> None:
    await filled(site, 30)
    wrong = Cloud(keys={KEY: SecretStr("wrong")}, upload_prefix=site.standin.url)
    settings = site.settings.model_copy(update={"clouds": {CLOUD: wrong}})
    async with accounts(settings, site.pool) as opened:
        sweep = Sweep(opened[CLOUD], site.pool, site.announcer, settings, Scope(), settling=0)
        report = await sweep.run()
    assert report.status == "broken"
    assert len(await site.live()) == 30


async def test_an_empty_listing_deletes_nothing(site: Reconciling) -> None:
    await filled(site, 30)
    site.standin.faults.answer(LISTING, {"resources": []}, times=None)
    report = await site.sweep()
    assert (report.status, report.progress.missing, report.kinds) == ("refused", 0, {})
    assert "lists no assets" in str(report.reason)
    assert len(await site.live()) == 30


async def test_more_than_the_cap_is_refused_whole_unless_it_is_wanted(site: Reconciling) -> None:
    await filled(site, 100)
    site.standin.faults.lose = 1.0
    for number in range(25):
        site.standin.account.destroy(f"seed/{number:07}")
    report = await site.sweep()
    assert (report.status, report.progress.missing) == ("refused", 0)
    assert "--accept-missing" in str(report.reason)
    assert report.kinds == {"extra": 25}
    assert len(await site.live()) == 100
    assert (await site.sweep(accept_missing=24)).status == "refused"
    assert (await site.sweep(accept_missing=25)).status == "complete"
    assert await site.differences() == []


async def test_rows_that_changed_within_the_grace_period_are_left_alone(site: Reconciling) -> None:
    await filled(site, 20)
    site.standin.faults.lose = 1.0
    site.standin.account.destroy("seed/0000001")
    patient = site.settings.model_copy(update={"reconcile_grace": 3600})
    report = await site.sweep(settings=patient)
    assert (report.status, report.progress.missing) == ("complete", 0)
    assert (await site.sweep()).progress.missing == 1


async def test_a_sweep_of_a_prefix_or_a_type_concludes_nothing_about_the_rest(site: Reconciling) -> None:
    account = site.standin.account
    for public_id, kind in (("a/1", "image"), ("a/2", "video"), ("b/1", "image")):
        account.upload(public_id=public_id, resource_type=kind)
    account.upload(public_id="a/3", type="private")
    await site.settled()
    site.standin.faults.lose = 1.0
    for public_id, kind in (("a/2", "video"), ("b/1", "image")):
        account.destroy(public_id, resource_type=kind)
    account.destroy("a/3", type="private")
    report = await site.sweep(Scope(("image",), "a/"))
    assert (report.status, report.kinds) == ("complete", {"extra": 1})
    assert {row["public_id"] for row in (await site.live()).values()} == {"a/1", "a/2", "b/1"}
    assert (await site.sweep(Scope(("image",)))).kinds == {"extra": 1}
    # the last video is gone: that a listing is empty is nothing to conclude from
    assert (await site.sweep(Scope(("video",)))).status == "refused"
    assert (await site.sweep()).kinds == {"extra": 1}


async def test_what_sql_has_deleted_is_not_brought_back_while_its_deletion_waits(site: Reconciling) -> None:
    await filled(site, 3)
    await site.pool.execute("DELETE FROM media_assets WHERE public_id = 'seed/0000001'")
    assert (await site.sweep()).kinds == {}
    assert len(await site.live()) == 2


async def test_two_sweeps_of_a_cloud_are_never_under_way_at_once(site: Reconciling) -> None:
    async with locked(site.pool, f"media_sweeps {CLOUD}"):
        with pytest.raises(SweepUnderWayError):
            await site.sweep()


async def test_an_expired_cursor_begins_its_listing_anew(site: Reconciling) -> None:
    site.standin.account.seed(1200)
    site.standin.faults.fail("GET */resources/image", 400, times=2, after=1)
    report = await site.sweep()
    assert (report.status, report.progress.listed) == ("complete", 1700)
    assert await site.differences() == []


async def test_a_limit_is_waited_for_until_its_reset_and_webhooks_go_on_meanwhile(site: Reconciling) -> None:
    site.standin.account.seed(10)
    site.standin.faults.fail(LISTING, 420, resets_in=2)
    assert site.account.budget is not None
    pauses: list[float] = []
    site.account.budget.on_pause = lambda _, seconds: pauses.append(seconds)

    async def pausing() -> bool:
        return bool(pauses)

    started = time.monotonic()
    sweeping = asyncio.create_task(site.sweep())
    await eventually(pausing)
    site.standin.account.upload(public_id="meanwhile")
    await site.settled()
    assert "meanwhile" in {row["public_id"] for row in (await site.live()).values()}
    assert not sweeping.done()
    report = await sweeping
    assert report.status == "complete"
    assert max(pauses) == pytest.approx(2, abs=0.1)
    assert time.monotonic() - started > 1.9
    await site.sweep()
    assert await site.differences() == []


@pytest.mark.parametrize("off", [-3600, 3600])
async def test_a_clock_an_hour_off_lets_no_reading_overwrite_what_came_after_it(
    settings: Settings, pool: Pool, off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = settings.model_copy(update={"signature_max_future": 10_000})
    async with reconciling_with(patient, pool, Clock(time.time() + off)) as site:
        site.trigger()
        account, announce = site.standin.account, site.announcer.announce
        account.upload(public_id="one", display_name="first")
        site.clock.pass_by(5)
        site.standin.faults.lose = 1.0
        account.update("one", display_name="lost")
        account.upload(public_id="two")

        async def late(*arguments: Any) -> str:
            """Between the reading and its notification, something happens."""
            site.standin.faults.lose = 0.0
            site.clock.pass_by(0.001)
            account.update("one", display_name="after the reading")
            account.destroy("two")
            await site.standin.notifier.drained()
            return await announce(*arguments)

        monkeypatch.setattr(site.announcer, "announce", late)
        report = await site.sweep()
        assert report.progress.published == 2
        assert [row["display_name"] for row in (await site.live()).values()] == ["after the reading"]
        assert await site.differences() == []


async def test_questions_are_answered_by_the_hundred(site: Reconciling) -> None:
    site.standin.account.seed(130)
    gone = [f"{number:032x}" for number in range(20)]
    ids = [asset["asset_id"] for asset in site.standin.account.resources()] + gone
    ask = "INSERT INTO media_refetch (cloud, asset_id, reasons) SELECT $1, unnest($2::text[]), '{asked}'"
    await site.pool.execute(ask, CLOUD, ids)
    refetcher = site.refetcher()
    site.standin.faults.fail("GET */by_asset_ids", 404)
    with pytest.raises(Exception, match="by_asset_ids"):
        await refetcher.turn()
    assert await site.pool.fetchval("SELECT count(*) FROM media_refetch") == 150
    site.clock.pass_by(3)
    assert [await refetcher.turn() for _ in range(3)] == [100, 50, 0]
    assert site.standin.calls["GET", "/resources/by_asset_ids"] == 2
    site.announced += 150
    await site.settled()
    assert await site.pool.fetchval("SELECT count(*) FROM media_refetch") == 0
    assert await site.differences() == []
    rows = await site.pool.fetch("SELECT asset_id FROM media_assets WHERE deleted_at IS NOT NULL ORDER BY asset_id")
    assert [row["asset_id"] for row in rows] == gone


async def test_a_question_that_is_asked_again_meanwhile_stays(site: Reconciling, monkeypatch: pytest.MonkeyPatch) -> None:
    site.standin.account.seed(1)
    (asset,) = site.standin.account.resources()
    ask = "INSERT INTO media_refetch VALUES ($1, $2, '{asked}') ON CONFLICT (cloud, asset_id) DO UPDATE SET requested_at = now()"
    await site.pool.execute(ask, CLOUD, asset["asset_id"])
    announce = site.announcer.announce

    async def asked_again(*arguments: Any) -> str:
        await site.pool.execute(ask, CLOUD, asset["asset_id"])
        return await announce(*arguments)

    monkeypatch.setattr(site.announcer, "announce", asked_again)
    assert await site.refetcher().turn() == 1
    assert await site.pool.fetchval("SELECT count(*) FROM media_refetch") == 1


async def test_an_asset_that_was_only_named_is_asked_for_by_its_name(site: Reconciling) -> None:
    site.standin.account.seed(1, prefix="there/")
    (asset,) = site.standin.account.resources()
    for public_id in (asset["public_id"], "not/there"):
        named = {"public_id": public_id, "resource_type": "image", "type": "upload", "added": ["x"]}
        assert await site.mirrored.post({"notification_type": "resource_tags_changed", "resources": [named]}) == 200
    site.announced += 2
    await site.settled()
    site.clock.pass_by(10)
    assert await site.refetcher().turn() == 2
    site.announced += 2
    await site.settled()
    rows = {row["asset_id"]: row["deleted_at"] for row in await site.pool.fetch("SELECT * FROM media_assets")}
    assert rows.keys() == {asset["asset_id"], "image/upload/not/there"}
    assert rows[asset["asset_id"]] is None


async def test_a_sweep_that_is_killed_goes_on_where_it_stood(site: Reconciling, environment: dict[str, str]) -> None:
    site.standin.account.seed(10_000)
    environment |= {"MEDIAMIRROR_CLOUDS": orjson.dumps({CLOUD: site.cloud_as_set}).decode(), "MEDIAMIRROR_RECONCILE_SHARE": "1"}
    sweeping = await asyncio.create_subprocess_exec(MEDIAMIRROR, "reconcile", env=os.environ | environment)

    async def in_the_middle() -> bool:
        return bool(await site.pool.fetchval("SELECT true FROM media_sweeps WHERE listed >= 3000"))

    try:
        await eventually(in_the_middle)
    finally:
        sweeping.kill()
        await sweeping.wait()
    before = site.standin.calls.total()
    report = None

    async def resumed() -> bool:
        nonlocal report
        try:
            report = await site.sweep()
        except SweepUnderWayError:  # PostgreSQL has not yet seen that the other has died
            return False
        return True

    await eventually(resumed)
    assert report is not None
    assert (report.status, report.progress.resumed) == ("complete", True)
    assert report.progress.listed == 10_000
    assert site.standin.calls.total() - before <= 14 + 2

    async def all_there() -> bool:
        return len(await site.live()) == 10_000

    await eventually(all_there)
    assert (await site.sweep()).progress.published == 0


async def test_the_reconciler_answers_questions_and_sweeps_by_itself(site: Reconciling) -> None:
    site.standin.account.seed(3)
    site.standin.account.seed(1, prefix="asked/")
    ids = {asset["public_id"]: asset["asset_id"] for asset in site.standin.account.resources()}
    ask = "INSERT INTO media_refetch (cloud, asset_id, reasons) VALUES ($1, $2, '{asked}')"
    await site.pool.execute(ask, CLOUD, ids["asked/0000000"])
    site.clock.pass_by(10)
    async with Publisher(site.settings, site.metrics) as publisher:
        reconcilers = [
            asyncio.create_task(Reconciler(site.settings, site.pool, {CLOUD: site.account}, publisher, site.metrics).run())
            for _ in range(2)
        ]
        try:

            async def all_done() -> bool:
                swept = await site.pool.fetchval("SELECT count(*) FROM media_sweeps WHERE status = 'complete'")
                asked = await site.pool.fetchval("SELECT count(*) FROM media_refetch")
                return bool(swept == 1 and asked == 0 and len(await site.live()) == 4)

            await eventually(all_done)

            async def measured() -> bool:
                return bool(site.metrics.registry.get_sample_value("mediamirror_swept_timestamp_seconds", {"cloud": CLOUD}))

            await eventually(measured)
        finally:
            for task in reconcilers:
                task.cancel()
            await asyncio.wait(reconcilers)
    assert site.metrics.registry.get_sample_value("mediamirror_drift", {"cloud": CLOUD, "kind": "extra"}) == 0


async def mediamirror(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    running = await asyncio.create_subprocess_exec(
        MEDIAMIRROR, *arguments, env=os.environ | environment, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await running.communicate()
    return running.returncode or 0, said.decode()


async def test_the_commands_tell_what_differs_and_exit_with_1_while_something_does(
    site: Reconciling, environment: dict[str, str]
) -> None:
    environment |= {"MEDIAMIRROR_CLOUDS": orjson.dumps({CLOUD: site.cloud_as_set}).decode()}
    site.standin.account.upload(public_id="elsewhere", notification_url="http://127.0.0.1:9/other")
    site.clock.pass_by(10)
    status, said = await mediamirror(environment, "reconcile", "--dry-run", "--json")
    assert (status, orjson.loads(said)["drift"], orjson.loads(said)["dry_run"]) == (1, {"missing": 1}, True)
    status, said = await mediamirror(environment, "reconcile", "--type", "image")
    assert (status, "1 missing" in said) == (0, True)
    status, said = await mediamirror(environment, "drift")
    assert status == 1
    assert "elsewhere" in said
    assert NOT_LOGGED in said


async def test_a_notification_that_failed_is_told_as_the_cause(site: Reconciling, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("handlers.registry.HANDLERS", {**HANDLERS, "upload": bug})
    site.standin.account.upload(public_id="one")
    await site.settled()
    monkeypatch.undo()
    report = await site.sweep()
    assert report.kinds == {"missing": 1}
    (drift,) = await read_drift(site.pool, CLOUD, None)
    assert [row["cause"] for row in drift.findings] == ["a notification failed: upload: ZeroDivisionError()"]


# Two files whose size tells them apart.
_FIRST = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1"
_SECOND = _FIRST + b"and more"


def restore(site: Reconciling, stored: dict[str, Any]) -> None:
    """Delete the asset, and bring back what it was when it was stored so."""
    site.standin.account.destroy(stored["public_id"])
    site.clock.pass_by(1)
    asset = site.standin.account.find_by_id(stored["asset_id"])
    assert asset is not None
    site.standin.account.restore(asset, stored["version_id"])


@pytest.fixture
async def backed_up(settings: Settings, pool: Pool) -> AsyncIterator[Reconciling]:
    async with reconciling_with(settings, pool, Clock(), backup=True) as site:
        site.trigger()
        yield site


def stored_twice(site: Reconciling) -> list[dict[str, Any]]:
    stored = []
    for file in (_FIRST, _SECOND):
        stored.append(site.standin.account.upload(file, public_id="one"))
        site.clock.pass_by(1)
    return stored


async def test_a_row_follows_an_older_version_that_is_restored(backed_up: Reconciling) -> None:
    site = backed_up
    first, second = stored_twice(site)
    for stored, size in ((first, len(_FIRST)), (second, len(_SECOND)), (first, len(_FIRST))):
        restore(site, stored)
        await site.settled()
        site.clock.pass_by(3)
        assert await site.refetcher().turn() == 1
        site.announced += 1
        await site.settled()
        (row,) = (await site.live()).values()
        assert (row["version"], row["etag"], row["bytes"]) == (stored["version"], stored["etag"], size)
        assert (await site.sweep()).kinds == {}
    assert await site.differences() == []


async def test_an_older_version_whose_restoration_was_untold_is_drift(backed_up: Reconciling) -> None:
    site = backed_up
    first, second = stored_twice(site)
    await site.settled()
    site.standin.faults.lose = 1.0
    for stored, was in ((first, second), (second, first), (first, second)):
        restore(site, stored)
        assert (await site.sweep(Scope(dry_run=True))).kinds == {"stale": 1}
        (drift,) = await read_drift(site.pool, CLOUD, None)
        (found,) = drift.findings
        assert found["fields"]["version"] == {"mirror": was["version"], "account": stored["version"]}
        assert (await site.sweep()).kinds == {"stale": 1}
        assert await site.differences() == []
        assert (await site.sweep()).kinds == {}
