"""The mirror equals the log, and can be made from it again."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from service.database import Pool
from service.replay.compare import Difference
from service.replay.rebuild import Rebuilt, rebuild
from service.replay.verify import LostTablesError, Verdict, verify
from service.settings import Settings
from tests.bodies import delete, triggered, upload
from tests.integration.conftest import Mirrored
from tests.integration.test_events import as_published, copy_of, emptied, read_all, relaying, table_of
from tests.integration.test_order import as_of, histories, produce


@pytest.fixture
async def lived(mirrored: Mirrored) -> AsyncIterator[Mirrored]:
    """A mirror with a past, and a relay."""
    history = [body for number, part in enumerate(histories(30, 10)) for body in as_of(part, number)]
    history += [{"notification_type": "create_folder", "folder_path": path} | triggered(9) for path in ("p", "p/q")]
    async with relaying(mirrored.settings, mirrored.pool):
        await produce(mirrored.settings, "acme", history, scattered=True)
        mirrored.accepted = len(history)
        await mirrored.caught_up()
        await emptied(mirrored.pool)
        yield mirrored


async def verified(settings: Settings, pool: Pool) -> tuple[Verdict, list[Difference]]:
    found: list[Difference] = []
    verdict = await verify(settings, pool, found.append, progress=lambda _: None, expect=lambda _: None)
    assert verdict.found == len(found)
    return verdict, found


async def rebuilt(settings: Settings, pool: Pool) -> Rebuilt:
    return await rebuild(settings, pool, lambda _: None, progress=lambda _: None, expect=lambda _: None)


async def events_of_rebuild(mirrored: Mirrored) -> dict[str, dict[str, Any]]:
    """What rebuilds have told, by subject."""
    await emptied(mirrored.pool)
    records = await read_all(mirrored.settings, mirrored.settings.events_topic)
    events = [{name: value.decode() for name, value in one.headers} | {"data": orjson.loads(one.value)} for one in records]
    return {one["ce_subject"]: one for one in events if one["data"]["cause"]["notification_type"] == "rebuild"}


async def counted(mirrored: Mirrored) -> int:
    await emptied(mirrored.pool)
    return len(await read_all(mirrored.settings, mirrored.settings.events_topic))


async def test_a_mirror_that_nobody_touched_equals_the_log(lived: Mirrored) -> None:
    verdict, found = await verified(lived.settings, lived.pool)
    assert found == []
    assert (verdict.read, verdict.in_flight, verdict.begins) == (lived.accepted, 0, {})
    assert not await lived.pool.fetchval("SELECT count(*) FROM information_schema.schemata WHERE schema_name LIKE '%scratch'")


async def test_rows_changed_by_hand_are_found_field_by_field_and_put_right(lived: Mirrored) -> None:
    rows = {row["asset_id"]: row for row in await lived.rows()}
    bent, bare, lost = sorted(rows)[:3]
    await lived.pool.execute("UPDATE media_assets SET bytes = 12345, tags = '{hand}' WHERE asset_id = $1", bent)
    await lived.pool.execute("UPDATE media_assets SET clocks = '{}' WHERE asset_id = $1", bare)
    await lived.lose(lost)
    await lived.pool.execute("INSERT INTO media_assets (cloud, asset_id, clocks, revision) VALUES ('acme', 'invented', '{}', 3)")
    await lived.pool.execute("DELETE FROM media_folders")
    verdict, found = await verified(lived.settings, lived.pool)
    by_subject = {one.subject: one for one in found if one.kind == "asset"}
    assert set(by_subject) == {bent, bare, lost, "invented"}
    assert by_subject[bent].fields.keys() == {"bytes", "tags"}
    assert by_subject[bent].fields["bytes"] == (12345, rows[bent]["bytes"])
    assert (by_subject[lost].what, by_subject["invented"].what) == ("missing", "extra")
    assert verdict.found > 4, "folders too"

    done = await rebuilt(lived.settings, lived.pool)
    assert (done.changed, done.restored, done.removed) == (2, 1, 1)
    assert (await verified(lived.settings, lived.pool))[1] == []
    after = {row["asset_id"]: row for row in await lived.rows()}
    assert after[bent]["revision"] == rows[bent]["revision"] + 1
    assert as_published(after[lost]) == as_published(rows[lost]), "subscribers know it as it is"
    assert as_published(after[bare]) == as_published(rows[bare])
    told = await events_of_rebuild(lived)
    assert set(told) == {bent, "invented"}
    assert told[bent]["data"]["changed"]["bytes"] == {"from": 12345, "to": rows[bent]["bytes"]}
    assert told["invented"]["ce_type"] == "media.asset.purged"
    assert await copy_of(lived.settings) == await table_of(lived.pool)


async def test_lost_tables_are_restored_from_kafka_alone(lived: Mirrored) -> None:
    before, events = await table_of(lived.pool), await counted(lived)
    await lived.pool.execute("DROP TABLE media_assets, media_folders, media_folder_events CASCADE")
    with pytest.raises(LostTablesError, match="rebuild --swap"):
        await verified(lived.settings, lived.pool)
    done = await rebuilt(lived.settings, lived.pool)
    assert done.restored == len(before)
    assert await table_of(lived.pool) == before
    assert await counted(lived) == events, "nobody is told what they know"
    assert (await verified(lived.settings, lived.pool))[1] == []
    assert await lived.pool.fetchval("SELECT count(*) FROM media_names") > 0
    assert (
        await lived.pool.fetchval(
            "SELECT count(*) FROM pg_trigger WHERE tgname = 'media_assets_deleted' AND tgrelid = 'media_assets'::regclass"
        )
        == 1
    )
    assert await lived.post(upload("f" * 32, at=1)) == 200
    await lived.caught_up()
    assert (await table_of(lived.pool)).keys() == before.keys() | {"f" * 32}


async def test_what_was_deleted_by_sql_and_is_told_of_again_is_what_the_log_says(lived: Mirrored) -> None:
    destroyed, kept, *_ = sorted(row["asset_id"] for row in await lived.rows() if row["deleted_at"] is None and row["version"])
    await lived.pool.execute("DELETE FROM media_assets WHERE asset_id = ANY ($1)", [destroyed, kept])
    assert (await verified(lived.settings, lived.pool))[0].deleted == 2
    assert (await verified(lived.settings, lived.pool))[1] == []
    assert (await rebuilt(lived.settings, lived.pool)).restored == 0, "whoever deleted them wants them to be away"
    assert await lived.post(delete(destroyed, at=10**6)) == 200
    assert await lived.post(upload(kept, at=1)) == 200, "an old one"
    await lived.caught_up()
    verdict, found = await verified(lived.settings, lived.pool)
    assert (verdict.deleted, found) == (0, [])
    await emptied(lived.pool)
    assert await copy_of(lived.settings) == await table_of(lived.pool)
    ids = [dict(one.headers)["ce_id"] for one in await read_all(lived.settings, lived.settings.events_topic)]
    assert len(ids) == len(set(ids))


async def test_verify_and_rebuild_are_right_while_the_mirror_works(lived: Mirrored) -> None:
    await lived.pool.execute("UPDATE media_assets SET bytes = 1 WHERE asset_id IN (SELECT asset_id FROM media_assets LIMIT 5)")
    wrong = {one.subject for one in (await verified(lived.settings, lived.pool))[1]}

    async def traffic() -> None:
        number = 0
        while True:
            number += 1
            assert await lived.post(upload(f"{number % 50:032x}", at=number, tags=[str(number)])) == 200

    task = asyncio.create_task(traffic())
    try:
        for _ in range(3):
            _, found = await verified(lived.settings, lived.pool)
            assert {one.subject for one in found} == wrong
        done = await rebuilt(lived.settings, lived.pool)
        assert done.changed == len(wrong)
        for _ in range(3):
            assert (await verified(lived.settings, lived.pool))[1] == []
    finally:
        task.cancel()
        await asyncio.wait([task])
    await lived.caught_up()
    await emptied(lived.pool)
    assert await copy_of(lived.settings) == await table_of(lived.pool)


async def test_a_rebuild_that_fails_leaves_everything_as_it_was(lived: Mirrored, monkeypatch: pytest.MonkeyPatch) -> None:
    await lived.pool.execute("UPDATE media_assets SET bytes = 1")
    before = [dict(row) for row in await lived.rows()]

    async def fail(*_: object) -> None:
        raise RuntimeError("in the middle")

    monkeypatch.setattr("service.replay.rebuild.write_events", fail)
    with pytest.raises(RuntimeError):
        await rebuilt(lived.settings, lived.pool)
    assert [dict(row) for row in await lived.rows()] == before
    assert not await lived.pool.fetchval("SELECT count(*) FROM information_schema.schemata WHERE schema_name LIKE '%scratch'")


async def test_what_is_in_flight_is_no_difference(lived: Mirrored) -> None:
    await lived.pool.execute("UPDATE media_offsets SET next_offset = next_offset - 1 WHERE kafka_partition = 0")
    verdict, _ = await verified(lived.settings, lived.pool)
    assert verdict.in_flight == 1
