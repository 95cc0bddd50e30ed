"""What Cloudinary said: a tolerant reading of the bodies it sends.

Field names are Cloudinary's (https://cloudinary.com/documentation/notifications). It may add fields and types at any time, and
older bodies lack many, so every field may be absent, and one that can't be read counts as absent.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from schemas.asset import AssetName
from schemas.clock import Clock, Rank, clock_of
from schemas.envelope import Envelope
from schemas.json import JSON, JSONObject, storable


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


# Bounds: what a PostgreSQL bigint, integer and B-tree entry can hold.
Whole = Annotated[int, Field(ge=0, le=2**63 - 1)]
Pixels = Annotated[int, Field(ge=0, le=2**31 - 1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=10_000)]
Name = Annotated[str, Field(min_length=1, max_length=600)]
Moment = Annotated[datetime, AfterValidator(_in_utc)]


class _Body(BaseModel):
    # public ids may look like numbers, and have been sent as such
    model_config = ConfigDict(extra="allow", coerce_numbers_to_str=True)


class Named(_Body):
    """Whatever names an asset."""

    asset_id: Name | None = None
    public_id: Name | None = None
    resource_type: Name | None = None
    type: Name | None = None

    @property
    def name(self) -> AssetName | None:
        """What delivery URLs call it, if the body says all three parts."""
        if self.resource_type is None or self.type is None or self.public_id is None:
            return None
        return AssetName(self.resource_type, self.type, self.public_id)


class Upload(Named):
    """An `upload` body; `model_extra` holds what has no field here."""

    version: Whole | None = None
    version_id: Text | None = None
    format: Text | None = None
    bytes: Whole | None = None
    width: Pixels | None = None
    height: Pixels | None = None
    duration: Seconds | None = None
    etag: Text | None = None
    placeholder: bool = False
    created_at: Moment | None = None
    uploaded_at: Moment | None = None
    asset_folder: Text | None = None
    folder: Text | None = None  # accounts with fixed folders say this instead
    display_name: Text | None = None
    tags: list[Text] | None = None
    context: dict[str, object] | None = None
    metadata: dict[str, object] | None = None
    access_control: list[object] | None = None
    moderation: list[object] | None = None
    existing: bool = False  # nothing was stored: the public id was taken, and overwrite was off


class Rename(Named):
    """A `rename` body."""

    from_public_id: Name | None = None
    to_public_id: Name | None = None
    to_type: Name | None = None
    asset_folder: Text | None = None
    display_name: Text | None = None


class DeletedResource(Named):
    """One of the `resources` of a `delete` body."""

    asset_folder: Text | None = None
    display_name: Text | None = None


BodyT = TypeVar("BodyT", bound=_Body)


def read(model: type[BodyT], body: JSONObject) -> BodyT:
    """Read a body, leaving out the fields that can't be read: one odd field must not cost the whole notification."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        unreadable = {str(problem["loc"][0]) for problem in error.errors() if problem["loc"]}
        return model.model_validate({name: value for name, value in body.items() if name not in unreadable})


@dataclass(frozen=True, slots=True)
class Notification:
    """One verified body, with the time it speaks of."""

    envelope: Envelope
    body: JSONObject
    event_time: datetime
    triggered_at: datetime | None
    triggered_by: str | None  # "api:<API key>", "ui:<user>"…

    @property
    def type(self) -> str:
        """Cloudinary's `notification_type`."""
        return self.envelope.notification_type

    def clock(self, rank: Rank = Rank.EVENT) -> Clock:
        """Give the clock of whatever this notification asserts."""
        return clock_of(self.event_time, rank, self.envelope.digest)

    def resources(self) -> Iterable[JSONObject]:
        """Give the members of `resources`, sent as an array or as a map keyed by public id."""
        resources = self.body.get("resources")
        if isinstance(resources, list):
            yield from (item for item in resources if isinstance(item, dict))
        elif isinstance(resources, dict):
            yield from ({"public_id": key, **item} for key, item in resources.items() if isinstance(item, dict))


def parse_notification(envelope: Envelope, raw: bytes) -> Notification:
    """Read a record of `cloudinary.notifications`; raises `NotAnObjectError` for bytes that are not one JSON object."""
    body = storable(raw)
    context = body.get("notification_context")
    context = context if isinstance(context, dict) else {}
    triggered_at = _read_moment(context.get("triggered_at"))
    return Notification(
        envelope=envelope,
        body=body,
        event_time=triggered_at or _body_time(body) or datetime.fromtimestamp(envelope.signed_at, UTC),
        triggered_at=triggered_at,
        triggered_by=_triggered_by(context.get("triggered_by")),
    )


def _triggered_by(value: JSON) -> str | None:
    if not isinstance(value, dict):
        return None
    return ":".join(str(value[part]) for part in ("source", "id") if value.get(part)) or None


def _body_time(body: JSONObject) -> datetime | None:
    """Give the best time of a body from before `notification_context` (about 2023)."""
    for name in ("moderation_updated_at", "timestamp", "uploaded_at", "created_at"):
        if moment := _read_moment(body.get(name)):
            return moment
    return None


def _read_moment(value: JSON) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        return _in_utc(datetime.fromisoformat(value))
    except (ValueError, OverflowError):
        return None
