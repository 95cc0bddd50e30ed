"""What Cloudinary's APIs answered: the body, and what its headers tell."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from service.cloudinary.budget import Allowance
from service.cloudinary.errors import (
    AlreadyExistsError,
    BadRequestError,
    CloudinaryError,
    CredentialsError,
    NoDateError,
    NotAllowedError,
    NotFoundError,
    RateLimitedError,
    StillProcessingError,
    UnavailableError,
)
from service.cloudinary.transport import Exchange

_ENHANCE_YOUR_CALM = 420  # Cloudinary's; 429 means the same
_CLASSES: Mapping[int, type[CloudinaryError]] = {
    HTTPStatus.BAD_REQUEST: BadRequestError,
    HTTPStatus.UNAUTHORIZED: CredentialsError,
    HTTPStatus.FORBIDDEN: NotAllowedError,
    HTTPStatus.NOT_FOUND: NotFoundError,
    HTTPStatus.CONFLICT: AlreadyExistsError,
    HTTPStatus.LOCKED: StillProcessingError,
    HTTPStatus.REQUEST_TIMEOUT: UnavailableError,
    # told by what stands before the API: the call was too long, as one with too many ids is
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: BadRequestError,
    HTTPStatus.REQUEST_URI_TOO_LONG: BadRequestError,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: BadRequestError,
}
# What a page, or nothing at all, answers with these says nothing of an asset: they count only in the API's own words.
_ONLY_IN_WORDS = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT})
# A door that refuses before the API is asked, as its help pages show in HTML, refuses the key, whatever the call.
_WITHOUT_WORDS: Mapping[int, type[CloudinaryError]] = {HTTPStatus.FORBIDDEN: CredentialsError}
# It says: Rate Limit Exceeded. Limit of 500 api operations reached. Try again on 2024-10-04 14:00:00 UTC
_TRY_AGAIN = re.compile(r"Try again on (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC")
_UNTOLD_RESET_SECONDS = 60.0
_SHORTEST_PAUSE_SECONDS = 0.1  # a reset that is now is not asked about in a tight loop
_SAID_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one call."""

    body: dict[str, Any]
    date: datetime | None  # the `Date` header: Cloudinary's clock when it answered
    seconds: float  # from call to answer
    allowance: Allowance | None = None  # of the Admin API's hourly calls

    @property
    def read_at(self) -> datetime:
        """Give the latest moment, by Cloudinary's clock, that surely lies before what is told was read.

        A whole second, since `Date` has no finer ones. Raises `NoDateError`.
        """
        if self.date is None:
            raise NoDateError
        return (self.date - timedelta(seconds=self.seconds)).replace(microsecond=0)


def date_of(headers: Mapping[str, str], name: str = "Date") -> datetime | None:
    """Read a header that holds an HTTP date; None when it is missing or is none."""
    try:
        moment = parsedate_to_datetime(headers[name])
    except (KeyError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def allowance_of(headers: Mapping[str, str]) -> Allowance | None:
    """Read the rate-limit headers; None unless all are there, and `Date`."""
    date, resets_at = date_of(headers), date_of(headers, "X-FeatureRateLimit-Reset")
    try:
        allowed, remaining = (int(headers[f"X-FeatureRateLimit-{name}"]) for name in ("Limit", "Remaining"))
    except (KeyError, ValueError):
        return None
    if date is None or resets_at is None:
        return None
    return Allowance(allowed, remaining, resets_at, max((resets_at - date).total_seconds(), 0))


def error_of(exchange: Exchange, cloud: str, function: str) -> CloudinaryError:
    """Tell what went wrong in an exchange that did: by its status, and only then by what its body says, if that can be read."""
    said = exchange.said()
    status = exchange.status
    about: dict[str, Any] = {
        "status": status,
        "request_id": exchange.headers.get("X-Request-Id"),
        "cloud": cloud,
        "function": function,
    }
    words = (said or exchange.title() or (str(exchange.failure) if exchange.failure else "an answer that can't be read"))[
        :_SAID_CHARACTERS
    ]
    if status is None or not HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        if said is not None and status is not None and status < HTTPStatus.BAD_REQUEST:
            return CloudinaryError(said=words, **about)  # an error in its own words, under a status of success
        return UnavailableError(said=words, effect_unknown=not exchange.unsent, **about)
    if said is None and status in _ONLY_IN_WORDS:
        return UnavailableError(said=words, effect_unknown=True, **about)
    if "subscription" in words.lower():
        return NotAllowedError(said=words, **about)  # to an add-on, told with the status of a limit; waiting would not help
    if status in (_ENHANCE_YOUR_CALM, HTTPStatus.TOO_MANY_REQUESTS):
        return RateLimitedError(said=words, resets_in=_resets_in(exchange.headers, words), **about)
    classes = _CLASSES if said is not None else {**_CLASSES, **_WITHOUT_WORDS}
    return classes.get(status, CloudinaryError)(said=words, **about)


def _resets_in(headers: Mapping[str, str], said: str) -> float:
    """Give the seconds until calls are taken again, by Cloudinary's own clock on both ends."""
    date, resets_at = date_of(headers), date_of(headers, "X-FeatureRateLimit-Reset")
    if resets_at is None and (again := _TRY_AGAIN.search(said)):
        resets_at = datetime.fromisoformat(again[1]).replace(tzinfo=UTC)
    if date is None or resets_at is None:
        return _UNTOLD_RESET_SECONDS
    return max((resets_at - date).total_seconds(), _SHORTEST_PAUSE_SECONDS)
