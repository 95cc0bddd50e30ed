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
}
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
    """Tell what went wrong in an exchange that did."""
    said = exchange.said()
    status = exchange.status
    about: dict[str, Any] = {
        "status": status,
        "request_id": exchange.headers.get("X-Request-Id"),
        "cloud": cloud,
        "function": function,
    }
    if status is None or said is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        reason = said or (str(exchange.failure) if exchange.failure else "an answer that can't be read")
        return UnavailableError(said=reason[:_SAID_CHARACTERS], effect_unknown=not exchange.unsent, **about)
    said = said[:_SAID_CHARACTERS]
    if "subscription" in said.lower():
        return NotAllowedError(said=said, **about)  # to an add-on, told with the status of a limit; waiting would not help
    if status in (_ENHANCE_YOUR_CALM, HTTPStatus.TOO_MANY_REQUESTS):
        return RateLimitedError(said=said, resets_in=_resets_in(exchange.headers, said), **about)
    return _CLASSES.get(status, CloudinaryError)(said=said, **about)


def _resets_in(headers: Mapping[str, str], said: str) -> float:
    """Give the seconds until calls are taken again, by Cloudinary's own clock on both ends."""
    date, resets_at = date_of(headers), date_of(headers, "X-FeatureRateLimit-Reset")
    if resets_at is None and (again := _TRY_AGAIN.search(said)):
        resets_at = datetime.fromisoformat(again[1]).replace(tzinfo=UTC)
    if date is None or resets_at is None:
        return _UNTOLD_RESET_SECONDS
    return max((resets_at - date).total_seconds(), _SHORTEST_PAUSE_SECONDS)
