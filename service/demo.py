"""Sample webhooks for a mirror without an account: the documented bodies, then the life of a small library."""

import random
import secrets
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import orjson

from schemas.json import JSONObject
from service.resources import resource
from service.sender import Webhook, read_bodies

_THINGS = ("shirt", "jeans", "sneaker", "coat", "scarf", "boot", "cap", "belt")
_COLOURS = ("blue", "red", "black", "white", "green", "grey")
_FOLDERS = ("catalogue", "campaign", "press")


def documented() -> list[Webhook]:
    """Give bodies from Cloudinary's documentation and from the wild."""
    return read_bodies([resource("tests/payloads")])


def library(assets: int) -> Iterator[Webhook]:
    """Upload `assets` images; rename some of them, replace some, delete some."""
    sample = orjson.loads(next(webhook.body for webhook in documented() if webhook.name.startswith("01_upload")))
    for _ in range(assets):
        upload = _upload(sample)
        yield _webhook(upload)
        for chance, later in ((0.3, _rename), (0.2, _replace), (0.25, _delete)):
            if random.random() < chance:  # noqa: S311  # which sample is renamed is no secret
                yield _webhook(later(upload))


def _webhook(body: JSONObject) -> Webhook:
    return Webhook(f"{body['notification_type']}", orjson.dumps(body))


def _context(moment: datetime) -> JSONObject:
    return {"triggered_at": moment.isoformat().replace("+00:00", "Z"), "triggered_by": {"source": "api", "id": "demo"}}


def _upload(sample: JSONObject) -> JSONObject:
    now = datetime.now(UTC)
    name = f"{random.choice(_COLOURS)}_{random.choice(_THINGS)}"  # noqa: S311
    folder = random.choice(_FOLDERS)  # noqa: S311
    return {
        **sample,
        "asset_id": uuid.uuid4().hex,
        "public_id": f"{folder}/{name}_{secrets.token_hex(3)}",
        "asset_folder": folder,
        "display_name": name,
        "tags": [*name.split("_")],
        "version": int(now.timestamp()),
        "version_id": uuid.uuid4().hex,
        "etag": uuid.uuid4().hex,
        "bytes": random.randrange(20_000, 900_000),  # noqa: S311
        "timestamp": now.isoformat(timespec="seconds"),
        "created_at": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "notification_context": _context(now),
    }


def _after(upload: JSONObject, seconds: int) -> JSONObject:
    context = upload["notification_context"]
    assert isinstance(context, dict)  # noqa: S101  # _upload made it
    return _context(datetime.fromisoformat(str(context["triggered_at"])) + timedelta(seconds=seconds))


def _rename(upload: JSONObject) -> JSONObject:
    return {
        "notification_type": "rename",
        "resource_type": upload["resource_type"],
        "type": upload["type"],
        "asset_id": upload["asset_id"],
        "from_public_id": upload["public_id"],
        "to_public_id": f"{upload['public_id']}_final",
        "notification_context": _after(upload, 1),
    }


def _replace(upload: JSONObject) -> JSONObject:
    version = upload["version"]
    assert isinstance(version, int)  # noqa: S101  # _upload made it
    return upload | {
        "overwritten": True,
        "version": version + 2,
        "version_id": uuid.uuid4().hex,
        "etag": uuid.uuid4().hex,
        "public_id": f"{upload['public_id']}",
        "notification_context": _after(upload, 2),
    }


def _delete(upload: JSONObject) -> JSONObject:
    named = {name: upload[name] for name in ("resource_type", "type", "asset_id", "public_id", "version", "asset_folder")}
    return {"notification_type": "delete", "resources": [named], "notification_context": _after(upload, 3)}
