"""Webhook bodies for tests: the documented ones, and ones made to order."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from schemas.envelope import Envelope, digest_of
from schemas.notification import Notification, parse_notification

PAYLOADS = Path(__file__).parent / "payloads"
CLOUD = "acme"
KEY = "333333333333333"
SECRET = b"a-secret-of-acme"
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
# after all that tests tell of: nothing is dated later than its signature allows
SIGNED_AT = int((BEGINNING + timedelta(days=30)).timestamp())

ASSET = "be52027d24d3349b0e105c38f00ec597"


def documented(start: str) -> bytes:
    (file,) = PAYLOADS.glob(f"{start}*.json")
    return file.read_bytes()


def triggered(seconds: float) -> dict[str, Any]:
    moment = (BEGINNING + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    return {"notification_context": {"triggered_at": moment, "triggered_by": {"source": "api", "id": KEY}}}


def upload(asset_id: str = ASSET, *, at: float = 0, **fields: Any) -> dict[str, Any]:
    body = {
        "notification_type": "upload",
        "asset_id": asset_id,
        "public_id": f"name-of-{asset_id}",
        "resource_type": "image",
        "type": "upload",
        "version": int(BEGINNING.timestamp() + at),
        "format": "png",
        "bytes": 147954,
        "asset_folder": "",
        "display_name": "jeans",
        "tags": [],
    }
    return body | triggered(at) | fields


def rename(asset_id: str = ASSET, *, at: float, to: str, **fields: Any) -> dict[str, Any]:
    body = {
        "notification_type": "rename",
        "asset_id": asset_id,
        "resource_type": "image",
        "type": "upload",
        "from_public_id": f"name-of-{asset_id}",
        "to_public_id": to,
    }
    return body | triggered(at) | fields


def delete(*asset_ids: str, at: float, **fields: Any) -> dict[str, Any]:
    resources = [
        {"resource_type": "image", "type": "upload", "asset_id": asset_id, "public_id": f"name-of-{asset_id}"} | fields
        for asset_id in asset_ids or (ASSET,)
    ]
    return {"notification_type": "delete", "resources": resources} | triggered(at)


def envelope(raw: bytes, notification_type: str = "", *, signed_at: int | None = None, cloud: str = CLOUD) -> Envelope:
    return Envelope(
        cloud=cloud,
        notification_type=notification_type,
        received_at=BEGINNING,
        digest=digest_of(raw),
        signature="0" * 40,
        signed_at=SIGNED_AT if signed_at is None else signed_at,
        key_id=KEY,
    )


def notification(body: dict[str, Any] | bytes) -> Notification:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return parse_notification(envelope(raw, orjson.loads(raw).get("notification_type", "")), raw)
