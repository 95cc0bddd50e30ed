"""The bodies Cloudinary sends, read tolerantly.

Field names are Cloudinary's (https://cloudinary.com/documentation/notifications). It may add fields at any time, and older bodies
lack many, so every field may be absent, and one that can't be read counts as absent, and is told as `odd`.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from schemas.asset import AssetName
from schemas.delivery_url import kind_of, public_id_of
from schemas.json import JSONObject, fits
from schemas.mending import MOST_BYTES, mended

# An asset's times are none before there was Cloudinary, such as a nil time, and none that is not to come for long.
_BEGINNINGS, _FAR = datetime(2010, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def _in_utc(moment: datetime) -> datetime:
    try:
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError from error
    if not _BEGINNINGS <= moment < _FAR:
        raise ValueError
    return moment


# Bounds: what a PostgreSQL bigint, integer and B-tree entry can hold. That counts bytes: a longer text is looked at more closely.
Whole = Annotated[int, Field(ge=0, le=2**63 - 1)]
Pixels = Annotated[int, Field(ge=0, le=2**31 - 1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=10_000)]
Name = Annotated[str, Field(min_length=1, max_length=MOST_BYTES["name"] // 4)]
Kind = Annotated[str, Field(min_length=1, max_length=MOST_BYTES["kind"] // 4)]
Path = Annotated[str, Field(max_length=MOST_BYTES["path"] // 4)]
Moment = Annotated[datetime, AfterValidator(_in_utc)]
# One odd element is enough to look more closely; a list may have a million.
Texts = Annotated[list[Text], Field(fail_fast=True)]
Objects = Annotated[list[dict[str, object]], Field(fail_fast=True)]
Pairs = Annotated[list[dict[str, object] | Text], Field(fail_fast=True)]


class Body(BaseModel):
    """Any body; `model_extra` holds what a model has no field for."""

    # public ids may look like numbers, and have been sent as such
    model_config = ConfigDict(extra="allow", coerce_numbers_to_str=True)

    odd: ClassVar[str | None] = None  # of one body: which of its fields can't be read, or only in part
    texts: ClassVar[frozenset[str]] = frozenset()  # fields that are lists of texts


BodyT = TypeVar("BodyT", bound=Body)


def read(model: type[BodyT], body: JSONObject) -> BodyT:
    """Read a body as far as it can be: an odd field must not cost the whole notification, nor an odd element the whole field."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        mending = mended(body, error, model.texts)
    try:
        read = model.model_validate(mending.body)
    except ValidationError as error:
        mending = mending.without(error)
        read = model.model_validate(mending.body)
    # past the bounds that count characters, since it is within those that count bytes
    for name, value in mending.long.items():
        setattr(read, name, value)
    if mending.odd:
        object.__setattr__(read, "odd", ", ".join(mending.odd))
    return read


class Named(Body):
    """Whatever names an asset."""

    asset_id: Name | None = None
    public_id: Name | None = None
    resource_type: Kind | None = None
    type: Kind | None = None
    url: Text | None = None
    secure_url: Text | None = None

    @property
    def name(self) -> AssetName | None:
        """What delivery URLs call it, if the body says so, or shows such a URL."""
        if self.public_id is None:
            return None
        kind = self.kind
        return None if kind is None else AssetName(*kind, self.public_id)

    @property
    def kind(self) -> tuple[str, str] | None:
        """Its resource type and delivery type, if the body says so, or shows a URL that does."""
        if self.resource_type is not None and self.type is not None:
            return self.resource_type, self.type
        return next((kind for url in self.urls() if (kind := kind_of(url))), None)

    @property
    def likely_name(self) -> AssetName | None:
        """What it may be called, good enough for a question: what is left out is as Cloudinary's API takes it by default."""
        if (name := self.name) is not None:
            return name
        extra = self.model_extra or {}
        told = (self.public_id, *(extra.get(name) for name in ("to_public_id", "from_public_id")))
        if public_id := next((one for one in told if isinstance(one, str) and one and fits(one, MOST_BYTES["name"])), None):
            return AssetName(self.resource_type or "image", self.type or "upload", public_id)
        for url in self.urls():
            if (kind := kind_of(url)) and (public_id := public_id_of(url)):
                return AssetName(*kind, public_id)
        return None

    @property
    def names_an_asset(self) -> bool:
        """Whether it can be told which asset is meant."""
        return self.asset_id is not None or self.name is not None

    def urls(self) -> Iterable[str]:
        """Give the delivery URLs in the body."""
        return (url for url in (self.secure_url, self.url) if url)


class Upload(Named):
    """An `upload`, or a resource as the Admin API describes it."""

    texts = frozenset({"tags"})

    version: Whole | None = None
    version_id: Text | None = None
    format: Text | None = None
    bytes: Whole | None = None
    width: Pixels | None = None
    height: Pixels | None = None
    duration: Seconds | None = None
    etag: Text | None = None
    placeholder: bool | None = None
    created_at: Moment | None = None
    uploaded_at: Moment | None = None
    asset_folder: Path | None = None
    folder: Path | None = None  # accounts with fixed folders say this instead
    display_name: Text | None = None
    tags: Texts | None = None
    context: dict[str, object] | None = None
    metadata: dict[str, object] | None = None
    access_control: list[object] | None = None
    moderation: Objects | None = None
    existing: bool = False  # nothing was stored: the public id was taken, and overwrite was off


class Rename(Named):
    """A `rename`."""

    from_public_id: Name | None = None
    to_public_id: Name | None = None
    to_type: Kind | None = None
    asset_folder: Path | None = None
    folder: Path | None = None  # accounts with fixed folders
    display_name: Text | None = None


class Resource(Named):
    """One of the `resources` of a `delete`, or of a change to several assets."""

    asset_folder: Path | None = None
    display_name: Text | None = None
    # move
    to_asset_folder: Path | None = None
    to_folder: Path | None = None  # accounts with fixed folders
    # resource_display_name_changed
    new_display_name: Text | None = None
    # access_control_changed
    new_access_control: list[object] | None = None
    # resource_metadata_changed
    previous_metadata: dict[str, object] | None = None
    new_metadata: dict[str, object] | None = None


class TagsChange(Named):
    """One of the `resources` of a `resource_tags_changed`."""

    texts = frozenset({"added", "removed", "updated"})

    added: Texts = []
    removed: Texts = []
    updated: Texts = []


class ContextChange(Named):
    """One of the `resources` of a `resource_context_changed`: each as [{name, value}], as an object, or as names alone."""

    added: Pairs | dict[str, object] = []
    removed: Pairs | dict[str, object] = []
    updated: Pairs | dict[str, object] = []


class Moderation(Named):
    """A `moderation`: one verdict of one kind of moderation."""

    version: Whole | None = None
    moderation_status: Text | None = None
    moderation_kind: Text | None = None
    moderation_updated_at: Text | None = None
    moderation: Objects = []  # as readings tell it


class Eager(Named):
    """An `eager`: derived versions that were made."""

    eager: Objects = []

    def urls(self) -> Iterable[str]:
        """Give the delivery URLs, which are those of the derived versions."""
        for derived in self.eager:
            yield from (str(derived[field]) for field in ("secure_url", "url") if derived.get(field))


class Explode(Named):
    """An `explode`: pages that were made of a document."""

    pages: Whole | None = None
    batch_id: Text | None = None


class Folder(Body):
    """A notification about a folder."""

    folder_path: Path | None = None
    from_path: Path | None = None
    to_path: Path | None = None
