"""Accounts that answer oddly: nothing is concluded from what they don't say, and all that they do say is mirrored."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from schemas.asset import AssetName
from service.cloudinary.client import accounts
from service.database import Pool
from service.reconcile.difference import difference
from service.reconcile.sweep import Sweep
from service.reconcile.sweeps import Scope
from service.settings import Settings
from service.writeback.operations import Kind, Origin, Request
from service.writeback.store import enqueue
from standin.dialect import OTHER, Dialect
from tests.answering import NOON, Answering, Reply, answering, limits
from tests.bodies import CLOUD
from tests.integration.reconciling import Clock, Reconciling, reconciling_with

IMAGES = "GET */resources/image"
PAGE = "<html><head><title>401 Authorization Required</title></head></html>"


@pytest.fixture
async def site(settings: Settings, pool: Pool) -> AsyncIterator[Reconciling]:
    async with reconciling_with(settings, pool, Clock()) as site:
        site.trigger()
        yield site


def asset(number: int, **said: Any) -> dict[str, Any]:
    told = {"public_id": f"p{number}", "resource_type": "image", "type": "upload", "version": 1763632800, "tags": []}
    return {"asset_id": f"{number:032x}", **told, **said}


def going_round(server: Answering, order: list[tuple[str, int]], *, fresh: bool = False) -> None:
    """Let the listing of images lead from each cursor to the next, and from the last to the first; `number`: what is shown."""

    def decide(_method: str, path: str, _body: bytes) -> Reply:
        if not path.endswith("/resources/image"):
            return Reply(200, {"resources": []}, limits(9000, allowed=10_000, date=NOON))
        cursor = server.queries[-1].get("next_cursor", "")
        at = next((place for place, (name, _) in enumerate(order) if cursor.split("#")[0] == name), -1)
        after, shown = order[(at + 1) % len(order)]
        unique = f"#{len(server.requests)}" if fresh else ""
        said = {"resources": [asset(shown)], "next_cursor": f"{after}{unique}"}
        return Reply(200, said, limits(9000, allowed=10_000, date=NOON))

    server.decide = decide


@pytest.mark.parametrize("length", [1, 2, 3, 7])
@pytest.mark.parametrize("what", ["cursors", "pages"])
async def test_a_listing_that_goes_round_ends_the_sweep_and_the_next_begins_anew(
    site: Reconciling, length: int, what: str
) -> None:
    site.standin.account.seed(3)
    await site.sweep()
    before = await site.live()
    async with answering() as server:
        # either the cursors come again, with other pages, or the pages, with other cursors
        going_round(server, [(f"c{n}", n) for n in range(length)], fresh=what == "pages")
        if what == "cursors":
            decide = server.decide
            assert decide is not None

            def renumbered(method: str, path: str, body: bytes) -> Reply:
                reply = decide(method, path, body)
                reply.said = {**reply.said, "resources": [asset(1000 + len(server.requests))]}
                return reply

            server.decide = renumbered
        cloud = site.settings.clouds[CLOUD].model_copy(update={"upload_prefix": server.url})
        settings = site.settings.model_copy(update={"clouds": {CLOUD: cloud}})
        async with accounts(settings, site.pool) as opened:
            reports = []
            for _ in range(2):
                sweep = Sweep(opened[CLOUD], site.pool, site.announcer, settings, Scope(dry_run=True), settling=0)
                reports.append(await sweep.run())
    assert [report.status for report in reports] == ["broken", "broken"]
    assert all("goes round" in str(report.reason) for report in reports)
    assert [report.progress.resumed for report in reports] == [False, False]
    assert max(report.progress.calls for report in reports) <= 2 * (length + 2)
    assert all(report.progress.missing == 0 for report in reports)
    assert (await site.live()).keys() == before.keys()
    assert await site.pool.fetchval("SELECT count(*) FROM media_sweep_marks") == 0


async def test_what_was_met_before_a_kill_is_known_after_it(site: Reconciling) -> None:
    async with answering() as server:
        going_round(server, [(f"c{n}", n) for n in range(6)])
        cloud = site.settings.clouds[CLOUD].model_copy(update={"upload_prefix": server.url})
        settings = site.settings.model_copy(update={"clouds": {CLOUD: cloud}})
        async with accounts(settings, site.pool) as opened:

            def sweep(pages: int = -1) -> Sweep:
                def observe(_: object) -> None:
                    nonlocal pages
                    pages -= 1
                    if pages == 0:
                        raise asyncio.CancelledError

                scope = Scope(dry_run=True)
                return Sweep(opened[CLOUD], site.pool, site.announcer, settings, scope, settling=0, observe=observe)

            with pytest.raises(asyncio.CancelledError):
                await sweep(pages=4).run()
            report = await sweep().run()
            assert (report.status, report.progress.resumed, "goes round" in str(report.reason)) == ("broken", True, True)
            assert report.progress.listed == 6
            assert not (await sweep().run()).progress.resumed


@pytest.mark.parametrize("end", ['""', "null", "false"])
async def test_a_cursor_that_says_nothing_is_the_end_of_a_listing(site: Reconciling, end: str) -> None:
    listed = orjson.dumps([asset(1), asset(2)]).decode()
    site.standin.faults.answer(IMAGES, f'{{"resources": {listed}, "next_cursor": {end}}}', times=None)
    report = await site.sweep()
    assert (report.status, report.kinds) == ("complete", {"missing": 2})


@pytest.mark.parametrize("dialect", [Dialect(), OTHER, Dialect(most_ids=3)], ids=["documented", "other", "three at once"])
async def test_many_rows_that_are_not_listed_and_many_questions(settings: Settings, pool: Pool, dialect: Dialect) -> None:
    async with reconciling_with(settings, pool, Clock(), dialect=dialect) as site:
        site.trigger()
        site.standin.account.seed(60)
        await site.sweep()
        site.standin.faults.lose = 1.0
        for number in range(6):
            site.standin.account.destroy(f"seed/{number:07}")
        ids = [one["asset_id"] for one in site.standin.account.resources()]
        # rows of which the listing tells nothing, though they are there
        listed = [one for one in site.standin.account.resources() if one["public_id"] < "seed/0000030"]
        site.standin.faults.answer(IMAGES, {"resources": listed}, times=None)
        report = await site.sweep()
        assert (report.status, report.progress.missing) == ("complete", 6)
        assert (await site.live()).keys() == set(ids)
        site.standin.faults.clear()
        ask = "INSERT INTO media_refetch (cloud, asset_id, reasons) SELECT $1, unnest($2::text[]), '{asked}'"
        await site.pool.execute(ask, CLOUD, [*ids, "../x/upload/y", "no id & none"])
        site.clock.pass_by(10)
        assert await site.refetcher().turn() == len(ids) + 2
        assert await site.pool.fetchval("SELECT count(*) FROM media_refetch") == 0
        site.announced += len(ids) + 1  # an id of no asset's form is one that is not there
        await site.settled()
        assert await site.differences() == []


@pytest.mark.parametrize("dialect", [Dialect(), OTHER], ids=["documented", "other"])
async def test_a_row_is_made_with_its_name_whatever_fields_bring(settings: Settings, pool: Pool, dialect: Dialect) -> None:
    async with reconciling_with(settings, pool, Clock(), dialect=dialect) as site:
        site.standin.account.upload(public_id="a", display_name="An A", tags=["t"], access_control=[{"access_type": "token"}])
        site.standin.account.upload(public_id="f", type="facebook")
        site.standin.account.upload(public_id="v", resource_type="video")
        report = await site.sweep()
        expected = {"a", "f", "v"} if dialect.lists_all_types else {"a", "v"}
        assert (report.status, report.progress.published) == ("complete", len(expected))
        rows = {row["public_id"]: row for row in (await site.live()).values()}
        assert rows.keys() == expected
        assert all(row["resource_type"] and row["type"] and row["display_name"] and row["etag"] for row in rows.values())
        assert rows["a"]["access_control"] == [{"access_type": "token"}]
        assert (await site.sweep()).progress.published == 0


async def test_what_a_listing_leaves_nameless_is_looked_up_and_odd_things_beside_it_change_nothing(site: Reconciling) -> None:
    site.standin.account.seed(2)
    one, two = site.standin.account.resources()
    nameless = {name: value for name, value in one.items() if name not in ("type", "resource_type")}
    nobody = {"asset_id": "f" * 32, "tags": [], "version": 3}
    odd: list[Any] = [None, "text", 7, {}, {"tags": []}, nobody]
    site.standin.faults.answer(IMAGES, {"resources": [nameless, *odd, two | {"width": "wide", "context": 7}]}, times=None)
    report = await site.sweep()
    assert (report.status, report.progress.published) == ("complete", 2)
    rows = await site.live()
    assert {row["public_id"] for row in rows.values()} == {one["public_id"], two["public_id"]}
    assert {row["etag"] for row in rows.values()} == {two["etag"], None}  # details have none unless it is asked for


async def test_an_asset_that_can_t_be_compared_stops_no_other_and_one_of_which_little_is_said_keeps_its_name(
    site: Reconciling, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.standin.account.seed(3)
    await site.sweep()
    site.clock.pass_by(5)
    one, two, three = site.standin.account.resources()
    little = {"asset_id": two["asset_id"], "version": two["version"], "tags": ["new"]}
    site.standin.faults.answer(IMAGES, {"resources": [one | {"tags": ["x"]}, little, three | {"tags": ["y"]}]}, times=None)
    compare = difference

    def faulty(row: Any, cloud: str, reading: Any, moves: Any) -> Any:
        if reading.asset_id == one["asset_id"]:
            raise ZeroDivisionError
        return compare(row, cloud, reading, moves)

    monkeypatch.setattr("service.reconcile.sweep.difference", faulty)
    report = await site.sweep()
    assert (report.status, report.kinds) == ("complete", {"field": 2})
    found = await site.pool.fetch("SELECT public_id, type FROM media_drift WHERE sweep_id = $1", report.progress.id)
    assert {(row["public_id"], row["type"]) for row in found} == {
        (two["public_id"], "upload"), (three["public_id"], "upload"),
    }  # fmt: skip


@pytest.mark.parametrize("dialect", [Dialect(), OTHER], ids=["null", "left out"])
@pytest.mark.parametrize("heeded", [True, False], ids=["told", "not told"])
async def test_a_lifted_restriction_is_repaired(settings: Settings, pool: Pool, dialect: Dialect, heeded: bool) -> None:
    async with reconciling_with(settings, pool, Clock(), dialect=dialect) as site:
        site.trigger()
        account = site.standin.account
        for name in ("lifted", "kept", "never"):
            rules = [{"access_type": "token"}] if name != "never" else None
            account.upload(public_id=name, access_control=rules)
        await site.settled()
        site.clock.pass_by(5)
        site.standin.faults.lose = 1.0
        lifted = account.get("lifted")
        lifted.access_control = None if heeded else []
        account.save(lifted)
        assert (await site.sweep()).kinds == {"field": 1}
        rules_now = {row["public_id"]: row["access_control"] for row in (await site.live()).values()}
        assert (rules_now["lifted"] or None, rules_now["never"]) == (None, None)
        assert rules_now["kept"] == [{"access_type": "token"}]
        assert (await site.sweep()).progress.published == 0


async def test_a_question_about_a_lifted_restriction_is_answered(site: Reconciling) -> None:
    account = site.standin.account
    asset_id = account.upload(public_id="a", access_control=[{"access_type": "token"}])["asset_id"]
    await site.settled()
    site.clock.pass_by(5)
    lifted = account.get("a")
    lifted.access_control = None
    account.save(lifted)
    await site.pool.execute("INSERT INTO media_refetch (cloud, asset_id, reasons) VALUES ($1, $2, '{asked}')", CLOUD, asset_id)
    site.clock.pass_by(5)
    assert await site.refetcher().turn() == 1
    site.announced += 1
    await site.settled()
    assert not (await site.live())[asset_id]["access_control"]


@pytest.mark.parametrize("grace", [0, 3600])
async def test_what_our_own_deletion_has_ended_is_missing_at_once(site: Reconciling, grace: float) -> None:
    site.standin.account.seed(20)
    await site.sweep()
    site.standin.faults.lose = 1.0
    (gone, waits, *_) = site.standin.account.resources()
    for one in (gone, waits):
        site.standin.account.destroy(one["public_id"])
        name = AssetName("image", "upload", one["public_id"])
        await enqueue(site.pool, [Request(CLOUD, Kind.DESTROY, {}, one["asset_id"], name)], Origin.CLI)
    await site.pool.execute(
        "UPDATE media_operations SET status = 'completed', completed_at = now() WHERE asset_id = $1", gone["asset_id"]
    )
    patient = site.settings.model_copy(update={"reconcile_grace": grace})
    report = await site.sweep(settings=patient)
    assert (report.status, report.progress.missing, report.kinds) == ("complete", 1, {"extra": 1})
    assert gone["asset_id"] not in await site.live()
    assert waits["asset_id"] in await site.live()


async def test_credentials_refused_by_a_page_are_named_as_the_reason_and_delete_nothing(site: Reconciling) -> None:
    site.standin.account.seed(5)
    await site.sweep()
    for status in (401, 403):
        site.standin.faults.clear()
        site.standin.faults.answer("GET *", PAGE, times=None, status=status)
        report = await site.sweep()
        assert (report.status, report.progress.missing) == ("broken", 0)
        assert "API key and secret" in str(report.reason)
        assert "401 Authorization Required" in str(report.reason)
    assert Counter(row["deleted_at"] for row in (await site.live()).values()) == {None: 5}


async def test_where_a_listing_is_of_uploads_alone_nothing_else_is_taken_for_gone(settings: Settings, pool: Pool) -> None:
    async with reconciling_with(settings, pool, Clock(), dialect=Dialect(lists_all_types=False)) as site:
        site.trigger()
        for number, type_ in enumerate(("upload", "private", "authenticated")):
            site.standin.account.upload(public_id=f"p{number}", type=type_)
        await site.settled()
        site.standin.faults.lose = 1.0
        site.standin.account.update("p1", type="private", display_name="Told by nobody")
        report = await site.sweep()
        assert (report.status, report.progress.missing, report.kinds) == ("complete", 0, {"field": 1})
        assert len(await site.live()) == 3


async def test_of_a_rename_over_another_that_is_not_told_the_victim_goes(settings: Settings, pool: Pool) -> None:
    async with reconciling_with(settings, pool, Clock(), dialect=Dialect(tells_of_victims=False)) as site:
        site.trigger()
        site.standin.account.upload(public_id="a")
        site.standin.account.upload(public_id="b")
        await site.settled()
        site.standin.account.rename("a", "b", overwrite=True)
        await site.settled()
        assert (await site.sweep()).status == "complete"
        assert [row["public_id"] for row in (await site.live()).values()] == ["b"]
        assert await site.differences() == []
