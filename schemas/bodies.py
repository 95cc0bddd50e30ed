"""The bodies Cloudinary sends, read tolerantly.

Field names are Cloudinary's (https://cloudinary.com/documentation/notifications). It may add fields at any time, and older bodies
lack many, so every field may be absent, and one that can't be read counts as absent.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from schemas.asset import AssetName
from schemas.delivery_url import kind_of
from schemas.json import JSONObject


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


# Bounds: what a PostgreSQL bigint, integer and B-tree entry can hold.
Whole = Annotated[int, Field(ge=0, le=2**63 - 1)]
Pixels = Annotated[int, Field(ge=0, le=2**31 - 1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=10_000)]
Name = Annotated[str, Field(min_length=1, max_length=600)]
Path = Annotated[str, Field(max_length=2_000)]
Moment = Annotated[datetime, AfterValidator(_in_utc)]


class Body(BaseModel):
    """Any body; `model_extra` holds what a model has no field for."""

    # public ids may look like numbers, and have been sent as such
    model_config = ConfigDict(extra="allow", coerce_numbers_to_str=True)


BodyT = TypeVar("BodyT", bound=Body)


def read(model: type[BodyT], body: JSONObject) -> BodyT:
    """Read a body, leaving out the fields that can't be read: one odd field must not cost the whole notification."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        unreadable = {str(problem["loc"][0]) for problem in error.errors() if problem["loc"]}
        return model.model_validate({name: value for name, value in body.items() if name not in unreadable})


class Named(Body):
    """Whatever names an asset."""

    asset_id: Name | None = None
    public_id: Name | None = None
    resource_type: Name | None = None
    type: Name | None = None
    url: Text | None = None
    secure_url: Text | None = None

    @property
    def name(self) -> AssetName | None:
        """What delivery URLs call it, if the body says so, or shows such a URL."""
        if self.public_id is None:
            return None
        if self.resource_type is not None and self.type is not None:
            return AssetName(self.resource_type, self.type, self.public_id)
        for url in self.urls():
            if kind := kind_of(url):
                return AssetName(*kind, self.public_id)
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
    tags: list[Text] | None = None
    context: dict[str, object] | None = None
    metadata: dict[str, object] | None = None
    access_control: list[object] | None = None
    moderation: list[dict[str, object]] | None = None
    existing: bool = False  # nothing was stored: the public id was taken, and overwrite was off


class Rename(Named):
    """A `rename`."""

    from_public_id: Name | None = None
    to_public_id: Name | None = None
    to_type: Name | None = None
    asset_folder: Path | None = None
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

    added: list[Text] = []
    removed: list[Text] = []
    updated: list[Text] = []


class ContextChange(Named):
    """One of the `resources` of a `resource_context_changed`: each as [{name, value}], as an object, or as names alone."""

    added: list[dict[str, object] | Text] | dict[str, object] = []
    removed: list[dict[str, object] | Text] | dict[str, object] = []
    updated: list[dict[str, object] | Text] | dict[str, object] = []


class Moderation(Named):
    """A `moderation`: one verdict of one kind of moderation."""

    version: Whole | None = None
    moderation_status: Text | None = None
    moderation_kind: Text | None = None
    moderation_updated_at: Text | None = None


class Eager(Named):
    """An `eager`: derived versions that were made."""

    eager: list[dict[str, object]] = []

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
