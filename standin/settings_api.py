"""The Admin API beside assets: folders, triggers, the account itself; and the channels of notifications."""

import re
from datetime import UTC, datetime

from aiohttp import web

from standin.account import Account
from standin.channel import Channel
from standin.errors import BadRequestError
from standin.gate import PREFIX, Answer, Call, Gate
from standin.limits import Limits
from standin.parameters import read_flag
from standin.triggers import Triggers

_FOLDER = re.compile(r"(name|path)\s*[=:]\s*\"?([^\"*]+)(\*?)\"?\Z")


class SettingsApi:
    """Each method is one endpoint."""

    def __init__(self, account: Account, triggers: Triggers, channel: Channel, limits: Limits) -> None:
        self._account = account
        self._triggers = triggers
        self._channel = channel
        self._limits = limits

    def add_routes(self, router: web.UrlDispatcher, gate: Gate) -> None:
        """Serve the endpoints; polling is not limited by the hour."""
        for method, path, operation in (
            ("GET", "/folders", self.folders),
            ("POST", "/folders/search", self.search_folders),
            ("GET", "/folders/{path:.+}", self.folders),
            ("POST", "/folders/{path:.+}", self.create_folder),
            ("PUT", "/folders/{path:.+}", self.rename_folder),
            ("DELETE", "/folders/{path:.+}", self.delete_folder),
            ("GET", "/metadata_fields", self.metadata_fields),
            ("POST", "/metadata_fields", self.define_metadata_field),
            ("GET", "/triggers", self.triggers),
            ("POST", "/triggers", self.create_trigger),
            ("PUT", "/triggers/{id}", self.update_trigger),
            ("DELETE", "/triggers/{id}", self.delete_trigger),
            ("POST", "/triggers/{id}/test", self.test_trigger),
            ("GET", "/ping", self.ping),
            ("GET", "/usage", self.usage),
            ("GET", "/usage/{date}", self.usage),
            ("GET", "/config", self.config),
        ):
            router.add_route(method, PREFIX + path, gate.admit(operation))
        polling = "/v2/notifications/{cloud}/messages"
        router.add_get(polling, gate.admit(self.receive, limited=False))
        router.add_post(f"{polling}/ack", gate.admit(self.ack, limited=False))

    # Structured metadata

    def metadata_fields(self, _: Call) -> Answer:
        """List the fields."""
        return {"metadata_fields": [{"external_id": one, "type": type_} for one, type_ in self._account.fields().items()]}

    def define_metadata_field(self, call: Call) -> Answer:
        """Define a field."""
        return self._account.define_field(str(call.body.get("external_id") or ""), str(call.body.get("type") or ""))

    # Folders

    def folders(self, call: Call) -> Answer:
        """List the folders right below one, or the root ones."""
        return self._page(call, self._account.folders(_folder(call.path.get("path", ""))))

    def search_folders(self, call: Call) -> Answer:
        """Find folders by name or path; every folder without an expression."""
        found = self._account.all_folders()
        if expression := str(call.body.get("expression") or "").strip():
            asked = _FOLDER.match(expression)
            if asked is None:
                raise BadRequestError(f"Invalid search expression: {expression}")
            field, value, star = asked.groups()
            found = [one for one in found if one[field] == value or (star and one[field].startswith(value))]
        return self._page(call, found) | {"time": 1}

    def create_folder(self, call: Call) -> Answer:
        """Make a folder."""
        return self._account.create_folder(_folder(call.path["path"]))

    def rename_folder(self, call: Call) -> Answer:
        """Rename or move a folder."""
        goal = _folder(str(call.body.get("to_folder") or ""))
        if not goal:
            raise BadRequestError("Missing required parameter - to_folder")
        return self._account.rename_folder(_folder(call.path["path"]), goal)

    def delete_folder(self, call: Call) -> Answer:
        """Delete a folder that holds no assets."""
        return self._account.delete_folder(_folder(call.path["path"]))

    def _page(self, call: Call, folders: list[dict[str, str]]) -> dict[str, object]:
        """Cut a page; the cursor is the number of the folders before it."""
        start = call.number("next_cursor", 0) if call.query.get("next_cursor") else int(call.body.get("next_cursor") or 0)
        end = start + int(call.body.get("max_results") or call.number("max_results", 500))
        following = str(end) if end < len(folders) else None
        return {"folders": folders[start:end], "next_cursor": following, "total_count": len(folders)}

    # Triggers

    def triggers(self, call: Call) -> Answer:
        """List the triggers."""
        return self._triggers.listed(call.query.get("event_type") or None)

    def create_trigger(self, call: Call) -> Answer:
        """Make a trigger."""
        return self._triggers.create(**call.body)

    def update_trigger(self, call: Call) -> Answer:
        """Send a trigger's notifications elsewhere."""
        return self._triggers.update(call.path["id"], **call.body)

    def delete_trigger(self, call: Call) -> Answer:
        """Remove a trigger."""
        return self._triggers.delete(call.path["id"])

    def test_trigger(self, call: Call) -> Answer:
        """Try a trigger's filter."""
        return self._triggers.test(call.path["id"], call.body.get("sample_data"))

    # The account

    def ping(self, _: Call) -> Answer:
        """Say that all is well."""
        return {"status": "ok"}

    def usage(self, _: Call) -> Answer:
        """Count."""
        connection = self._account.store.connection
        count, size = connection.execute(
            "SELECT count(*), coalesce(sum(data ->> '$.content.bytes'), 0) FROM assets WHERE alive"
        ).fetchone()
        return {
            "plan": "Stand-in",
            "last_updated": f"{datetime.fromtimestamp(self._account.now(), UTC):%Y-%m-%d}",
            "objects": {"usage": count},
            "storage": {"usage": size},
            "resources": count,
            "derived_resources": 0,
            "rate_limit_allowed": self._limits.allowed,
            "rate_limit_remaining": self._limits.remaining,
        }

    def config(self, call: Call) -> Answer:
        """Tell how the account is set up."""
        settings = {"settings": {"folder_mode": "dynamic"}} if read_flag(call.query.get("settings")) else {}
        return {"cloud_name": self._account.cloud, "created_at": "2024-06-04T00:00:00Z", **settings}

    # Channels

    async def receive(self, call: Call) -> Answer:
        """Wait for messages of a channel, or of a batch."""
        return await self._channel.receive(
            channel=call.query.get("channel"),
            batch_id=call.query.get("batch_id"),
            max_messages=call.number("max_messages", 10),
            wait_seconds=call.number("wait_seconds", 20),
            visibility_timeout=call.number("visibility_timeout", 30),
        )

    def ack(self, call: Call) -> Answer:
        """Acknowledge messages."""
        return self._channel.ack(call.ids("receipt_handles"))


def _folder(path: str) -> str:
    return path.strip("/")
