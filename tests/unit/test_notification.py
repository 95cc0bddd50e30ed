from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from schemas.asset import AssetName
from schemas.bodies import Eager, Moderation, Upload, read
from schemas.delivery_url import kind_of
from schemas.envelope import Envelope, NotOursError, record_key_of
from schemas.json import NotAnObjectError, parse_object, storable
from schemas.notification import parse_notification
from tests.bodies import ASSET, delete, documented, envelope, notification, rename, upload


def test_an_envelope_survives_the_headers_of_a_record() -> None:
    before = envelope(b"{}", "upload")
    assert Envelope.from_headers(before.to_headers()) == before


def test_a_record_of_somebody_else_is_recognised() -> None:
    headers = envelope(b"{}").to_headers()
    for bad in ([], headers[1:], [*headers[1:], ("cloud", b"\xff")], [*headers, ("received-at", b"noon")]):
        with pytest.raises(NotOursError):
            Envelope.from_headers(bad)


def test_the_event_time_is_when_it_was_triggered_else_the_bodys_else_when_it_was_signed() -> None:
    modern = orjson.loads(documented("04_rename"))
    assert notification(modern).occasion.event_time == datetime(2024, 6, 25, 11, 29, 9, 4998, UTC)
    assert notification(modern).occasion.triggered_by == "api:333333333333333"
    assert notification(documented("21_upload")).occasion.event_time == datetime(2021, 4, 15, 16, 45, 47, tzinfo=UTC)
    assert notification(documented("09_moderation")).occasion.event_time == datetime(2022, 9, 13, 22, 18, 41, tzinfo=UTC)
    timeless = documented("22_delete")
    signed = parse_notification(envelope(timeless, "delete", signed_at=1_700_000_000), timeless)
    assert (signed.occasion.event_time, signed.occasion.triggered_at) == (datetime.fromtimestamp(1_700_000_000, UTC), None)


@pytest.mark.parametrize("odd", ["soon", 5, None, [], {}, "2026-13-01", "9999-12-31T23:59:59-23:59"])
def test_a_time_that_cannot_be_read_counts_as_absent(odd: Any) -> None:
    body = upload(timestamp="2026-01-01T00:00:05+00:00") | {"notification_context": {"triggered_at": odd, "triggered_by": odd}}
    assert notification(body).occasion.event_time == datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("version", "1719310887", 1719310887),
        ("version", 2**63, None),
        ("version", -1, None),
        ("version", "latest", None),
        ("version", 1.5, None),
        ("width", 2**31, None),
        ("duration", "13.6", 13.6),
        ("duration", "Infinity", None),
        ("public_id", 12345, "12345"),
        ("public_id", "", None),
        ("public_id", "x" * 1_800, "x" * 1_800),
        ("public_id", "é" * 901, None),
        ("tags", "one", ["one"]),
        ("tags", ["one", 2], ["one", "2"]),
        ("context", [], {}),
        ("created_at", "2024-06-25T10:21:27Z", datetime(2024, 6, 25, 10, 21, 27, tzinfo=UTC)),
        ("created_at", "2024-06-25T12:21:27+02:00", datetime(2024, 6, 25, 10, 21, 27, tzinfo=UTC)),
        ("created_at", "yesterday", None),
        ("asset_id", None, None),
    ],
)
def test_fields_are_read_tolerantly_one_by_one(field: str, value: Any, expected: Any) -> None:
    body = read(Upload, upload() | {field: value})
    assert getattr(body, field) == expected
    assert body.format == "png"


def test_what_has_no_field_is_kept() -> None:
    assert read(Upload, upload(brand_new={"a": 1})).model_extra == {"brand_new": {"a": 1}} | {
        name: value for name, value in upload().items() if name in ("notification_type", "notification_context")
    }


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (upload(), ASSET),
        (rename(to="b", at=1), ASSET),
        (delete("a" * 32, "b" * 32, at=1), "a" * 32),
        (orjson.loads(documented("24_move")), "blue_sweater"),
        (orjson.loads(documented("07_upload")), "hot-tub"),
        ({"notification_type": "create_folder", "folder_path": "a/b"}, "a/b"),
        ({"notification_type": "report", "resources": [1], "asset_id": 5}, "report"),
        ({"resources": {"x": 1}}, "x"),
        ({}, ""),
    ],
)
def test_the_record_key_is_the_assets_id_or_the_best_there_is(body: dict[str, Any], key: str) -> None:
    assert record_key_of(body) == key


def test_what_postgresql_cannot_hold_is_replaced() -> None:
    raw = rb'{"a\u0000": ["\ud800", {"b": "\u0000"}], "\uDFFF": "\ud83d\ude00", "n": 1}'
    assert storable(raw) == {"a\ufffd": ["\ufffd", {"b": "\ufffd"}], "\ufffd": "\U0001f600", "n": 1}
    assert parse_object(rb'{"a": "\ud800"}') == {"a": "\ud800"}
    with pytest.raises(NotAnObjectError):
        storable(b"[]")


def test_resources_are_read_from_an_array_and_from_a_map() -> None:
    array = notification({"resources": [{"public_id": "a"}, "odd", {"public_id": "b"}]})
    mapped = notification({"resources": {"a": {}, "odd": 1, "b": {"type": "upload"}}})
    assert [item["public_id"] for item in array.resources()] == ["a", "odd", "b"]
    assert [item["public_id"] for item in mapped.resources()] == ["a", "odd", "b"]
    assert list(notification({"resources": "odd"}).resources()) == []


def test_a_map_that_holds_a_public_id_twice_gives_both() -> None:
    raw = b'{"resources": {"a": {"resource_type": "image", "x": {"y": [{}]}}, "a\\u0000": 1, "a": {"resource_type": "video"}}}'
    assert list(notification(raw).resources()) == [
        {"public_id": "a", "resource_type": "image", "x": {"y": [{}]}},
        {"public_id": "a\ufffd"},
        {"public_id": "a", "resource_type": "video"},
    ]


def test_the_time_of_a_job_is_when_it_was_done_not_when_it_was_ordered() -> None:
    ordered = {"notification_context": {"triggered_at": "2026-01-01T00:00:00Z"}, "timestamp": "2026-01-01T00:05:00+00:00"}
    assert notification({"notification_type": "eager"} | ordered).occasion.event_time.minute == 5
    assert notification({"notification_type": "upload"} | ordered).occasion.event_time.minute == 0


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        (
            "https://res.cloudinary.com/acme/video/authenticated/s--ysKyFSge--/v1663107487/ai/hot-tub.mp4",
            ("video", "authenticated"),
        ),
        ("https://acme-res.cloudinary.com/image/upload/v1/a.png", ("image", "upload")),
        ("https://media.example.com/acme/raw/private/v1/a", ("raw", "private")),
        ("https://res.cloudinary.com/acme/files/upload/a", None),
        ("https://res.cloudinary.com/acme/image/upload", None),
        ("http://[", None),
        ("", None),
    ],
)
def test_a_delivery_url_tells_the_types(url: str, kind: tuple[str, str] | None) -> None:
    assert kind_of(url) == kind


def test_bodies_without_types_are_named_by_their_urls() -> None:
    assert read(Moderation, orjson.loads(documented("09"))).name == AssetName("video", "authenticated", "ai/hot-tub")
    assert read(Eager, orjson.loads(documented("11"))).name == AssetName("image", "private", "webhooks/vase")


def test_a_name_has_three_parts() -> None:
    assert read(Upload, upload()).name == AssetName("image", "upload", f"name-of-{ASSET}")
    assert read(Upload, upload(type=None)).name is None
