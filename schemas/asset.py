"""One asset of a cloud, as the mirror knows it."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, Self

from schemas.clock import Clock


class Group(StrEnum):
    """What Cloudinary changes together; each group has a clock of its own."""

    EXISTENCE = "existence"  # follows from the next three
    ALIVE = "alive"  # acted on, or read
    DELETED = "deleted"
    GONE = "gone"  # not there when read; when it went, a reading can't tell
    NAME = "name"
    CONTENT = "content"
    PLACEHOLDER = "placeholder"
    DETAILS = "details"
    DISPLAY = "display"
    FOLDER = "folder"
    TAGS = "tags"
    CONTEXT = "context"
    METADATA = "metadata"
    ACCESS = "access"
    MODERATION = "moderation"
    DERIVED = "derived"


# Groups of columns.
COLUMNS: Mapping[Group, tuple[str, ...]] = MappingProxyType(
    {
        Group.EXISTENCE: ("deleted_at",),
        Group.ALIVE: (),
        Group.DELETED: (),
        Group.GONE: (),
        Group.NAME: ("resource_type", "type", "public_id"),
        Group.CONTENT: (
            "format", "version", "version_id", "bytes", "width", "height", "duration", "etag", "created_at", "uploaded_at",
        ),
        Group.PLACEHOLDER: ("placeholder",),
        Group.DISPLAY: ("display_name",),
        Group.FOLDER: ("assigned_folder",),
        Group.ACCESS: ("access_control",),
    }
)  # fmt: skip

# Groups of elements in one column, each element decided for itself.
ELEMENTS = frozenset({Group.DETAILS, Group.TAGS, Group.CONTEXT, Group.METADATA, Group.MODERATION, Group.DERIVED})

# Groups whose clock is led by Cloudinary's `version`, and of them those that are always told together.
VERSIONED = frozenset({Group.CONTENT, Group.PLACEHOLDER, Group.DETAILS})
OF_CONTENT = frozenset({Group.CONTENT, Group.DETAILS})


class AssetName(NamedTuple):
    """What a delivery URL addresses; unique among the live assets of a cloud, but changes over an asset's life."""

    resource_type: str
    type: str
    public_id: str

    def __str__(self) -> str:
        return "/".join(self)


class AssetKey(NamedTuple):
    """The primary key of a row.

    `asset_id` is Cloudinary's 32 hex digits, or `resource_type/type/public_id` for an asset that was only ever named.
    """

    cloud: str
    asset_id: str

    @property
    def is_name(self) -> bool:
        """Whether it is of an asset that was only ever named; a slash tells that from Cloudinary's ids."""
        return "/" in self.asset_id


def key_of_name(cloud: str, name: AssetName) -> AssetKey:
    """Give the key of an asset whose id nobody has told yet."""
    return AssetKey(cloud, f"{name.resource_type}/{name.type}/{name.public_id}")


def _name_in(key: AssetKey) -> AssetName | None:
    parts = key.asset_id.split("/", 2)
    return AssetName(*parts) if len(parts) == len(AssetName._fields) else None


# Shared by all assets that have none; nobody changes a Mapping, or another asset's tags.
_NOTHING: Mapping[str, object] = {}
_NO_CLOCKS: Mapping[str, Clock] = {}
_NO_TAGS: list[str] = []


class Asset(NamedTuple):
    """A row of `media_assets` in the order of its queries' columns, but for `updated_at`, which PostgreSQL sets.

    A tuple, since a batch makes thousands: PostgreSQL's rows become assets, and assets rows, without a look at their fields.
    """

    cloud: str
    asset_id: str
    # name
    public_id: str | None = None
    resource_type: str | None = None
    type: str | None = None
    # content
    format: str | None = None
    version: int | None = None
    version_id: str | None = None
    bytes: int | None = None
    width: int | None = None
    height: int | None = None
    duration: float | None = None  # seconds
    etag: str | None = None
    created_at: datetime | None = None
    uploaded_at: datetime | None = None
    placeholder: bool = False
    details: Mapping[str, object] = _NOTHING
    # folder
    assigned_folder: str | None = None  # as it was told, at the folder group's clock
    asset_folder: str | None = None  # where folder moves have brought it since
    # the others
    display_name: str | None = None
    tags: list[str] = _NO_TAGS
    context: Mapping[str, object] = _NOTHING
    metadata: Mapping[str, object] = _NOTHING
    access_control: list[object] | None = None
    moderation: Mapping[str, object] = _NOTHING  # by kind
    derived: Mapping[str, object] = _NOTHING  # by transformation
    deleted_at: datetime | None = None

    clocks: Mapping[str, Clock] = _NO_CLOCKS  # by group, and by group.element where an element is newer
    revision: int = 0  # how many changes were applied

    @classmethod
    def unseen(cls, key: AssetKey) -> Self:
        """Give an asset of which nothing is known but its key."""
        if not key.is_name or (name := _name_in(key)) is None:
            return cls(*key)
        return cls(*key, resource_type=name.resource_type, type=name.type, public_id=name.public_id)

    @property
    def key(self) -> AssetKey:
        """The row's primary key."""
        return AssetKey(self.cloud, self.asset_id)

    @property
    def name(self) -> AssetName | None:
        """What delivery URLs call it, as far as it is known."""
        if self.resource_type is None or self.type is None or self.public_id is None:
            return None
        return AssetName(self.resource_type, self.type, self.public_id)
