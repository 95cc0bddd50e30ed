"""What one notification asserts about one asset."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.asset import AssetName, Group
from schemas.clock import Clock, content_clock_of

_FIELD_OF = {
    Group.DISPLAY: "display_name",
    Group.FOLDER: "asset_folder",
    Group.TAGS: "tags",
    Group.CONTEXT: "context",
    Group.METADATA: "metadata",
    Group.ACCESS: "access_control",
    Group.MODERATION: "moderation",
}


def stated(values: Mapping[Group, object]) -> dict[Group, dict[str, object]]:
    """Give the assertions of one-field groups, without those that the body leaves out (None)."""
    return {group: {_FIELD_OF[group]: value} for group, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Change:
    """Field values by group, all as of one clock.

    The asset is meant by `asset_id`, or, in bodies that lack it, by `name`.
    """

    asset_id: str | None
    name: AssetName | None
    clock: Clock
    groups: Mapping[Group, Mapping[str, object]]
    version: int = 0  # Cloudinary's version of the content asserted, if any

    def clock_of(self, group: Group) -> Clock:
        """Give the clock that decides whether this change wins the group."""
        return content_clock_of(self.version, self.clock) if group is Group.CONTENT else self.clock
