"""What Cloudinary said, and the time it speaks of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from schemas.clock import Clock, Rank, clock_of, content_clock_of
from schemas.envelope import Envelope
from schemas.json import JSON, JSONObject, members, storable

# Their `triggered_at` is when the job was ordered; what they tell was true when it was done.
_JOBS = frozenset({"eager", "explode", "info", "moderation", "moderation_summary"})
_BODY_TIMES = ("moderation_updated_at", "timestamp", "uploaded_at", "created_at")


class Occasion(NamedTuple):
    """When what is told happened, and who brought it about."""

    event_time: datetime
    triggered_at: datetime | None = None
    triggered_by: str | None = None  # "api:<API key>", "ui:<user>"…


@dataclass(frozen=True, slots=True)
class Resources:
    """The members of a body's `resources`, given one at a time, as often as wanted: there may be hundreds of thousands."""

    listed: Sequence[JSON] = ()
    mapped: Sequence[tuple[str, JSON]] = ()  # by public id

    def __iter__(self) -> Iterator[JSONObject]:
        for item in self.listed:
            if isinstance(item, dict):
                yield item
        for public_id, item in self.mapped:
            if isinstance(item, dict):
                yield {"public_id": public_id, **item}

    def doubled(self) -> set[str]:
        """Give the public ids that stand twice in a map, once for each resource type."""
        once: set[str] = set()
        twice: set[str] = set()
        for key, item in self.mapped:
            if isinstance(item, dict):
                public_id = str(item.get("public_id", key))
                (twice if public_id in once else once).add(public_id)
        return twice


class Notification(NamedTuple):
    """One verified body."""

    envelope: Envelope
    raw: bytes
    body: JSONObject
    occasion: Occasion

    @property
    def type(self) -> str:
        """Cloudinary's `notification_type`."""
        return self.envelope.notification_type

    def clock(self, rank: Rank = Rank.EVENT) -> Clock:
        """Give the clock of whatever this notification asserts."""
        return clock_of(self.occasion.event_time, rank, self.envelope.digest)

    def content_clock(self, clock: Clock, version: int | None) -> Clock:
        """Give the clock of what this notification, at `clock`, asserts about content of Cloudinary's `version`."""
        return content_clock_of(version, clock, self.envelope.signed_at)

    def resources(self) -> Resources:
        """Give the members of `resources`, sent as an array, or as a map keyed by public id.

        A map may hold a public id twice, once for each resource type: both are given.
        """
        resources = self.body.get("resources")
        if isinstance(resources, list):
            return Resources(listed=resources)
        if isinstance(resources, dict):
            return Resources(mapped=members(self.raw, "resources"))
        return Resources()


def parse_notification(envelope: Envelope, raw: bytes) -> Notification:
    """Read a record of `cloudinary.notifications`; raises `NotAnObjectError` for bytes that are not one JSON object."""
    body = storable(raw)
    context = body.get("notification_context")
    context = context if isinstance(context, dict) else {}
    triggered_at = read_moment(context.get("triggered_at"))
    occasion = Occasion(_event_time(envelope, body, triggered_at), triggered_at, _triggered_by(context.get("triggered_by")))
    return Notification(envelope, raw, body, occasion)


def _event_time(envelope: Envelope, body: JSONObject, triggered_at: datetime | None) -> datetime:
    if triggered_at is not None and envelope.notification_type not in _JOBS:
        return triggered_at
    told = next((moment for name in _BODY_TIMES if (moment := read_moment(body.get(name)))), None)
    known = [moment for moment in (triggered_at, told) if moment]
    # nothing in bodies from before about 2023; then when it was signed is the best there is
    return max(known) if known else datetime.fromtimestamp(envelope.signed_at, UTC)


def _triggered_by(value: JSON) -> str | None:
    if not isinstance(value, dict):
        return None
    return ":".join([str(told) for part in ("source", "id") if (told := value.get(part))]) or None


def read_moment(value: JSON) -> datetime | None:
    """Read an ISO 8601 time, in UTC unless it says otherwise; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is UTC:
            return moment
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
