"""Nothing is dated later than its signature allows, and nothing before there was Cloudinary."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from schemas.asset import Asset
from schemas.notification import Notification, parse_notification
from tests.bodies import ASSET, delete, envelope, upload
from tests.folding import MemoryMirror

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SIGNED_AT = int(NOON.timestamp())


def iso(moment: datetime) -> str:
    return moment.isoformat()


def told(triggered_at: Any, *, kind: str = "upload", signed_at: int = SIGNED_AT, **fields: Any) -> Notification:
    body = {"notification_type": kind, "asset_id": ASSET, "notification_context": {"triggered_at": triggered_at}} | fields
    raw = orjson.dumps(body)
    return parse_notification(envelope(raw, kind, signed_at=signed_at), raw)


@pytest.mark.parametrize(
    "nil",
    ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1899-12-30T00:00:00Z", "0001-01-01T00:00:00+14:00", 0, -1, "0", 1e300],
)
def test_a_time_before_there_was_cloudinary_is_none(nil: Any) -> None:
    minute_ago = NOON - timedelta(minutes=1)
    assert told(nil, timestamp=iso(minute_ago)).occasion.event_time == minute_ago
    assert told(nil, timestamp=nil, created_at=nil).occasion.event_time == NOON - timedelta(seconds=1)
    assert told(nil).occasion.triggered_at is None


@pytest.mark.parametrize("ahead", [timedelta(seconds=301), timedelta(days=1), timedelta(days=365 * 200)])
def test_a_time_later_than_the_signature_allows_is_none(ahead: timedelta) -> None:
    minute_ago = NOON - timedelta(minutes=1)
    later = told(iso(NOON + ahead), timestamp=iso(minute_ago))
    assert later.occasion.event_time == minute_ago
    assert later.occasion.triggered_at is None
    assert "can't be right" in later.changes[0]
    for kind in ("moderation", "eager", "upload"):
        whole = told(iso(NOON + ahead), kind=kind, timestamp=iso(NOON + ahead), moderation_updated_at=iso(NOON + ahead))
        assert whole.occasion.event_time == NOON - timedelta(seconds=1)


def test_a_clock_that_is_a_little_ahead_is_believed() -> None:
    assert told(iso(NOON + timedelta(seconds=300))).occasion.event_time == NOON + timedelta(seconds=300)


@pytest.mark.parametrize("scale", [1, 1000])
@pytest.mark.parametrize("form", [int, float, str])
def test_a_unix_time_is_a_time(scale: int, form: Any) -> None:
    hour_ago = NOON - timedelta(hours=1)
    unix = form(int(hour_ago.timestamp()) * scale) if form is not float else hour_ago.timestamp() * scale
    assert told(None, timestamp=unix).occasion.event_time == hour_ago
    assert told(unix).occasion.event_time == hour_ago


@pytest.mark.parametrize("odd", [True, [], {}, "soon", 10**400, "9" * 400, "٣" * 10])
def test_what_is_no_time_is_none(odd: Any) -> None:
    raw = b'{"notification_context": {"triggered_at": %b}}' % (
        str(odd).encode() if isinstance(odd, int) and odd > 1 else orjson.dumps(odd)
    )
    assert parse_notification(envelope(raw, "upload", signed_at=SIGNED_AT), raw).occasion.event_time in (
        NOON,
        NOON - timedelta(seconds=1),
    )


def frozen(*bodies: dict[str, Any]) -> Asset:
    mirror = MemoryMirror()
    for body in bodies:
        mirror.apply([body], signed_at=SIGNED_AT)
    return mirror.asset(ASSET)


def test_a_delete_of_the_far_future_yields_to_what_comes_after_it() -> None:
    future = delete(ASSET, at=0) | {"notification_context": {"triggered_at": "9999-01-01T00:00:00Z"}}
    assert frozen(future).deleted_at == NOON - timedelta(seconds=1)
    later = upload() | {"notification_context": {"triggered_at": iso(NOON)}}
    assert frozen(future, later).deleted_at is None
    assert frozen(later, future).deleted_at is None


def test_the_time_of_a_reading_is_told_by_the_accounts_clock() -> None:
    assert told(iso(NOON + timedelta(hours=1)), kind="snapshot").occasion.event_time == NOON + timedelta(hours=1)


def test_who_brought_it_about_is_told_in_a_few_words() -> None:
    body = {"notification_context": {"triggered_by": {"source": "ui" * 500_000, "id": {"a": ["b"]}}}}
    raw = orjson.dumps(body)
    by = parse_notification(envelope(raw, "upload"), raw).occasion.triggered_by
    assert by is not None
    assert (by[:4], len(by)) == ("uiui", 201)
