"""Signed webhooks over HTTP, through Kafka, into rows."""

import asyncio

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.envelope import Envelope, digest_of
from service.kafka import make_consumer
from tests.bodies import ASSET, CLOUD, PAYLOADS, delete, rename, upload
from tests.integration.conftest import Mirrored


async def test_an_upload_its_duplicate_a_rename_and_a_delete_leave_one_deleted_row_with_the_new_name(mirrored: Mirrored) -> None:
    for body in (upload(at=1), upload(at=1), rename(at=2, to="new"), delete(ASSET, at=3, public_id="new")):
        assert await mirrored.post(body) == 200
    await mirrored.caught_up()
    (row,) = await mirrored.rows()
    assert (row["cloud"], row["asset_id"], row["public_id"]) == (CLOUD, ASSET, "new")
    assert row["deleted_at"] is not None
    assert row["revision"] == 3
    log = await mirrored.pool.fetch("SELECT * FROM media_sync_log ORDER BY kafka_offset")
    assert [(line["notification_type"], line["outcome"]) for line in log] == [
        ("upload", "applied"),
        ("upload", "unchanged"),
        ("rename", "applied"),
        ("delete", "applied"),
    ]
    assert {line["asset_id"] for line in log} == {ASSET}
    assert [line["triggered_by"] for line in log] == ["api:333333333333333"] * 4


async def test_every_documented_body_becomes_a_row_a_folder_or_a_question(mirrored: Mirrored) -> None:
    bodies = [file.read_bytes() for file in sorted(PAYLOADS.glob("*.json"))]
    assert [await mirrored.post(body) for body in bodies] == [200] * len(bodies)
    await mirrored.caught_up()
    rows = {row["public_id"]: row for row in await mirrored.rows()}
    assert {"jeans", "kids_playing_with_puppy", "strawberry_milk_splash", "hot-tub", "PM/totem/aaaa"} <= set(rows)
    assert {name for name, row in rows.items() if row["deleted_at"]} == {"kids_playing_with_puppy", "PM/totem/aaaa"}
    assert rows["hot-tub"]["asset_id"] == "video/upload/hot-tub"
    assert rows["hot-tub"]["moderation"] == {"google_video_moderation": {"status": "pending"}}
    assert {line["outcome"] for line in await mirrored.rows("media_sync_log")} == {"applied", "unchanged", "refetch"}
    asked = {row["asset_id"]: row["reasons"] for row in await mirrored.rows("media_refetch")}
    rejected = orjson.loads((PAYLOADS / "09_moderation_rejected.json").read_bytes())
    assert "its upload was not seen" in asked[rejected["asset_id"]]


async def test_the_bytes_on_the_topic_are_the_bytes_received(mirrored: Mirrored) -> None:
    body = b'{ "notification_type":"upload" ,\n\t"asset_id":"' + ASSET.encode() + b'", "odd": "\\ud800 \xc3\xa9" }\r\n'
    assert await mirrored.post(body) == 200
    consumer: AIOKafkaConsumer = make_consumer(
        mirrored.settings.model_copy(update={"mirror_group": "reader", "mirror_instance_id": "reader"})
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(mirrored.settings.notifications_topic, number) for number in range(3)]
        consumer.assign(partitions)
        for partition in partitions:
            consumer.seek(partition, 0)
        async with asyncio.timeout(10):
            record = await consumer.getone()
    finally:
        await consumer.stop()
    assert record.value == body
    assert record.key == ASSET.encode()
    read = Envelope.from_headers(record.headers)
    assert (read.cloud, read.notification_type, read.digest) == (CLOUD, "upload", digest_of(body))


async def test_a_webhook_of_nine_mebibytes_goes_through(mirrored: Mirrored) -> None:
    size = 9 * 1024**2
    body = orjson.dumps(upload(at=1, filler=""))
    # random enough that compression doesn't make it small
    body = orjson.dumps(upload(at=1, filler="".join(map(str, range(1_700_000)))[: size - len(body)]))
    assert len(body) == size
    assert await mirrored.post(body) == 200
    assert await mirrored.post(orjson.dumps(upload(at=1, filler="x" * 11 * 1024**2))) == 413
    await mirrored.caught_up()
    (row,) = await mirrored.rows()
    assert row["bytes"] == 147954


async def test_a_body_without_asset_id_finds_the_row_by_name(mirrored: Mirrored) -> None:
    assert await mirrored.post(upload(at=1)) == 200
    await mirrored.caught_up()
    nameless = delete(at=2)
    del nameless["resources"][0]["asset_id"]
    assert await mirrored.post(nameless) == 200
    await mirrored.caught_up()
    (row,) = await mirrored.rows()
    assert (row["asset_id"], row["revision"]) == (ASSET, 2)
    assert row["deleted_at"] is not None


async def test_tags_and_documents_arrive_whatever_they_hold(mirrored: Mirrored) -> None:
    odd = ['a"b', "a\\b", "a,b", "{}", "NULL", "", "é\U0001f600", " "]
    control = [[{"access_type": "token"}, ["nested"]], []]
    assert await mirrored.post(upload(at=1, tags=odd, metadata={"k": [[1], []]}, access_control=control, context={})) == 200
    assert await mirrored.post(upload("b" * 32, at=1, public_id="nul \0 lone \ud83d".encode("utf-8", "replace").decode())) == 200
    await mirrored.caught_up()
    rows = {row["asset_id"]: row for row in await mirrored.rows()}
    assert rows[ASSET]["tags"] == sorted(odd)
    assert (rows[ASSET]["metadata"], rows[ASSET]["access_control"]) == ({"k": [[1], []]}, control)
    assert rows["b" * 32]["public_id"] == "nul \ufffd lone ?"


async def test_a_bulk_delete_leaves_a_line_for_each_asset(mirrored: Mirrored) -> None:
    assets = [f"{number:032x}" for number in range(500)]
    assert await mirrored.post(delete(*assets, at=1)) == 200
    await mirrored.caught_up()
    lines = await mirrored.pool.fetch("SELECT asset_id, ordinal FROM media_sync_log ORDER BY ordinal")
    assert [(line["asset_id"], line["ordinal"]) for line in lines] == [(asset, n) for n, asset in enumerate(assets)]
    assert len(await mirrored.rows()) == 500
