"""What is to be done at Cloudinary: one operation on one asset."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from schemas.asset import AssetName


class Kind(StrEnum):
    """What to do; beside each, its arguments."""

    DESTROY = "destroy"
    RENAME = "rename"  # to: public id; to_type: delivery type, optional
    TAGS = "tags"  # set: the whole list; or add, remove: lists
    CONTEXT = "context"  # set: the pairs to set; remove: a list of keys
    METADATA = "metadata"  # set: the values by field
    DISPLAY_NAME = "display_name"  # to
    FOLDER = "folder"  # to: asset folder
    ACCESS = "access"  # to: Cloudinary's access_control, a list of objects; an empty one is open to all
    UPLOAD = "upload"  # url, token (tells our upload from another's), options: tags, context, asset_folder, display_name


class Status(StrEnum):
    """How far it has come."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens by itself."""
        return self in (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


class Origin(StrEnum):
    """Who asked for it."""

    CLI = "cli"
    SQL = "sql"  # a row was deleted
    API = "api"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for. `asset_id` as in `media_assets`; None, of an upload. `expected_version`: None takes any."""

    cloud: str
    kind: Kind
    arguments: Mapping[str, Any] = field(default_factory=dict)
    asset_id: str | None = None
    name: AssetName | None = None
    expected_version: int | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One that a worker has claimed."""

    id: int
    cloud: str
    asset_id: str | None
    kind: Kind
    arguments: Mapping[str, Any]
    name: AssetName | None  # what it was called when it was asked for
    expected_version: int | None
    attempts: int  # this one counted
    claims: int  # which claim this is: what an earlier one writes does not count
    result: Mapping[str, Any]
    started_at: datetime | None  # by Cloudinary's clock, before the first call

    @property
    def known_id(self) -> str | None:
        """Cloudinary's id, unless the asset was only ever named."""
        return self.asset_id if self.asset_id is not None and "/" not in self.asset_id else None


@dataclass(frozen=True, slots=True)
class Settled:
    """What a try has come to: an end, or a next try (pending)."""

    operation: Operation
    status: Status
    error: str | None = None
