"""What people attach to assets. One body may tell of several."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.account.account import Account
from tests.account.asset import StoredAsset
from tests.account.telling import ByPublicId, timestamp


def change_tags(account: Account, assets: Iterable[StoredAsset], *, added: set[str], removed: set[str]) -> None:
    told = []
    for asset in assets:
        before = set(asset.tags)
        asset.tags = (before - removed) | added
        told.append(
            asset.identity | {"added": sorted(asset.tags - before), "removed": sorted(before - asset.tags), "updated": []}
        )
    account.tell("resource_tags_changed", {"source": "api", "resources": told})


def replace_tags(account: Account, assets: Sequence[StoredAsset], tags: set[str]) -> None:
    told = []
    for asset in assets:
        before, asset.tags = asset.tags, set(tags)
        told.append(
            asset.identity | {"added": sorted(tags - before), "removed": sorted(before - tags), "updated": sorted(before & tags)}
        )
    account.tell("resource_tags_changed", {"source": "api", "resources": told})


def change_context(
    account: Account, assets: Iterable[StoredAsset], *, values: Mapping[str, str], removed: set[str], as_objects: bool
) -> None:
    """Told as `[{name, value}]`, or as an object."""

    def shaped(pairs: Mapping[str, str]) -> Any:
        return dict(pairs) if as_objects else [{"name": name, "value": value} for name, value in pairs.items()]

    told = ByPublicId()
    for asset in assets:
        before = asset.context
        asset.context = {name: value for name, value in before.items() if name not in removed} | dict(values)
        changes = {
            "added": shaped({name: value for name, value in values.items() if name not in before}),
            "removed": shaped({name: value for name, value in before.items() if name not in asset.context}),
            "updated": shaped({name: value for name, value in values.items() if name in before}),
        }
        told.append(_keyed(asset, changes))
    account.tell("resource_context_changed", {"source": "api", "resources": told})


def change_metadata(
    account: Account, assets: Iterable[StoredAsset], *, values: Mapping[str, Any], removed: set[str], whole: bool
) -> None:
    """Told with all fields, before and after, or only with those that differ: the documentation can be read either way."""
    told = ByPublicId()
    for asset in assets:
        before = asset.metadata
        after = asset.metadata = {name: value for name, value in before.items() if name not in removed} | dict(values)
        names = before.keys() | after.keys()
        shown = names if whole else {name for name in names if before.get(name) != after.get(name)}
        changes = {
            "previous_metadata": {name: value for name, value in before.items() if name in shown},
            "new_metadata": {name: value for name, value in after.items() if name in shown},
        }
        told.append(_keyed(asset, changes))
    account.tell("resource_metadata_changed", {"source": "api", "resources": told})


def change_display_name(account: Account, asset: StoredAsset, display_name: str) -> None:
    changes = {"previous_display_name": asset.display_name, "new_display_name": display_name}
    asset.display_name = display_name
    told = ByPublicId([_keyed(asset, {"public_id": asset.name.public_id, **changes})])
    account.tell("resource_display_name_changed", {"timestamp": timestamp(account.now), "resources": told})


def change_access(account: Account, assets: Iterable[StoredAsset], rules: list[dict[str, Any]]) -> None:
    told = []
    for asset in assets:
        told.append(asset.identity | {"previous_access_control": asset.access_control or [], "new_access_control": rules})
        asset.access_control = rules
    account.tell("access_control_changed", {"source": "api", "resources": told})


def _keyed(asset: StoredAsset, changes: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    resource_type, delivery_type, public_id = asset.name
    return public_id, {"resource_type": resource_type, "type": delivery_type, "asset_id": asset.asset_id, **changes}
