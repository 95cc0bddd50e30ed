"""What one notification asserts about one asset."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from schemas.asset import VERSIONED, AssetName, Group
from schemas.clock import Clock, content_clock_of


class Gone:
    """The value of an element that is removed."""

    def __repr__(self) -> str:
        return "GONE"


GONE: Final = Gone()


@dataclass(frozen=True, slots=True)
class Change:
    """Assertions about one asset, all as of one clock.

    The asset is meant by `asset_id`, or, in bodies that lack it, by `name`: what it was called before the change.
    """

    asset_id: str | None
    name: AssetName | None
    clock: Clock
    # group -> all of its columns or elements: what is not among them is not there
    wholes: Mapping[Group, Mapping[str, object]] = field(default_factory=dict)
    # group -> some of its columns or elements, `GONE` for what is removed: the others stay as they are
    parts: Mapping[Group, Mapping[str, object]] = field(default_factory=dict)
    version: int = 0  # Cloudinary's version of the content spoken of, where the body says it
    refetch: str | None = None  # why the account must be asked, when the body doesn't tell all

    def clock_of(self, group: Group) -> Clock:
        """Give the clock that decides whether this change wins the group."""
        return content_clock_of(self.version, self.clock) if group in VERSIONED else self.clock
