from collections import Counter
from datetime import timedelta

import orjson
import pytest

from bench.notifications import inserts, mixed, record, signed, updates, upload
from handlers.registry import interpret
from schemas.envelope import Envelope
from schemas.notification import parse_notification
from tests.bodies import documented


def test_a_body_has_the_fields_of_the_documented_one() -> None:
    ours, theirs = orjson.loads(upload(7)), orjson.loads(documented("01"))
    assert ours.keys() == theirs.keys()
    assert {name: type(value) for name, value in ours.items()} == {name: type(value) for name, value in theirs.items()}
    assert ours["url"].endswith(f"/v{ours['version']}/{ours['public_id']}.png")
    assert b"%" not in upload(7)
    assert b"@" not in upload(7)


def test_each_number_is_another_asset() -> None:
    bodies = [orjson.loads(body) for body in inserts(1000)]
    for field in ("asset_id", "public_id", "request_id", "etag"):
        assert len({body[field] for body in bodies}) == 1000
    assert all(len(body["asset_id"]) == 32 for body in bodies)


def test_a_later_edition_is_newer_content_of_the_same_asset() -> None:
    first, second = orjson.loads(upload(5)), orjson.loads(upload(5, 1))
    assert first["asset_id"] == second["asset_id"]
    assert first["version"] < second["version"]
    assert first["notification_context"]["triggered_at"] < second["notification_context"]["triggered_at"]
    differing = {name for name in first if first[name] != second[name]}
    assert {"bytes", "etag", "tags", "version"} <= differing
    assert "created_at" not in differing


def test_updates_are_of_the_assets_inserted() -> None:
    assert [orjson.loads(body)["asset_id"] for body in updates(10)] == [orjson.loads(body)["asset_id"] for body in inserts(10)]


def test_a_mix_has_three_updates_to_an_insert_in_order() -> None:
    bodies = [orjson.loads(body) for body in mixed(400)]
    assert set(Counter(body["asset_id"] for body in bodies).values()) == {4}
    versions: dict[str, list[int]] = {}
    for body in bodies:
        versions.setdefault(body["asset_id"], []).append(body["version"])
    assert all(each == sorted(set(each)) for each in versions.values())
    assert bodies[0]["asset_id"] != bodies[1]["asset_id"] or bodies[1]["asset_id"] != bodies[2]["asset_id"]


def test_a_record_is_one_that_the_mirror_understands() -> None:
    body = upload(9)
    key, value, headers = record(body)
    assert value == body
    assert key.decode() == orjson.loads(body)["asset_id"]
    notification = parse_notification(Envelope.from_headers(headers), value)
    assert len(list(interpret(notification))) == 1


@pytest.mark.parametrize("at", [1_700_000_000, 1_800_000_000])
def test_a_signature_is_for_its_moment(at: int) -> None:
    assert signed(upload(1), at)["X-Cld-Timestamp"] == str(at)
    assert signed(upload(1), at) != signed(upload(1), at + int(timedelta(seconds=1).total_seconds()))
