"""What a sweep, or an answer to a question, takes for gone, and what it must not."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.cloudinary.errors import CloudinaryError
from service.database import Pool
from service.reconcile.drift import ASKED, read_drift
from service.settings import Settings
from tests.bodies import CLOUD
from tests.integration.reconciling import FEW_CALLS, Clock, Reconciling, reconciling_with

BY_IDS = "GET */by_asset_ids"
IMAGES = "GET */resources/image"


@pytest.fixture
async def site(settings: Settings, pool: Pool) -> AsyncIterator[Reconciling]:
    async with reconciling_with(settings, pool, Clock(), backup=True, dialect=FEW_CALLS) as site:
        site.trigger()
        yield site


async def filled(site: Reconciling, count: int) -> None:
    site.standin.account.seed(count)
    await site.sweep()
    assert len(await site.live()) == count


async def ask(site: Reconciling, *asset_ids: str) -> None:
    await site.pool.execute(
        "INSERT INTO media_refetch (cloud, asset_id, reasons) SELECT $1, unnest($2::text[]), '{asked}'", CLOUD, list(asset_ids)
    )
    site.clock.pass_by(10)


@pytest.mark.parametrize("nothing", [{"resources": []}, {}])
async def test_a_confirming_read_that_does_not_know_what_was_just_listed_confirms_nothing(
    site: Reconciling, nothing: dict[str, Any]
) -> None:
    await filled(site, 60)
    listed = {"resources": site.standin.account.list_assets(_page(), resource_type="image")["resources"][:55]}
    site.standin.faults.answer(IMAGES, listed, times=None)
    site.standin.faults.answer(BY_IDS, nothing, times=None)
    report = await site.sweep()
    assert (report.status, report.progress.missing) == ("broken", 0)
    assert len(await site.live()) == 60
    site.standin.faults.clear()
    report = await site.sweep()
    assert (report.status, report.progress.resumed, report.progress.missing) == ("complete", True, 0)


def _page() -> Any:
    from standin.listing import Page  # noqa: PLC0415

    return Page(max_results=500, shown=frozenset({"tags", "context", "metadata", "moderation"}))


async def test_a_listing_without_a_list_has_not_come_to_its_end(site: Reconciling) -> None:
    await filled(site, 600)
    site.standin.faults.answer(IMAGES, {}, times=None, after=1)
    report = await site.sweep()
    assert (report.status, report.progress.listed, report.progress.missing) == ("broken", 500, 0)


@pytest.mark.parametrize("nothing", [{"resources": []}, {}])
async def test_an_answer_that_does_not_know_what_there_is_answers_no_question(site: Reconciling, nothing: dict[str, Any]) -> None:
    await filled(site, 5)
    ids = [asset["asset_id"] for asset in site.standin.account.resources()]
    await ask(site, *ids[:2])
    site.standin.faults.answer(BY_IDS, nothing, times=None)
    with pytest.raises(CloudinaryError):
        await site.refetcher().turn()
    assert await site.pool.fetchval("SELECT count(*) FROM media_refetch") == 2
    assert len(await site.live()) == 5
    site.standin.faults.clear()
    assert await site.refetcher().turn() == 2


async def test_an_answer_that_there_is_nothing_counts_when_others_are_there(site: Reconciling) -> None:
    await filled(site, 5)
    await ask(site, "f" * 32)
    assert await site.refetcher().turn() == 1
    site.announced += 1
    await site.settled()
    assert await site.pool.fetchval("SELECT deleted_at IS NOT NULL FROM media_assets WHERE asset_id = $1", "f" * 32)


async def test_placeholders_are_held_against_the_cap_as_well(site: Reconciling) -> None:
    await filled(site, 100)
    site.standin.faults.lose = 1.0
    for number in range(25):
        site.standin.account.destroy(f"seed/{number:07}")
    report = await site.sweep()
    assert (report.status, report.kinds, report.progress.published, report.progress.missing) == (
        "refused", {"tombstone": 25}, 0, 0,
    )  # fmt: skip
    assert len(await site.live()) == 100
    report = await site.sweep(accept_missing=25)
    assert (report.status, report.kinds) == ("complete", {"tombstone": 25})
    assert await site.differences() == []
    assert (await site.sweep()).kinds == {}


async def test_a_placeholder_needs_no_grace_since_it_says_that_the_asset_was_deleted(site: Reconciling) -> None:
    await filled(site, 20)
    site.standin.faults.lose = 1.0
    site.standin.account.destroy("seed/0000001")
    patient = site.settings.model_copy(update={"reconcile_grace": 3600})
    assert (await site.sweep(settings=patient)).kinds == {"tombstone": 1}
    assert len(await site.live()) == 19


async def test_what_was_restored_since_it_was_listed_as_a_placeholder_is_there(site: Reconciling) -> None:
    await filled(site, 20)
    account = site.standin.account
    (asset, *_) = account.resources()
    listed = account.list_assets(_page(), resource_type="image")["resources"]
    emptied = [one | ({"bytes": 0, "placeholder": True} if one["asset_id"] == asset["asset_id"] else {}) for one in listed]
    site.standin.faults.answer(IMAGES, {"resources": emptied}, times=None)
    report = await site.sweep()
    assert (report.status, report.kinds, report.progress.missing) == ("complete", {}, 0)
    assert len(await site.live()) == 20


async def test_a_cap_of_nothing_lets_nothing_go(site: Reconciling) -> None:
    await filled(site, 20)
    await site.pool.execute(
        "INSERT INTO media_assets (cloud, asset_id, clocks, revision) VALUES ($1, $2, '{}', 1)", CLOUD, "f" * 32
    )
    strict = site.settings.model_copy(update={"reconcile_cap": 0})
    report = await site.sweep(settings=strict)
    assert (report.status, report.progress.missing) == ("refused", 0)
    assert (await site.sweep(settings=strict, accept_missing=1)).progress.missing == 1


async def test_a_listing_that_never_gets_beyond_a_page_ends_broken(site: Reconciling) -> None:
    site.standin.account.seed(1200)
    for page_before in (1, 2):  # each time the second page is refused, with fields and without
        site.standin.faults.fail(IMAGES, 400, times=2, after=page_before)
    report = await site.sweep()
    assert (report.status, report.progress.missing) == ("broken", 0)


async def test_a_cursor_that_leads_nowhere_ends_the_sweep_broken(site: Reconciling) -> None:
    site.standin.account.seed(10)
    again = {"resources": site.standin.account.resources()[:5], "next_cursor": "again"}
    site.standin.faults.answer(IMAGES, again, times=None)
    report = await site.sweep()
    assert report.status == "broken"
    assert report.progress.listed <= 10


async def test_resources_that_say_no_id_are_asked_for_in_another_way(site: Reconciling) -> None:
    await filled(site, 30)
    listed = [{k: v for k, v in one.items() if k != "asset_id"} for one in site.standin.account.resources()]
    site.standin.faults.answer(IMAGES, {"resources": listed})
    report = await site.sweep()
    assert (report.status, report.kinds, report.progress.missing) == ("complete", {}, 0)


async def test_labels_that_postgresql_cannot_hold_as_they_are_converge_all_the_same(site: Reconciling) -> None:
    await filled(site, 2)
    odd = '"a\\u0000b \\ud800 \\ud83d\\ude00"'
    labels = (
        f'"tags": [], "context": {{"custom": {{"alt": {odd}}}}}, "metadata": {{"n": 123456789012345678901234567890, "f": 1.0}}'
    )
    (one, two) = site.standin.account.resources()
    import orjson  # noqa: PLC0415

    resource = orjson.dumps({k: v for k, v in one.items() if k not in ("tags", "context", "metadata")}).decode()
    answer = f'{{"resources": [{resource[:-1]}, {labels}}}, {orjson.dumps(two).decode()}]}}'
    site.standin.faults.answer(IMAGES, answer, times=None)
    assert (await site.sweep()).kinds == {"field": 1}
    report = await site.sweep()
    assert (report.status, report.progress.published, report.kinds) == ("complete", 0, {})


async def test_a_verdict_that_is_told_in_more_words_is_no_drift(site: Reconciling) -> None:
    await filled(site, 2)
    (one, _) = site.standin.account.resources()
    verdict = {"notification_type": "moderation", "moderation_kind": "manual", "moderation_status": "approved"}
    body = verdict | {"asset_id": one["asset_id"], "public_id": one["public_id"], "version": one["version"]}
    triggered = {"triggered_at": "2024-01-01T00:00:00Z"}
    assert (
        await site.mirrored.post(body | {"moderation_updated_at": "2024-01-01T00:00:00Z", "notification_context": triggered})
        == 200
    )
    site.announced += 1
    await site.settled()
    shown = {"kind": "manual", "status": "approved", "response": {"score": 1}, "updated_at": "2024-01-01T00:00:00.5Z"}
    listed = [one | {"moderation": [shown]}, *site.standin.account.resources()[1:]]
    site.standin.faults.answer(IMAGES, {"resources": listed}, times=None)
    report = await site.sweep()
    assert (report.kinds, report.progress.published) == ({}, 1)
    assert (await site.sweep()).progress.published == 0


async def test_a_row_that_was_only_named_becomes_part_of_the_asset_of_that_name(site: Reconciling) -> None:
    await filled(site, 2)
    (one, _) = site.standin.account.resources()
    named = f"image/upload/{one['public_id']}"
    insert = """INSERT INTO media_assets (cloud, asset_id, resource_type, type, public_id, tags, clocks, revision)
        VALUES ($1, $2, 'image', 'upload', $3, '{x}', '{"tags.x": "0000000000000001.1.ffffffffffffffff"}', 1)"""
    await site.pool.execute(insert, CLOUD, named, one["public_id"])
    assert (await site.sweep()).status == "complete"
    assert named not in await site.live()
    assert (await site.sweep()).progress.published == 0


async def test_what_was_told_and_waits_for_an_answer_is_not_called_bypassed(site: Reconciling) -> None:
    await filled(site, 20)
    (one, *_) = site.standin.account.resources()
    site.standin.faults.lose = 1.0
    site.standin.account.update(one["public_id"], tags=["new"])
    told = {"notification_type": "publish", "asset_id": one["asset_id"], "public_id": one["public_id"]}
    assert await site.mirrored.post(told | {"notification_context": {"triggered_at": "2020-01-01T00:00:00Z"}}) == 200
    site.announced += 1
    await site.settled()
    assert (await site.sweep()).kinds == {"field": 1}
    (drift,) = await read_drift(site.pool, CLOUD, None)
    assert [row["cause"] for row in drift.findings] == [ASKED]
