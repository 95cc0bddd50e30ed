"""The law of order through real Kafka and PostgreSQL, and mirrors that meet."""

import asyncio
import random
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from service.database import Pool
from service.kafka import ensure_topics, make_producer
from service.mirror.consumer import Mirror
from service.settings import Settings
from service.telemetry import Metrics
from tests.bodies import delete, envelope, triggered, upload
from tests.integration.conftest import Mirrored, eventually
from tests.property.test_order import NOTIFICATIONS

LEFT, RIGHT = "left", "right"


def histories(number: int, length: int) -> list[list[dict[str, Any]]]:
    """Histories drawn as the property tests draw them."""
    drawn: list[list[dict[str, Any]]] = []

    @settings(
        max_examples=number, phases=[Phase.generate], database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(st.lists(NOTIFICATIONS, min_size=length, max_size=length))
    def draw(history: list[dict[str, Any]]) -> None:
        drawn.append(history)

    draw()
    return drawn


async def produce(settings: Settings, cloud: str, bodies: list[dict[str, Any]], *, scattered: bool) -> None:
    producer = make_producer(settings)
    await producer.start()
    try:
        sends = []
        for number, body in enumerate(bodies):
            raw = orjson.dumps(body)
            headers = envelope(raw, body["notification_type"], cloud=cloud).to_headers()
            partition = number % settings.notifications_partitions if scattered else 0
            sends.append(await producer.send(settings.notifications_topic, raw, partition=partition, headers=headers))
        await asyncio.gather(*sends)
    finally:
        await producer.stop()


async def rows_of(pool: Pool, table: str, cloud: str) -> list[dict[str, Any]]:
    """A cloud's rows, but for what counts arrivals and the cloud itself."""
    rows = [dict(row) for row in await pool.fetch(f"SELECT * FROM {table} WHERE cloud = $1 ORDER BY 2", cloud)]
    return [{name: value for name, value in row.items() if name not in ("cloud", "revision", "updated_at")} for row in rows]


async def test_one_history_in_two_orders_in_two_clouds_leaves_equal_rows(mirrored: Mirrored) -> None:
    shuffler = random.Random(7)
    history = [body for number, part in enumerate(histories(60, 12)) for body in as_of(part, number)]
    shuffled = history + shuffler.sample(history, len(history) // 4)
    shuffler.shuffle(shuffled)
    await produce(mirrored.settings, LEFT, history, scattered=False)
    await produce(mirrored.settings, RIGHT, shuffled, scattered=True)
    mirrored.accepted = len(history) + len(shuffled)
    await mirrored.caught_up()
    for table in ("media_assets", "media_folders", "media_folder_events"):
        left, right = await rows_of(mirrored.pool, table, LEFT), await rows_of(mirrored.pool, table, RIGHT)
        assert left == right
        assert left
    assert not await mirrored.pool.fetchval("SELECT count(*) FROM media_sync_log WHERE outcome = 'failed'")


def as_of(history: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """The history, about assets of its own."""
    text = orjson.dumps(history).decode()
    for letter in "abc":
        text = text.replace(letter * 32, f"{letter}{number:031x}")
    bodies: list[dict[str, Any]] = orjson.loads(text)
    return bodies


def tagged(asset: str, tag: str, *, at: int) -> dict[str, Any]:
    resource = {"asset_id": asset, "public_id": f"name-of-{asset}", "resource_type": "image", "type": "upload", "added": [tag]}
    return {"notification_type": "resource_tags_changed", "resources": [resource]} | triggered(at)


@pytest.mark.timeout(400)
async def test_two_mirrors_and_a_bulk_delete_under_traffic_end_right_twenty_times(settings: Settings, pool: Pool) -> None:
    await ensure_topics(settings)
    mirrors = [
        Mirror(settings.model_copy(update={"mirror_instance_id": name, "mirror_batch": 40}), pool, Metrics(CollectorRegistry()))
        for name in ("one", "two")
    ]
    running = [asyncio.create_task(mirror.run()) for mirror in mirrors]
    shuffler = random.Random(1)
    total = 0
    try:
        for turn in range(20):
            assets = [f"{turn:04x}{number:028x}" for number in range(500)]
            changes = [
                {
                    "notification_type": "resource_tags_changed",
                    "resources": [
                        {"asset_id": asset, "public_id": "x", "resource_type": "image", "type": "upload", "added": [tag]}
                    ],
                }
                | triggered(at)
                for asset in assets
                for at, tag in ((1, "early"), (9, "late"))
                if tag == "early" or asset in assets[::5]
            ]
            bodies = [upload(asset, at=0) for asset in assets] + changes + [delete(*assets, at=5)] * 3
            shuffler.shuffle(bodies)
            await produce(settings, LEFT, bodies, scattered=True)
            total += len(bodies)

            async def applied(total: int = total) -> bool:
                return bool(await pool.fetchval("SELECT sum(next_offset) >= $1 FROM media_offsets", total))

            await eventually(applied)
            rows = {
                row["asset_id"]: row for row in await pool.fetch("SELECT * FROM media_assets WHERE asset_id = ANY ($1)", assets)
            }
            assert len(rows) == 500
            for number, asset in enumerate(assets):
                touched_later = number % 5 == 0
                assert rows[asset]["tags"] == (["early", "late"] if touched_later else ["early"])
                assert (rows[asset]["deleted_at"] is None) == touched_later
                assert rows[asset]["bytes"] == 147954
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)
    lines = await pool.fetchrow(
        "SELECT count(*) AS lines, count(DISTINCT (kafka_partition, kafka_offset, ordinal)) AS kinds,"
        " count(*) FILTER (WHERE outcome = 'failed') AS failed FROM media_sync_log"
    )
    assert lines is not None
    assert (lines["lines"], lines["kinds"], lines["failed"]) == (20 * (500 + 600 + 3 * 500),) * 2 + (0,)


async def test_names_that_are_claimed_twice_are_held_by_the_last_and_the_other_is_asked_about(mirrored: Mirrored) -> None:
    older, newer = "a" * 32, "b" * 32
    assert await mirrored.post(upload(newer, at=2, public_id="same")) == 200
    assert await mirrored.post(upload(older, at=1, public_id="same")) == 200
    await mirrored.caught_up()
    assert [(row["public_id"], row["asset_id"]) for row in await mirrored.rows("media_names")] == [("same", newer)]
    assert [(row["asset_id"], row["reasons"]) for row in await mirrored.rows("media_refetch")] == [
        (older, ["another asset has got its name"])
    ]


async def test_questions_about_an_asset_are_one_with_all_their_reasons(mirrored: Mirrored) -> None:
    for kind in ("info", "publish", "info"):
        body = {"notification_type": kind, "asset_id": "a" * 32} | triggered(1)
        assert await mirrored.post(body) == 200
        await mirrored.caught_up()
    (row,) = await mirrored.rows("media_refetch")
    assert row["reasons"] == [
        "info does not say what has changed",
        "its upload was not seen",
        "publish does not say what has changed",
    ]


async def test_what_was_only_named_is_adopted(mirrored: Mirrored) -> None:
    named = {"public_id": f"name-of-{'a' * 32}", "resource_type": "image", "type": "upload"}
    assert await mirrored.post({"notification_type": "resource_tags_changed", "resources": [named | {"added": ["x"]}]}) == 200
    await mirrored.caught_up()
    assert await mirrored.post(upload("a" * 32, at=1, tags=None)) == 200
    await mirrored.caught_up()
    (row,) = await mirrored.rows()
    assert (row["asset_id"], row["tags"]) == ("a" * 32, ["x"])


async def test_a_folder_moves_with_all_that_is_in_it(mirrored: Mirrored) -> None:
    assets = [f"{number:032x}" for number in range(300)]
    for number, asset in enumerate(assets):
        assert await mirrored.post(upload(asset, at=1, asset_folder=f"a/{number % 3}" if number % 2 else "other")) == 200
    await mirrored.caught_up()
    move = {"notification_type": "move_or_rename_asset_folder", "from_path": "a", "to_path": "z/y"}
    assert await mirrored.post(move | triggered(5)) == 200
    await mirrored.caught_up()
    assert await mirrored.post(upload("f" * 32, at=2, asset_folder="a/9")) == 200
    await mirrored.caught_up()
    folders = {row["asset_id"]: row["asset_folder"] for row in await mirrored.rows()}
    assert folders.pop("f" * 32) == "z/y/9"
    assert [folders[asset] for asset in assets] == [f"z/y/{n % 3}" if n % 2 else "other" for n in range(300)]
    assert await mirrored.pool.fetchval("SELECT count(*) FROM media_sync_log WHERE reason = 'folder a to z/y'") == 151
    assert [row["path"] for row in await mirrored.rows("media_folders")] == ["z/y"]
