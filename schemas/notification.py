"""What Cloudinary said, and the time it speaks of."""

import math
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from schemas.clock import Clock, Rank, clock_of, content_clock_of
from schemas.envelope import Envelope, Source
from schemas.json import JSON, JSONObject, make_storable
from schemas.resources import Resources, resources_of

# Their `triggered_at` is when the job was ordered; what they tell was true when it was done.
_JOBS = frozenset({"eager", "explode", "info", "moderation", "moderation_summary"})
_BODY_TIMES = ("moderation_updated_at", "timestamp", "uploaded_at", "created_at")
# What only we say, of what we have read of an account.
OURS = frozenset({"snapshot", "missing"})

_BEGINNINGS = datetime(2010, 1, 1, tzinfo=UTC).timestamp()  # Cloudinary is younger
_AHEAD = 300  # seconds that a clock of Cloudinary's may be ahead of the one that it signs by
_BEFORE = timedelta(seconds=1)
_MILLISECONDS = 10**11  # a number of seconds as high is past the year 5000
_LONGEST_NAME = 200  # characters of who or what brought it about


class Occasion(NamedTuple):
    """When what is told happened, and who brought it about."""

    event_time: datetime
    triggered_at: datetime | None = None
    triggered_by: str | None = None  # "api:<API key>", "ui:<user>"…


class Notification(NamedTuple):
    """One verified body."""

    envelope: Envelope
    raw: bytes
    body: JSONObject
    occasion: Occasion
    changes: tuple[str, ...] = ()  # what had to become of the body, in words
    is_cut: bool = False  # some of it was left out

    @property
    def type(self) -> str:
        """Cloudinary's `notification_type`."""
        return self.envelope.notification_type

    @property
    def is_forged(self) -> bool:
        """Whether it claims to be a reading of ours, but came from outside."""
        return self.type in OURS and self.envelope.source in (Source.WEBHOOK, Source.POLL)

    def clock(self, rank: Rank = Rank.EVENT) -> Clock:
        """Give the clock of whatever this notification asserts."""
        return clock_of(self.occasion.event_time, rank, self.envelope.digest)

    def content_clock(self, clock: Clock, version: int | None) -> Clock:
        """Give the clock of what this notification, at `clock`, asserts about content of Cloudinary's `version`."""
        return content_clock_of(version, clock, self.envelope.signed_at)

    def resources(self) -> Resources:
        """Give the assets that it lists, if it lists some."""
        return resources_of(self.body, self.raw)


def parse_notification(envelope: Envelope, raw: bytes) -> Notification:
    """Read a record of `cloudinary.notifications`; raises `NotAnObjectError` for bytes that are not one JSON object."""
    read = make_storable(raw)
    body, changes = read.value, read.changes
    context = body.get("notification_context")
    context = context if isinstance(context, dict) else {}
    triggered_at = _moment_of(told := context.get("triggered_at"))
    # the time of a reading is told by the account's clock, its signature's by ours
    latest = math.inf if envelope.notification_type in OURS else envelope.signed_at + _AHEAD
    misdated = told is not None and (triggered_at is None or not _is_plausible(triggered_at, latest))
    if misdated:
        shown = f" ({str(told)[:40]})" if isinstance(told, (str, int, float)) else ""
        changes = (*changes, f"its triggered_at can't be right{shown}, so it is dated by what else it says")
        triggered_at = None
    occasion = Occasion(
        _event_time(envelope, body, triggered_at, latest, misdated=misdated),
        triggered_at,
        _triggered_by(context.get("triggered_by")),
    )
    return Notification(envelope, read.raw, body, occasion, changes, read.is_cut)


def _event_time(
    envelope: Envelope, body: JSONObject, triggered_at: datetime | None, latest: float, *, misdated: bool
) -> datetime:
    if triggered_at is not None and envelope.notification_type not in _JOBS:
        return triggered_at
    moments = (_moment_of(body.get(name)) for name in _BODY_TIMES)
    told = next((moment for moment in moments if moment and _is_plausible(moment, latest)), None)
    known = [moment for moment in (triggered_at, told) if moment]
    if known:
        return max(known)
    # nothing in bodies from before about 2023; then when it was signed is the best there is
    signed_at = datetime.fromtimestamp(envelope.signed_at, UTC)
    # what told a wrong time is none the less older than its signature, and yields to what tells a right one of that second
    return signed_at - _BEFORE if misdated else signed_at


def _is_plausible(moment: datetime, latest: float) -> bool:
    """Nothing happened before there was Cloudinary, nor later than the signature allows."""
    return _BEGINNINGS <= moment.timestamp() <= latest


def _triggered_by(value: JSON) -> str | None:
    if not isinstance(value, dict):
        return None
    parts = [str(told) for part in ("source", "id") if (told := value.get(part)) and not isinstance(told, (list, dict))]
    whole = ":".join(parts)
    return (whole if len(whole) <= _LONGEST_NAME else f"{whole[:_LONGEST_NAME]}…") or None


def _moment_of(value: JSON) -> datetime | None:
    """Read a time as a body tells it: in ISO 8601, or in unix seconds or milliseconds."""
    if isinstance(value, str):
        if (moment := read_moment(value)) is not None and not value.isdecimal():
            return moment
        if not (value.isascii() and value.isdecimal()):
            return None
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    try:
        return datetime.fromtimestamp(value / 1000 if value >= _MILLISECONDS else value, UTC)
    except (ValueError, OverflowError, OSError):
        return None


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
