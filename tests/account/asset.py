"""An asset, as the account keeps it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from tests.account.telling import to_the_second


class Name(NamedTuple):
    """What is unique among the live assets of an account."""

    resource_type: str
    type: str
    public_id: str


class Content(NamedTuple):
    """A file, as it was stored at `version`."""

    version: int
    version_id: str
    etag: str | None
    bytes: int
    format: str | None
    width: int | None
    height: int | None
    duration: float | None
    pages: int | None
    placeholder: bool = False

    def stated(self, *, brief: bool = False) -> dict[str, Any]:
        """What a body says of it: of an image no duration, of a raw file no width."""
        left_out = ("placeholder", "etag", "version_id", "pages") if brief else ("placeholder",)
        return {name: value for name, value in self._asdict().items() if value is not None and name not in left_out}


@dataclass
class StoredAsset:
    """The truth about an asset."""

    asset_id: str
    name: Name
    content: Content
    created_at: datetime
    asset_folder: str = ""
    display_name: str = ""
    tags: set[str] = field(default_factory=set)
    context: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    access_control: list[dict[str, Any]] | None = None  # None: never set
    moderation: dict[str, dict[str, str]] = field(default_factory=dict)
    derived: dict[str, dict[str, Any]] = field(default_factory=dict)
    deleted_at: datetime | None = None
    backed_up: bool = False  # it was when it was deleted
    earlier: list[Content] = field(default_factory=list)

    @property
    def identity(self) -> dict[str, str]:
        return {"asset_id": self.asset_id, **self.name._asdict()}

    @property
    def urls(self) -> dict[str, str]:
        resource_type, delivery_type, public_id = self.name
        tail = f"res.cloudinary.com/acme/{resource_type}/{delivery_type}/v{self.content.version}/{public_id}"
        return {"url": f"http://{tail}", "secure_url": f"https://{tail}"}

    def replace_content(self, content: Content) -> None:
        """Keep the file that goes, but not a placeholder."""
        if not self.content.placeholder:
            self.earlier.append(self.content)
        self.content = content

    def described(self) -> dict[str, Any]:
        """What bodies say beside the content. What is empty is left out, but for tags."""
        stated: dict[str, Any] = {
            "created_at": to_the_second(self.created_at),
            "asset_folder": self.asset_folder,
            "display_name": self.display_name,
            "tags": sorted(self.tags),
        }
        if self.context:
            stated["context"] = {"custom": self.context}
        if self.metadata:
            stated["metadata"] = self.metadata
        if self.access_control:
            stated["access_control"] = self.access_control
        return stated

    def moderations(self) -> dict[str, Any]:
        return {"moderation": [{"kind": kind, **verdict} for kind, verdict in self.moderation.items()]} if self.moderation else {}

    def columns(self) -> dict[str, Any]:
        """What a faithful mirror shows. Of a deleted asset only what it was called, and when it ended, can be known."""
        if self.deleted_at is not None:
            return {**self.name._asdict(), "deleted_at": self.deleted_at}
        content = self.content._asdict()
        pages = content.pop("pages")
        return {
            **self.name._asdict(),
            **content,
            "details": {} if pages is None else {"pages": pages},
            "created_at": self.created_at,
            "asset_folder": self.asset_folder,
            "display_name": self.display_name,
            "tags": sorted(self.tags),
            "context": self.context,
            "metadata": self.metadata,
            "access_control": self.access_control,
            "moderation": self.moderation,
            "derived": self.derived,
            "deleted_at": None,
        }
