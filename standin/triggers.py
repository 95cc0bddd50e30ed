"""Notification triggers: which events go where."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from standin.errors import AlreadyExistsError, BadRequestError, NotFoundError
from standin.filters import passes, render
from standin.options import Options
from standin.store import Store

_SCHEMA = """
CREATE TABLE IF NOT EXISTS triggers (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    event_type TEXT NOT NULL,       -- or all
    uri TEXT NOT NULL,
    data TEXT NOT NULL              -- the whole of it, JSON
)
"""
_MOST = 30  # URLs for one event type
_SCHEMES = {"webhook": ("http", "https"), "poll": ("poll",)}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a notification goes, and what is sent there."""

    uri: str
    body: bytes


class Triggers:
    """What the Admin API does with triggers: results are the API's own, failures raise `ApiError`s."""

    def __init__(self, store: Store, options: Options) -> None:
        self._store = store
        self._options = options
        store.connection.execute(_SCHEMA)

    def listed(self, event_type: str | None = None) -> dict[str, Any]:
        """Give `{"triggers": […], "total"}`, oldest first."""
        triggers = [trigger for trigger in self._all() if event_type in {None, trigger["event_type"]}]
        return {"triggers": triggers, "total": len(triggers)}

    def create(self, uri: str | None = None, event_type: str | None = None, **more: Any) -> dict[str, Any]:  # noqa: ANN401
        """Give the new trigger. `more`: uri_type, additive, filter, payload_template, auth_scheme."""
        if not uri or not event_type:
            raise BadRequestError("Missing required parameter - " + ("event_type" if uri else "uri"))
        uri_type = more.get("uri_type") or "webhook"
        _check_uri(uri, uri_type)
        passes(more.get("filter"), {})
        if (scheme := more.get("auth_scheme") or "legacy_hmac") not in {"default", "legacy_hmac"}:
            raise BadRequestError(f"Unsupported auth_scheme: {scheme}")  # how eddsa_v2 signs is not published
        others = [trigger for trigger in self._all() if trigger["event_type"] == event_type]
        if any(trigger["uri"] == uri for trigger in others):
            raise AlreadyExistsError(f"A trigger for {event_type} to {uri} already exists")
        if len(others) >= _MOST:
            raise BadRequestError(f"Limit of {_MOST} triggers of one event type reached")
        now = self._now()
        trigger = {
            "id": secrets.token_hex(32),
            "product_environment_id": self._options.cloud,
            "uri": uri,
            "uri_type": uri_type,
            "event_type": event_type,
            "additive": more.get("additive") in {True, "true", "1"},
            "filter": more.get("filter"),
            "payload_template": more.get("payload_template"),
            "auth_scheme": scheme,
            "created_at": now,
            "updated_at": now,
        }
        with self._store.transaction() as connection:
            connection.execute(
                "INSERT INTO triggers (id, event_type, uri, data) VALUES (?, ?, ?, ?)",
                (trigger["id"], event_type, uri, json.dumps(trigger)),
            )
        return trigger

    def update(self, trigger_id: str, new_uri: str | None = None) -> dict[str, Any]:
        """Send a trigger's notifications elsewhere."""
        trigger = self._one(trigger_id)
        if not new_uri:
            raise BadRequestError("Missing required parameter - new_uri")
        _check_uri(new_uri, trigger["uri_type"])
        trigger |= {"uri": new_uri, "updated_at": self._now()}
        with self._store.transaction() as connection:
            connection.execute("UPDATE triggers SET uri = ?, data = ? WHERE id = ?", (new_uri, json.dumps(trigger), trigger_id))
        return {"message": "updated"}

    def delete(self, trigger_id: str) -> dict[str, Any]:
        """Remove a trigger."""
        self._one(trigger_id)
        with self._store.transaction() as connection:
            connection.execute("DELETE FROM triggers WHERE id = ?", (trigger_id,))
        return {"message": "deleted"}

    def test(self, trigger_id: str, sample_data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Try a trigger's filter; nothing is sent."""
        rule = self._one(trigger_id)["filter"]
        return {"trigger_id": trigger_id, "filter_present": rule is not None, "filter_result": passes(rule, sample_data or {})}

    def targets(self, notification: Mapping[str, Any], notification_url: str | None = None) -> list[Target]:
        """Give where a notification goes; a call's own `notification_url` overrides all triggers but the additive ones."""
        body = json.dumps(notification, separators=(",", ":"), ensure_ascii=False).encode()
        targets = [Target(notification_url, body)] if notification_url else []
        kinds = {"all", notification.get("notification_type")}
        for trigger in self._all():
            overridden = notification_url and not trigger["additive"]
            if overridden or trigger["event_type"] not in kinds or not passes(trigger["filter"], notification):
                continue
            template = trigger["payload_template"]
            targets.append(Target(trigger["uri"], render(template, notification).encode() if template else body))
        return targets

    def _all(self) -> list[dict[str, Any]]:
        rows = self._store.connection.execute("SELECT data FROM triggers ORDER BY seq")
        return [json.loads(row["data"]) for row in rows]

    def _one(self, trigger_id: str) -> dict[str, Any]:
        for trigger in self._all():
            if trigger["id"] == trigger_id:
                return trigger
        raise NotFoundError(f"Trigger {trigger_id} not found")

    def _now(self) -> str:
        return datetime.fromtimestamp(self._options.clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _check_uri(uri: str, uri_type: str) -> None:
    if uri_type not in _SCHEMES:
        raise BadRequestError(f"Unsupported uri_type: {uri_type}")
    parts = urlsplit(uri)
    if parts.scheme not in _SCHEMES[uri_type] or not parts.netloc:
        raise BadRequestError(f"Invalid uri for {uri_type}: {uri}")
