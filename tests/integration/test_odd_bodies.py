"""What real servers hold of signed bodies that nobody has documented."""

import random
from datetime import UTC, datetime

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.envelope import Envelope, Source
from service.kafka import make_consumer
from tests.bodies import triggered, upload
from tests.integration.conftest import Mirrored


def letters(number: int, seed: int) -> str:
    """Text of three bytes a letter that no index can compress."""
    return "".join(chr(0x4E00 + one) for one in random.Random(seed).choices(range(20_000), k=number))


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def told(number: int, odd: str) -> bytes:
    return orjson.dumps(upload(f"{number:032x}"))[:-1] + b"," + odd.encode() + b"}"


VALUES = [
    f'"x":{nested(240)}',
    f'"x":{nested(253)}',
    f'"x":{nested(5000)}',
    f'"metadata":{{"a":{nested(300)}}}',
    f'"x":["\\u0000\\ud800",{nested(450)},1{"0" * 400},18446744073709551616,1e400]',
    '"x":[18446744073709551615,-9223372036854775808,1e308,5e-324]',
    '"created_at":"0001-01-01T00:00:00+14:00","uploaded_at":"9999-12-31T23:59:59.999999Z"',
    '"tags":["p",null,"\\ud83d",18446744073709551616]',
    f'"public_id":"{letters(600, 1)}","resource_type":"{letters(66, 2)}","type":"{letters(66, 3)}"',
    f'"public_id":"{letters(601, 4)}","resource_type":"{letters(600, 5)}","type":"{letters(600, 6)}"',
    f'"asset_folder":"{letters(666, 7)}"',
]


async def test_whatever_is_json_is_stored_and_told(mirrored: Mirrored) -> None:
    bodies = [told(number, odd) for number, odd in enumerate(VALUES)]
    nameless = {"public_id": letters(600, 8), "resource_type": letters(66, 9), "type": letters(66, 10), "asset_id": None}
    folders = [
        {"notification_type": "create_folder", "folder_path": f"a/{letters(665, 11)}"} | triggered(1),
        {"notification_type": "create_folder", "folder_path": letters(2000, 12)} | triggered(2),
        {"notification_type": "move_or_rename_asset_folder", "from_path": "a", "to_path": letters(666, 13)} | triggered(3),
    ]
    many = [*bodies, *(orjson.dumps(body) for body in (upload() | nameless, *folders))]
    assert [await mirrored.post(body) for body in many] == [200] * len(many)
    await mirrored.caught_up()
    log = await mirrored.rows("media_sync_log")
    assert [line["reason"] for line in log if line["outcome"] == "failed"] == []
    rows = {row["asset_id"]: row for row in await mirrored.rows()}
    assert len(rows) == len(bodies) + 1
    assert rows[f"{5:032x}"]["details"]["x"] == [18446744073709551615, -9223372036854775808, 1e308, 5e-324]
    assert rows[f"{7:032x}"]["tags"] == ["18446744073709551616", "p", "\ufffd"]
    assert rows[f"{8:032x}"]["public_id"] == letters(600, 1)
    assert rows[f"{9:032x}"]["public_id"] is None
    asked = {row["asset_id"] for row in await mirrored.rows("media_refetch")}
    assert asked >= {f"{number:032x}" for number in (1, 2, 3, 4, 6, 7, 9)}
    assert f"{0:032x}" not in asked


async def test_a_webhook_says_nothing_of_our_own_readings_and_nothing_of_the_far_future(mirrored: Mirrored) -> None:
    asset = {"asset_id": "e" * 32, "public_id": "x", "resource_type": "image", "type": "upload"}
    future = {"notification_context": {"triggered_at": "9999-01-01T00:00:00Z"}}
    for body in (
        {"notification_type": "delete", "resources": [asset]} | future,
        {"notification_type": "missing", "resources": [asset]} | triggered(1),
        {"notification_type": "snapshot", "resources": [asset | {"version": 5}]} | triggered(1),
    ):
        assert await mirrored.post(body) == 200
    await mirrored.caught_up()
    (row,) = await mirrored.rows()
    assert row["deleted_at"] <= datetime.now(UTC)
    assert row["version"] is None
    log = await mirrored.rows("media_sync_log")
    assert sorted((line["notification_type"], line["outcome"], line["asset_id"]) for line in log) == [
        ("delete", "applied", "e" * 32),
        ("missing", "ignored", "e" * 32),
        ("snapshot", "ignored", "e" * 32),
    ]


async def test_a_record_tells_where_it_came_from(mirrored: Mirrored) -> None:
    assert await mirrored.post(upload()) == 200
    await mirrored.caught_up()
    reader = mirrored.settings.model_copy(update={"mirror_group": "reader", "mirror_instance_id": "reader"})
    consumer: AIOKafkaConsumer = make_consumer(reader)
    await consumer.start()
    try:
        partitions = [TopicPartition(mirrored.settings.notifications_topic, number) for number in range(3)]
        consumer.assign(partitions)
        for partition in partitions:
            consumer.seek(partition, 0)
        record = await consumer.getone()
    finally:
        await consumer.stop()
    assert Envelope.from_headers(record.headers).source == Source.WEBHOOK
