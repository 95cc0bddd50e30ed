"""What people attach to assets. One call, and one body, may tell of several."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from standin.asset import Asset, Name
from standin.errors import BadRequestError
from standin.fields import MetadataFields

TagsCommand = Literal["add", "remove", "replace", "remove_all", "set_exclusive"]


class Labels(MetadataFields):
    """Tags, context, metadata, display name, access control. What changes nothing is not told."""

    def change_tags(
        self,
        public_ids: Iterable[str],
        command: TagsCommand,
        tags: Sequence[str] = (),
        *,
        resource_type: str = "image",
        type: str = "upload",
        **told: str | None,
    ) -> list[str]:
        """Do it to each asset that exists; gives their public ids."""
        with self.store.transaction():
            assets = self._all(public_ids, resource_type, type)
            if command == "set_exclusive":
                self._leave_to(assets, tags, resource_type, type, told)
            self.set_tags([(asset, _changed(asset.tags, command, tags)) for asset in assets], **told)
        return [asset.public_id for asset in assets]

    def set_tags(self, assets: Iterable[tuple[Asset, Sequence[str]]], **told: str | None) -> None:
        """Give each asset the tags beside it."""
        changes = []
        for asset, tags in assets:
            before, after = set(asset.tags), set(tags)
            if before == after:
                continue
            asset.tags = list(dict.fromkeys(tags))
            self.save(asset)
            changes.append(asset.identity | {"added": sorted(after - before), "removed": sorted(before - after), "updated": []})
        if changes:
            self.tell("resource_tags_changed", {"source": "api", "resources": changes}, **told)

    def change_context(
        self,
        public_ids: Iterable[str],
        command: Literal["add", "remove_all"],
        context: Mapping[str, str],
        *,
        resource_type: str = "image",
        type: str = "upload",
        **told: str | None,
    ) -> list[str]:
        """Add pairs to each asset that exists, or take all away; gives their public ids."""
        with self.store.transaction():
            assets = self._all(public_ids, resource_type, type)
            self.set_context([(one, one.context | dict(context) if command == "add" else {}) for one in assets], **told)
        return [asset.public_id for asset in assets]

    def set_context(self, assets: Iterable[tuple[Asset, Mapping[str, str]]], **told: str | None) -> None:
        """Give each asset the context beside it; an empty value takes a key away."""
        changes = {}
        for asset, context in assets:
            before, after = asset.context, {key: value for key, value in context.items() if value != ""}
            if before == after:
                continue
            asset.context = after
            self.save(asset)
            changes[asset.public_id] = _keyed(asset) | {
                "added": _pairs({key: value for key, value in after.items() if key not in before}),
                "removed": _pairs({key: value for key, value in before.items() if key not in after}),
                "updated": _pairs({key: value for key, value in after.items() if before.get(key, value) != value}),
            }
        if changes:
            self.tell("resource_context_changed", {"source": "api", "resources": changes}, **told)

    def change_metadata(
        self,
        public_ids: Iterable[str],
        metadata: Mapping[str, Any],
        *,
        resource_type: str = "image",
        type: str = "upload",
        **told: str | None,
    ) -> list[str]:
        """Set fields of each asset that exists; gives their public ids."""
        with self.store.transaction():
            assets = self._all(public_ids, resource_type, type)
            self.set_metadata([(asset, metadata) for asset in assets], **told)
        return [asset.public_id for asset in assets]

    def set_metadata(self, assets: Iterable[tuple[Asset, Mapping[str, Any]]], **told: str | None) -> None:
        """Set the fields beside each asset; null and the empty string take a field away, what is not named stays."""
        changes = {}
        for asset, metadata in assets:
            before = asset.metadata
            after = {name: value for name, value in (before | self.read_metadata(metadata)).items() if value not in (None, "")}
            if before == after:
                continue
            asset.metadata = after
            self.save(asset)
            changes[asset.public_id] = _keyed(asset) | {"previous_metadata": before, "new_metadata": after}
        if changes:
            self.tell("resource_metadata_changed", {"source": "api", "resources": changes}, **told)

    def set_display_name(self, asset: Asset, display_name: str, **told: str | None) -> None:
        """Show it under another name."""
        if display_name == asset.display_name:
            return
        names = {"previous_display_name": asset.display_name, "new_display_name": display_name}
        asset.display_name = display_name
        self.save(asset)
        resources = {asset.public_id: _keyed(asset) | {"public_id": asset.public_id, **names}}
        self.tell("resource_display_name_changed", {"timestamp": self.timestamp(), "resources": resources}, **told)

    def set_access(self, asset: Asset, rules: list[dict[str, Any]], **told: str | None) -> None:
        """Set who may see it."""
        before = asset.access_control or []
        if rules == asset.access_control:
            return
        asset.access_control = rules
        self.save(asset)
        change = asset.identity | {"previous_access_control": before, "new_access_control": rules}
        self.tell("access_control_changed", {"source": "api", "resources": [change]}, **told)

    def set_moderation(self, asset: Asset, status: str, **told: str | None) -> None:
        """Give a person's verdict; the file that is rejected is replaced by an empty placeholder, of which nothing tells.

        Approved after all, it comes back if there is a backup; else `BadRequestError`.
        """
        if status not in ("approved", "rejected", "pending"):
            raise BadRequestError(f"Invalid moderation status {status}")
        kind = next((one["kind"] for one in asset.moderation), "manual")
        told_of = {"moderation_status": status, "moderation_kind": kind}
        urls, content = asset.urls(self.cloud), asset.content
        if content.placeholder and status != "rejected":
            backups = self.backups(asset)
            if not backups:
                raise BadRequestError("The file was rejected, and is not backed up")
            asset.content = content = replace(backups[-1], version=self.next_version(asset), version_id=self.fresh_id())
        verdict = {"kind": kind, "status": status, "updated_at": self.timestamp().replace("+00:00", "Z")}
        asset.moderation = [verdict, *(one for one in asset.moderation if one["kind"] != kind)]
        said: dict[str, Any] = {
            "moderation_response": {},
            **told_of,
            "moderation_updated_at": verdict["updated_at"],
            "asset_id": asset.asset_id,
            "public_id": asset.public_id,
            "version": content.version,
            **urls,
            "etag": None if status == "rejected" else content.etag,
        }
        if status == "rejected" and not content.placeholder:
            if self.options.backup:
                self.back_up(asset)
            asset.content = replace(content.emptied(), version=self.next_version(asset), version_id=self.fresh_id())
        self.save(asset)
        self.forget([content.digest])
        self.tell("moderation", said, **told)

    def _all(self, public_ids: Iterable[str], resource_type: str, type: str) -> list[Asset]:
        found = (self.find(Name(resource_type, type, public_id)) for public_id in dict.fromkeys(public_ids))
        return [asset for asset in found if asset is not None]

    def _leave_to(
        self,
        keepers: Sequence[Asset],
        tags: Sequence[str],
        resource_type: str,
        type: str,
        told: Mapping[str, str | None],
    ) -> None:
        """Take the tags from all other assets of the type."""
        marks = ", ".join("?" * len(tags))
        rows = self.store.connection.execute(
            f"SELECT DISTINCT assets.* FROM assets JOIN asset_tags USING (seq)"  # noqa: S608
            f" WHERE tag IN ({marks}) AND resource_type = ? AND type = ? AND alive",
            (*tags, resource_type, type),
        )
        kept = {asset.seq for asset in keepers}
        others = [asset for asset in map(Asset.from_row, rows.fetchall()) if asset.seq not in kept]
        self.set_tags([(asset, _changed(asset.tags, "remove", tags)) for asset in others], **told)


def _changed(before: Sequence[str], command: TagsCommand, tags: Sequence[str]) -> list[str]:
    match command:
        case "add" | "set_exclusive":
            return [*before, *tags]
        case "remove":
            return [tag for tag in before if tag not in tags]
        case "replace":
            return list(tags)
        case "remove_all":
            return []


def _keyed(asset: Asset) -> dict[str, Any]:
    return {"resource_type": asset.resource_type, "type": asset.type, "asset_id": asset.asset_id}


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]
