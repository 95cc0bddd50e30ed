"""The Admin API, and Search: assets."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from standin.account import Account
from standin.asset import Asset, Name
from standin.errors import BadRequestError, NotFoundError
from standin.gate import PREFIX, Answer, Call, Gate
from standin.listing import AT_ONCE, Page
from standin.parameters import changes, read_flag

_TYPES = "{resource_type:image|video|raw}"
_FLAGS = {"tags": "tags", "context": "context", "metadata": "metadata", "moderations": "moderation", "moderation": "moderation"}
_MOST_DELETED = 1000  # by prefix, by tag or all, in one call


class AdminApi:
    """Each method is one endpoint."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._dialect = account.options.dialect

    def add_routes(self, router: web.UrlDispatcher, gate: Gate) -> None:
        """Serve the endpoints; the first that fits is taken."""
        for method, path, operation in (
            ("GET", "/resources", self.resource_types),
            ("DELETE", "/resources", self.delete_by_asset_ids),
            ("POST", "/resources/search", self.search),
            ("POST", "/resources/restore", self.restore_by_asset_ids),
            ("GET", "/resources/by_asset_ids", self.by_asset_ids),
            ("GET", "/resources/by_asset_folder", self.by_asset_folder),
            ("GET", f"/resources/{_TYPES}", self.resources),
            ("GET", "/resources/{asset_id}", self.resource_by_asset_id),
            ("GET", f"/resources/{_TYPES}/tags/{{tag:.+}}", self.by_tag),
            ("DELETE", f"/resources/{_TYPES}/tags/{{tag:.+}}", self.delete_by_tag),
            ("GET", f"/resources/{_TYPES}/context", self.by_context),
            ("GET", f"/resources/{_TYPES}/moderations/{{kind}}/{{status}}", self.by_moderation),
            ("POST", f"/resources/{_TYPES}/publish_resources", self.publish),
            ("GET", f"/resources/{_TYPES}/{{type}}", self.resources),
            ("DELETE", f"/resources/{_TYPES}/{{type}}", self.delete),
            ("POST", f"/resources/{_TYPES}/{{type}}/restore", self.restore),
            ("GET", f"/resources/{_TYPES}/{{type}}/{{public_id:.+}}", self.resource),
            ("POST", f"/resources/{_TYPES}/{{type}}/{{public_id:.+}}", self.update),
            ("GET", f"/tags/{_TYPES}", self.tags),
        ):
            router.add_route(method, PREFIX + path, gate.admit(operation))

    def resource_types(self, _: Call) -> Answer:
        """Name the resource types there are."""
        return {"resource_types": ["image", "raw", "video"]}

    def search(self, call: Call) -> Answer:
        """Search."""
        return self._account.search(call.body)

    # One asset

    def resource(self, call: Call) -> Answer:
        """Describe one, by its name; a deleted one that has a backup too."""
        name = self._name(call, call.path["public_id"])
        return self._described(call, self._account.find(name) or self._account.find_deleted(name), name.public_id)

    def resource_by_asset_id(self, call: Call) -> Answer:
        """Describe one, by its id; a deleted one that has a backup too."""
        return self._described(call, self._account.find_by_id(call.path["asset_id"]), call.path["asset_id"])

    def update(self, call: Call) -> Answer:
        """Change what is attached to an asset."""
        verdict = {"moderation_status": call.body["moderation_status"]} if "moderation_status" in call.body else {}
        name = self._name(call, call.path["public_id"])
        return self._account.update(
            name.public_id, resource_type=name.resource_type, type=name.type, **changes(call.body), **verdict
        )

    def _described(self, call: Call, asset: Asset | None, called: str) -> Answer:
        if asset is None:
            raise NotFoundError(f"Resource not found - {called}")
        said = asset.read(self._account.cloud, self._dialect) | {"derived": asset.derived}
        if self._dialect.etag_by_request and not read_flag(call.query.get("media_metadata")):
            said.pop("etag", None)
        return said

    # Listings

    def resources(self, call: Call) -> Answer:
        """List those of a type, or those of the given public ids."""
        type_ = call.path.get("type") or (None if self._dialect.lists_all_types else "upload")
        if "public_ids[]" in call.query:
            return self._account.by_names([self._name(call, one) for one in call.ids("public_ids")], _page(call))
        resource_type, prefix = call.path["resource_type"], call.query.get("prefix")
        return self._account.list_assets(_page(call), resource_type=resource_type, type=type_, prefix=prefix)

    def by_asset_ids(self, call: Call) -> Answer:
        """List those of the given asset ids."""
        return self._account.by_asset_ids(call.ids("asset_ids"), _page(call))

    def by_asset_folder(self, call: Call) -> Answer:
        """List those right in a folder."""
        folder = _required(call, "asset_folder")
        self._account.require_folder(folder)
        return self._account.list_assets(_page(call), asset_folder=folder)

    def by_tag(self, call: Call) -> Answer:
        """List those with a tag."""
        return self._account.list_assets(_page(call), resource_type=call.path["resource_type"], tag=call.path["tag"])

    def by_context(self, call: Call) -> Answer:
        """List those with a key, or a key and value, in their context."""
        pair = _required(call, "key"), call.query.get("value")
        return self._account.list_assets(_page(call), resource_type=call.path["resource_type"], context=pair)

    def by_moderation(self, call: Call) -> Answer:
        """List those with a verdict."""
        verdict = call.path["kind"], call.path["status"]
        return self._account.list_assets(_page(call), resource_type=call.path["resource_type"], moderation=verdict)

    def tags(self, call: Call) -> Answer:
        """Give all tags of a resource type."""
        rows = self._account.store.connection.execute(
            "SELECT DISTINCT tag FROM asset_tags JOIN assets USING (seq) WHERE resource_type = ? AND alive ORDER BY tag",
            (call.path["resource_type"],),
        )
        return {"tags": [row["tag"] for row in rows]}

    # Deletions, restorations, publications

    def delete(self, call: Call) -> Answer:
        """Delete by public ids, by prefix, or all of a type."""
        resource_type, type_ = call.path["resource_type"], call.path["type"]
        if "public_ids" in call.body:
            ids = call.ids("public_ids")
            return self._delete(call, [(one, self._account.find(Name(resource_type, type_, one))) for one in ids])
        prefix = call.body.get("prefix") or ""
        if not prefix and not read_flag(call.body.get("all")):
            raise BadRequestError("Missing required parameter - public_ids, prefix or all")
        return self._delete_some(call, self._account.chosen_for_deletion(resource_type, type_, prefix=prefix))

    def delete_by_tag(self, call: Call) -> Answer:
        """Delete those with a tag."""
        return self._delete_some(call, self._account.chosen_for_deletion(call.path["resource_type"], tag=call.path["tag"]))

    def delete_by_asset_ids(self, call: Call) -> Answer:
        """Delete those of the given asset ids."""
        found = [(one, self._account.find_by_id(one)) for one in call.ids("asset_ids")]
        by_name = self._dialect.deletes_by_name
        return self._delete(call, [(asset.public_id if by_name and asset else one, asset) for one, asset in found])

    def restore(self, call: Call) -> Answer:
        """Restore by public ids."""
        names = [self._name(call, one) for one in call.ids("public_ids")]
        found = ((name.public_id, self._account.find(name) or self._account.find_deleted(name)) for name in names)
        return self._account.restore_all(found, call.body.get("versions") or ())

    def restore_by_asset_ids(self, call: Call) -> Answer:
        """Restore by asset ids."""
        found = ((one, self._account.find_by_id(one)) for one in call.ids("asset_ids"))
        return self._account.restore_all(found, call.body.get("versions") or ())

    def publish(self, call: Call) -> Answer:
        """Publish by public ids: what has another delivery type becomes `upload`."""
        type_ = call.body.get("type") or "private"
        published, failed = [], []
        for public_id in call.ids("public_ids"):
            asset = self._account.find(Name(call.path["resource_type"], type_, public_id))
            if asset is None:
                failed.append({"public_id": public_id, "error": "not found"})
            else:
                published.append(self._account.publish(asset))
        return {"published": published, "failed": failed}

    def _delete_some(self, call: Call, assets: Sequence[Asset]) -> Answer:
        answer = self._delete(call, [(asset.public_id, asset) for asset in assets], most=_MOST_DELETED)
        partial = len(assets) == _MOST_DELETED
        return {**answer, "partial": partial, **({"next_cursor": self._account.fresh_id()} if partial else {})}

    def _delete(self, call: Call, chosen: Sequence[tuple[str, Asset | None]], most: int = AT_ONCE) -> Answer:
        if len(chosen) > most:
            raise BadRequestError(f"Too many ids: {len(chosen)}. The maximum is {most}")
        living = {called: asset for called, asset in chosen if asset is not None and asset.alive}
        if not read_flag(call.body.get("keep_original")):
            url, batch_id = call.body.get("notification_url"), call.body.get("batch_id")
            self._account.delete(list(living.values()), notification_url=url, batch_id=batch_id)
        deleted = {called: "deleted" if called in living else "not_found" for called, _ in chosen}
        counts = {called: {"original": int(called in living), "derived": 0} for called in deleted}
        return {"deleted": deleted, "deleted_counts": counts, "partial": False}

    def _name(self, call: Call, public_id: str) -> Name:
        return Name(call.path["resource_type"], call.path.get("type", "upload"), public_id)


def _page(call: Call) -> Page:
    only = frozenset(filter(None, call.query.get("fields", "").split(",")))
    return Page(
        max_results=call.number("max_results", 10),
        next_cursor=call.query.get("next_cursor"),
        direction=call.query.get("direction"),
        start_at=call.query.get("start_at"),
        shown=frozenset(shown for flag, shown in _FLAGS.items() if read_flag(call.query.get(flag))),
        only=only,
    )


def _required(call: Call, name: str) -> str:
    value: Any = call.query.get(name)
    if value is None:
        raise BadRequestError(f"Missing required parameter - {name}")
    return str(value)
