"""The assets that a body lists, in any of the shapes that such lists have."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from schemas.json import JSON, JSONObject, members

_ASSET_ID = re.compile(r"[0-9a-f]{32}")
_OTHER_NAMES = ("assets", "asset", "resource", "asset_ids", "public_ids")


@dataclass(frozen=True, slots=True)
class Resources:
    """The members of a list, given one at a time, as often as wanted: there may be hundreds of thousands."""

    listed: Sequence[JSON] = ()
    mapped: Sequence[tuple[str, JSON]] = ()  # by public id
    types: JSONObject = field(default_factory=dict)  # said once for all of them

    def __iter__(self) -> Iterator[JSONObject]:
        """Give each as an object; an empty one stands for a member that isn't one and names nothing."""
        for item in self.listed:
            yield self._with_types(item if isinstance(item, dict) else _named_by(item))
        for public_id, item in self.mapped:
            named: JSONObject = {"public_id": public_id}
            if isinstance(item, dict):
                named = {**item, "public_id": item.get("public_id") or public_id}
            yield self._with_types(named)

    def doubled(self) -> set[str]:
        """Give the public ids that stand twice in a map, once for each resource type."""
        once: set[str] = set()
        twice: set[str] = set()
        for key, item in self.mapped:
            public_id = str(item.get("public_id") or key) if isinstance(item, dict) else key
            (twice if public_id in once else once).add(public_id)
        return twice

    def _with_types(self, item: JSONObject) -> JSONObject:
        return {**self.types, **item} if self.types and item else item


def resources_of(body: JSONObject, raw: bytes) -> Resources:
    """Read `resources`: an array, or a map keyed by public id, which may hold one twice; or what other lists name assets.

    `raw`: what the body was read from.
    """
    resources, name = body.get("resources"), "resources"
    if resources is None:
        name = next((other for other in _OTHER_NAMES if body.get(other)), name)
        resources = body.get(name)
    if not isinstance(resources, (list, dict)):
        return Resources()
    types: JSONObject = {kind: told for kind in ("resource_type", "type") if isinstance(told := body.get(kind), str) and told}
    if isinstance(resources, list):
        return Resources(resources, types=types)
    if _is_one(resources):
        return Resources([resources], types=types)
    return Resources(mapped=members(raw, name), types=types)


def _is_one(resources: JSONObject) -> bool:
    """Tell an asset that stands for itself from a map of assets by public id."""
    return isinstance(resources.get("asset_id"), str) or isinstance(resources.get("public_id"), str)


def _named_by(item: JSON) -> JSONObject:
    """Read an asset that is only named: by its id, or its public id."""
    if not isinstance(item, str) or not item:
        return {}
    return {"asset_id" if _ASSET_ID.fullmatch(item) else "public_id": item}
