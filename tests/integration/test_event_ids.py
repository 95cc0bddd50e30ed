"""An event's id is used once, also by mirrors that meet on an asset that was only ever named."""

import asyncio
import random
from collections import defaultdict
from typing import Any

import orjson
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as drawn_with

from service.database import Pool
from service.mirror.entry import Entry, understand
from service.mirror.patience import patiently
from service.mirror.store import Store
from tests.bodies import CLOUD, envelope, triggered
from tests.folding import FakeRecord
from tests.property.test_event_ids import BATCHES

LEFT = {"public_id": "left", "resource_type": "image", "type": "upload"}
NAMED = f"{CLOUD}/image/upload/left"
ONE, OTHER = "1" * 32, "2" * 32


async def prepared(pool: Pool) -> Store:
    store = Store(pool, "notifications")
    await store.prepare_log()
    return store


def tagged(*resources: dict[str, Any], at: float = 1) -> dict[str, Any]:
    return {"notification_type": "resource_tags_changed", "resources": list(resources)} | triggered(at)


def renamed(asset: str, at: float) -> dict[str, Any]:
    name = {"from_public_id": "left", "to_public_id": f"of {asset}", "resource_type": "image", "type": "upload"}
    return {"notification_type": "rename", "asset_id": asset} | name | triggered(at)


def entries(*bodies: dict[str, Any]) -> list[Entry]:
    records = [(raw := orjson.dumps(body), envelope(raw, body["notification_type"])) for body in bodies]
    return [understand(FakeRecord(raw, number, tuple(of.to_headers()))) for number, (raw, of) in enumerate(records)]


async def told(pool: Pool) -> dict[str, list[tuple[int, str]]]:
    """By asset, the revisions and types of its events."""
    found: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for event in await pool.fetch("SELECT * FROM media_outbox WHERE revision IS NOT NULL ORDER BY id"):
        assert event["event_id"] == f"{event['cloud']}/{event['subject']}/{event['revision']}"
        found[f"{event['cloud']}/{event['subject']}"].append((event["revision"], event["type"].removeprefix("media.asset.")))
    return found


async def without_a_gap(pool: Pool) -> None:
    for subject, events in (await told(pool)).items():
        assert [revision for revision, _ in events] == list(range(1, len(events) + 1)), subject


async def test_a_name_that_comes_and_goes_within_a_batch_goes_on_with_its_revisions(pool: Pool) -> None:
    store = await prepared(pool)
    for at, asset in ((1, ONE), (3, OTHER)):
        # the first says whose it is in the same breath; then the asset gets another name, and the next may be called so
        await store.apply(entries(tagged(LEFT | {"added": [asset]}, LEFT | {"asset_id": asset, "added": ["x"]}, at=at)))
        await store.apply(entries(renamed(asset, at + 1)))
    assert (await told(pool))[NAMED] == [(1, "created"), (2, "purged"), (3, "created"), (4, "purged")]


async def test_what_a_batch_changes_before_it_ends_a_name_counts(pool: Pool) -> None:
    store = await prepared(pool)
    await store.apply(entries(tagged(LEFT | {"added": ["a"]})))
    changes = [tagged(LEFT | {"added": [tag]}, at=2 + number) for number, tag in enumerate("bcd")]
    await store.apply(entries(*changes, tagged(LEFT | {"asset_id": ONE, "added": ["x"]}, at=9)))
    await store.apply(entries(renamed(ONE, 10)))
    await store.apply(entries(tagged(LEFT | {"added": ["e"]}, at=11)))
    assert [revision for revision, _ in (await told(pool))[NAMED]] == [1, 2, 3, 4, 5, 6]


async def test_a_name_that_was_deleted_by_sql_and_returns_only_to_be_adopted(pool: Pool) -> None:
    store = await prepared(pool)
    await store.apply(entries(tagged(LEFT | {"added": ["a"]})))
    await pool.execute("DELETE FROM media_assets")
    await store.apply(entries(tagged(LEFT | {"added": ["b"]}, LEFT | {"asset_id": ONE, "added": ["x"]}, at=2)))
    await pool.execute("DELETE FROM media_assets")
    await store.apply(entries(tagged(LEFT | {"added": ["c"]}, at=3)))
    events = await told(pool)
    assert events[NAMED] == [(1, "created"), (2, "purged"), (3, "created"), (4, "purged"), (5, "created")]
    assert events[f"{CLOUD}/{ONE}"] == [(1, "created"), (2, "purged")]


async def test_nothing_is_left_behind_of_names_that_are_rows(pool: Pool) -> None:
    store = await prepared(pool)
    await store.apply(entries(tagged(LEFT | {"added": ["a"]})))
    assert await pool.fetchval("SELECT count(*) FROM media_purged") == 0


async def test_mirrors_that_meet_on_names_use_no_id_twice(pool: Pool) -> None:
    drawn: list[list[list[dict[str, Any]]]] = []

    @drawn_with(
        max_examples=60, phases=[Phase.generate], database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(BATCHES)
    def draw(batches: list[list[dict[str, Any]]]) -> None:
        drawn.append(batches)

    draw()
    chance = random.Random(5)

    async def work(batches: list[list[dict[str, Any]]]) -> None:
        store = await prepared(pool)
        for batch in batches:
            async for attempt in patiently():  # as a mirror does; those that wait for each other are told so
                with attempt:
                    await store.apply(entries(*batch))
                    if chance.random() < 0.1:
                        await pool.execute("DELETE FROM media_assets WHERE asset_id LIKE '%/%'")

    batches = [batch for history in drawn for batch in history]
    await asyncio.gather(*(work(batches[number::3]) for number in range(3)))
    await without_a_gap(pool)
    rows = await pool.fetch("SELECT cloud, asset_id, revision FROM media_assets")
    last = {subject: events[-1][0] for subject, events in (await told(pool)).items()}
    assert {f"{row['cloud']}/{row['asset_id']}": row["revision"] for row in rows}.items() <= last.items()
