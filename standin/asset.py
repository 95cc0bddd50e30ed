"""An asset as the stand-in keeps it, and the ways in which Cloudinary describes it."""

from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from sqlite3 import Row
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import orjson

from standin.dialect import ENUMERATED, SOCIAL, Dialect

DELIVERY_HOST = "res.cloudinary.com"


class Name(NamedTuple):
    """What is unique among the living assets."""

    resource_type: str
    type: str
    public_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A file as it was stored; `version` is the second since 1970, or, if versions are to grow, the next number that is free."""

    version: int
    version_id: str
    etag: str | None
    bytes: int
    format: str | None = None
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    pages: int | None = None
    placeholder: bool = False
    original_filename: str | None = None
    digest: str | None = None  # of the stored bytes; none of a placeholder, or of a seeded asset

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        return cls(**orjson.loads(text))

    def to_json(self) -> str:
        """Give it as a text, for the store."""
        return orjson.dumps(asdict(self)).decode()

    def emptied(self) -> Self:
        """Give what is left when the file is gone: an empty placeholder of the same version."""
        return replace(self, bytes=0, etag=None, duration=None, pages=None, placeholder=True, digest=None)


_IDENTITY = frozenset({"asset_id", "public_id", "resource_type", "type"})
_BRIEF = _IDENTITY | {
    *("format", "version", "created_at", "bytes", "width", "height", "placeholder", "url", "secure_url"),
    *("asset_folder", "display_name"),
}
_LESS_BRIEF = _BRIEF | {"duration", "access_control"}
_COLUMNS = ("asset_id", "resource_type", "type", "public_id", "created_at", "uploaded_at", "asset_folder")


@dataclass(slots=True, kw_only=True)
class Asset:
    """One row of `assets`. Times are whole seconds since 1970."""

    asset_id: str
    resource_type: str
    type: str
    public_id: str
    content: Content
    created_at: int
    uploaded_at: int
    asset_folder: str = ""
    display_name: str = ""
    tags: list[str] = field(default_factory=list)
    context: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    access_control: list[dict[str, Any]] | None = None  # none: never set
    moderation: list[dict[str, Any]] = field(default_factory=list)
    derived: list[dict[str, Any]] = field(default_factory=list)
    alive: bool = True
    seq: int | None = None  # of the row, once there is one

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Read a row of `assets`."""
        data = orjson.loads(row["data"])
        content = Content(**data.pop("content"), digest=row["digest"])
        columns = {column: row[column] for column in _COLUMNS}
        return cls(**columns, **data, content=content, alive=bool(row["alive"]), seq=row["seq"])

    def to_row(self) -> dict[str, Any]:
        """Give the columns of `assets`."""
        content = asdict(self.content)
        digest = content.pop("digest")
        data = {name: getattr(self, name) for name in _IN_DATA} | {"content": content}
        columns = {column: getattr(self, column) for column in _COLUMNS}
        return columns | {"seq": self.seq, "alive": self.alive, "digest": digest, "data": orjson.dumps(data).decode()}

    @property
    def name(self) -> Name:
        """What it is called."""
        return Name(self.resource_type, self.type, self.public_id)

    @property
    def identity(self) -> dict[str, Any]:
        """What every body says of it."""
        return {
            "asset_id": self.asset_id,
            "public_id": self.public_id,
            "resource_type": self.resource_type,
            "type": self.type,
        }

    @property
    def path(self) -> str:
        """Where its content is, below the delivery host and the cloud's name."""
        extension = f".{self.content.format}" if self.content.format and self.resource_type != "raw" else ""
        public_id = quote(self.public_id, safe="/")
        return f"{self.resource_type}/{self.type}/v{self.content.version}/{public_id}{extension}"

    def urls(self, cloud: str) -> dict[str, str]:
        """Give both delivery URLs."""
        tail = f"{DELIVERY_HOST}/{cloud}/{self.path}"
        return {"url": f"http://{tail}", "secure_url": f"https://{tail}"}

    def full(self, cloud: str) -> dict[str, Any]:
        """Describe it whole, as the Admin API does one asset. What is empty is left out, but for tags."""
        content = self.content
        described = self.identity | {
            "format": content.format,
            "version": content.version,
            "version_id": content.version_id,
            "created_at": moment(self.created_at),
            "uploaded_at": moment(self.uploaded_at),
            "bytes": content.bytes,
            "width": content.width,
            "height": content.height,
            "duration": content.duration,
            "pages": content.pages,
            "asset_folder": self.asset_folder,
            "display_name": self.display_name,
            "tags": self.tags,
            "context": {"custom": self.context} if self.context else None,
            "metadata": self.metadata or None,
            "access_control": self.access_control,
            "moderation": self.moderation or None,
            "placeholder": True if content.placeholder else None,
            **self.urls(cloud),
        }
        described = {name: value for name, value in described.items() if value is not None}
        return described if content.placeholder else described | {"etag": content.etag}

    def uploaded(self, cloud: str) -> dict[str, Any]:
        """Describe it as answers of the Upload API and `upload` notifications do."""
        content = self.content
        said = self.full(cloud) | {"etag": content.etag, "placeholder": content.placeholder}
        del said["uploaded_at"]  # only readings tell it
        return said | ({"original_filename": content.original_filename} if content.original_filename else {})

    def read(self, cloud: str, dialect: Dialect) -> dict[str, Any]:
        """Describe it whole, as whoever reads it is told."""
        said = self.full(cloud)
        if dialect.null_access:
            said.setdefault("access_control", None)
        if dialect.social_without_version and self.type in SOCIAL:
            del said["version"]
        return said

    def listed(
        self, cloud: str, dialect: Dialect, *, shown: frozenset[str] = frozenset(), only: frozenset[str] = frozenset()
    ) -> dict[str, Any]:
        """Describe it as a listing does, which is brief unless asked for more.

        `shown`: of `tags`, `context`, `metadata` and `moderation`, those asked for. `only`: the fields wanted, which then
        overrides all else.
        """
        if only:
            wanted = {"asset_id", "public_id"} | only & ENUMERATED if dialect.enumerated_fields else _IDENTITY | only
        else:
            wanted = (_BRIEF if dialect.brief_is_brief else _LESS_BRIEF) | shown
        return {name: value for name, value in self.read(cloud, dialect).items() if name in wanted}


_IN_DATA = tuple(one.name for one in fields(Asset) if one.name not in {*_COLUMNS, "content", "alive", "seq"})


def moment(seconds: int) -> str:
    """Write a time as Cloudinary's bodies do: `2024-06-25T10:21:27Z`."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
