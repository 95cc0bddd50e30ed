"""One asset of a cloud, as the mirror knows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from schemas.clock import Clock


class Group(StrEnum):
    """Fields that Cloudinary changes together; each group is one last-writer-wins register with a clock of its own."""

    CONTENT = "content"
    NAME = "name"
    DISPLAY = "display"
    FOLDER = "folder"
    TAGS = "tags"
    CONTEXT = "context"
    METADATA = "metadata"
    ACCESS = "access"
    MODERATION = "moderation"
    EXISTENCE = "existence"


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
    placeholder: bool = False
    created_at: datetime | None = None
    uploaded_at: datetime | None = None
    details: Mapping[str, object] = field(default_factory=dict)
    # one field each
    asset_folder: str | None = None
    display_name: str | None = None
    tags: list[str] = field(default_factory=list)
    context: Mapping[str, object] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)
    access_control: list[object] | None = None
    moderation: list[object] | None = None
    # existence
    deleted_at: datetime | None = None

    clocks: Mapping[str, Clock] = field(default_factory=dict)  # by group
    revision: int = 0  # how many changes were applied

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
