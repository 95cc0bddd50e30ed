"""One asset of a cloud, as the mirror knows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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

# Groups whose clock is led by Cloudinary's `version`.
VERSIONED = frozenset({Group.CONTENT, Group.PLACEHOLDER, Group.DETAILS})


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


def key_of_name(cloud: str, name: AssetName) -> AssetKey:
    """Give the key of an asset whose id nobody has told yet; a slash tells it from Cloudinary's ids."""
    return AssetKey(cloud, str(name))


@dataclass(frozen=True, slots=True)
class Asset:
    """A row of `media_assets`, but for `updated_at`, which PostgreSQL sets."""

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
    details: Mapping[str, object] = field(default_factory=dict)
    # folder
    assigned_folder: str | None = None  # as it was told, at the folder group's clock
    asset_folder: str | None = None  # where folder moves have brought it since
    # the others
    display_name: str | None = None
    tags: list[str] = field(default_factory=list)
    context: Mapping[str, object] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)
    access_control: list[object] | None = None
    moderation: Mapping[str, object] = field(default_factory=dict)  # by kind
    derived: Mapping[str, object] = field(default_factory=dict)  # by transformation
    deleted_at: datetime | None = None

    clocks: Mapping[str, Clock] = field(default_factory=dict)  # by group, and by group.element where an element is newer
    revision: int = 0  # how many changes were applied

    @classmethod
    def unseen(cls, key: AssetKey) -> Self:
        """Give an asset of which nothing is known but its key."""
        parts = key.asset_id.split("/", 2)
        if len(parts) < len(AssetName._fields):
            return cls(*key)
        resource_type, delivery_type, public_id = parts
        return cls(*key, resource_type=resource_type, type=delivery_type, public_id=public_id)

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
