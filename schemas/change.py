"""What one notification asserts about one asset."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from schemas.asset import AssetName, Group
from schemas.clock import NEVER, Clock


class Gone:
    """The value of an element that is removed."""

    def __repr__(self) -> str:
        return "GONE"


GONE: Final = Gone()


_NOTHING: Mapping[Group, Mapping[str, object]] = MappingProxyType({})


class Change(NamedTuple):
    """Assertions about one asset, all as of one clock.

    The asset is meant by `asset_id`, or, in bodies that lack it, by `name`: what it was called before the change.
    """

    asset_id: str | None
    name: AssetName | None
    clock: Clock
    # group -> all of its columns or elements: what is not among them is not there
    wholes: Mapping[Group, Mapping[str, object]] = _NOTHING
    # group -> some of its columns or elements, `GONE` for what is removed: the others stay as they are
    parts: Mapping[Group, Mapping[str, object]] = _NOTHING
    content_clock: Clock = NEVER  # decides the versioned groups, if the change has any; `clock` decides the others
    refetch: str | None = None  # why the account must be asked, when the body doesn't tell all
    note: str | None = None  # what else its line in the sync log tells, such as what can't be read

    @property
    def reason(self) -> str | None:
        """What its line in the sync log gives as the reason."""
        return self.refetch if self.note is None else self.note if self.refetch is None else f"{self.refetch}; {self.note}"
