"""Readings: what the Admin API says of assets, each with the moment at which it was true by Cloudinary's clock."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, islice
from typing import Any, NamedTuple, cast

import orjson
import stamina
from cloudinary import api

from schemas.asset import AssetName
from schemas.json import NotAnObjectError, storable
from service.cloudinary.client import Account, Answer, Purpose
from service.cloudinary.errors import BadRequestError, CloudinaryError, NotFoundError, RateLimitedError, UnavailableError

PAGE = 500  # the most that a listing gives at once
BATCH = 100  # the most that can be asked for by id or by name at once

# What a listing leaves out unless it is asked for: by flags, or, which then overrides the flags, field by field. A server that
# does not know `fields` heeds the flags; for one that refuses them, they are left out.
_FLAGS: Mapping[str, bool] = {"tags": True, "context": True, "metadata": True, "moderations": True}
_FIELDS = (
    "asset_id", "public_id", "resource_type", "type", "format", "version", "version_id", "created_at", "uploaded_at", "bytes",
    "width", "height", "duration", "pages", "etag", "placeholder", "asset_folder", "folder", "display_name", "original_filename",
    "tags", "context", "metadata", "moderation", "access_control",
)  # fmt: skip
_CERTAIN = frozenset({"asset_id", "public_id", "version", "tags"})  # of these fields, those that every asset has
_ATTEMPTS = 4


class Listing(NamedTuple):
    """What one listing gives: a resource type, of all delivery types when that is None, below a prefix if there is one."""

    resource_type: str
    delivery_type: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """One asset, as the account has described it."""

    resource: Mapping[str, Any]
    read_at: datetime

    @property
    def asset_id(self) -> str:
        """The key of its row."""
        return str(self.resource.get("asset_id") or self.name)

    @property
    def name(self) -> AssetName:
        """What it is called."""
        return AssetName(*(str(self.resource.get(part)) for part in AssetName._fields))


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing."""

    readings: Sequence[Reading]
    cursor: str | None  # of the next one


@dataclass(frozen=True, slots=True)
class Found:
    """What was asked for and is there, by what was asked; what is not in it was not there at `read_at`."""

    readings: Mapping[str, Reading]
    read_at: datetime


class UnansweredError(CloudinaryError):
    """Cloudinary gave only some of the assets that {function} in {cloud} asked for, and says that there are more: {said}."""


class UntrustedError(CloudinaryError):
    """By {function} Cloudinary has none of the assets of {cloud} that were asked for, not even one that is there: {said}. So
    nothing is taken for gone.
    """


class Reader:
    """Reads one account within reconciliation's share of its hourly calls; every method raises `CloudinaryError`.

    A call that fails in passing is made again a few times.
    """

    def __init__(self, account: Account, purpose: Purpose = Purpose.RECONCILE) -> None:
        self._account = account
        self._purpose = purpose
        self._asks_for_fields = True
        self.calls = 0

    async def page(self, listing: Listing, prefix: str | None, cursor: str | None) -> Page:
        """Give a page of a listing; `cursor`: None for the first."""
        options = {"type": listing.delivery_type, "prefix": prefix, "next_cursor": cursor}
        answer = await self._call(
            api.resources,
            resource_type=listing.resource_type,
            max_results=PAGE,
            **_FLAGS,
            **{name: value for name, value in options.items() if value is not None},
        )
        return Page(_readings(answer, self._account.name), answer.body.get("next_cursor"))

    async def by_ids(self, asset_ids: Sequence[str], witnesses: Sequence[str] = ()) -> Found:
        """Look for up to `BATCH` assets, by id.

        `witnesses`: assets that are there, which are asked for as well. An answer that has neither them nor anything else is no
        sign that something is gone, and raises `UntrustedError`.
        """
        asked = list(dict.fromkeys([*asset_ids, *witnesses]))
        found = await self._find(asked, lambda reading: reading.asset_id, api.resources_by_asset_ids)
        if witnesses and not found.readings.keys() & set(asked):
            raise UntrustedError(said=f"{len(asked)} asked for", function="resources_by_asset_ids", cloud=self._account.name)
        return found

    async def by_names(self, resource_type: str, delivery_type: str, public_ids: Sequence[str]) -> Found:
        """Look for up to `BATCH` assets, by public id."""
        kind = {"resource_type": resource_type, "type": delivery_type}
        return await self._find(public_ids, lambda reading: reading.name.public_id, api.resources_by_ids, **kind)

    async def by_keys(self, keys: Iterable[str], witnesses: Sequence[str] = ()) -> list[tuple[Sequence[str], Found]]:
        """Look for assets by the keys of their rows: ids, or names where no id is known. In batches, each with its own time.

        `witnesses`: as in `by_ids`, a few.
        """
        ids = sorted(keys)
        named = [AssetName(*key.split("/", 2)) for key in ids if key.count("/") > 1]
        found: list[tuple[Sequence[str], Found]] = [
            (batch, await self.by_ids(batch, witnesses))
            for batch in batches((key for key in ids if key.count("/") <= 1), BATCH - len(witnesses))
        ]
        for (resource_type, delivery_type), names in groupby(sorted(named), key=lambda name: name[:2]):
            for names_batch in batches(names, BATCH):
                those = await self.by_names(resource_type, delivery_type, [name.public_id for name in names_batch])
                by_key = {str(reading.name): reading for reading in those.readings.values()}
                found.append(([str(name) for name in names_batch], Found(by_key, those.read_at)))
        return found

    async def whole(self, asset_id: str) -> Reading | None:
        """Read one asset with all its details; None if it is not there."""
        try:
            answer = await self._try(api.resource_by_asset_id, asset_id)
        except NotFoundError:
            return None
        return Reading(stated(answer.body), answer.read_at)

    async def _find(
        self, asked: Sequence[str], by: Callable[[Reading], str], function: Callable[..., Any], **options: str
    ) -> Found:
        """Ask until all is answered: an answer that was cut short says nothing of what is not in it."""
        missing = list(asked)
        readings: dict[str, Reading] = {}
        while True:
            answer = await self._call(function, missing, **options, **_FLAGS)
            given = {by(reading): reading for reading in _readings(answer, self._account.name)}
            readings |= given
            if not answer.body.get("next_cursor"):
                return Found(readings, answer.read_at)
            still = [one for one in missing if one not in given]
            if not still or len(still) == len(missing):
                name = getattr(function, "__name__", "?")
                raise UnansweredError(said="next_cursor", function=name, cloud=self._account.name)
            missing = still

    async def _call(self, function: Callable[..., Any], *arguments: object, **options: object) -> Answer:
        """Ask for all fields, or, once that has proved not to be understood, with the flags alone."""
        if self._asks_for_fields:
            try:
                answer = await self._try(function, *arguments, fields=list(_FIELDS), **options)
                if all(resource.keys() >= _CERTAIN for resource in _resources(answer, self._account.name)):
                    return answer
            except BadRequestError:
                answer = await self._try(function, *arguments, **options)
                self._asks_for_fields = False
                return answer
            self._asks_for_fields = False
        return await self._try(function, *arguments, **options)

    async def _try(self, function: Callable[..., Any], *arguments: object, **options: object) -> Answer:
        async for attempt in stamina.retry_context(on=_is_passing, attempts=_ATTEMPTS, wait_initial=0.1, wait_max=5.0):
            with attempt:
                self.calls += 1
                return await self._account.call(function, *arguments, purpose=self._purpose, **options)
        raise AssertionError  # the last attempt's error has been raised


def stated(resource: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give a resource with what was asked for and left out, which is how Cloudinary says that there is none.

    Tags are always shown to those who ask, if only as an empty list. Where they are not, the question was not heeded, and that
    something is left out says nothing.
    """
    return {"context": {}, "metadata": {}, **resource} if "tags" in resource else resource


def batches(items: Iterable[Any], size: int) -> Iterable[list[Any]]:
    """Give items so many at a time."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _readings(answer: Answer, cloud: str) -> list[Reading]:
    read_at = answer.read_at
    return [Reading(stated(resource), read_at) for resource in _resources(answer, cloud)]


def _resources(answer: Answer, cloud: str) -> list[dict[str, Any]]:
    """Give what was listed, as the mirror will read it off the log; an answer without a list is no empty list."""
    listed = answer.body.get("resources")
    if not isinstance(listed, list):
        raise UnavailableError(said="an answer that lists nothing, not even nothing", function="resources", cloud=cloud)
    body = {"resources": listed}
    try:
        try:
            read = storable(orjson.dumps(body))
        except TypeError:  # for lone surrogates, and for numbers of more than 64 bits, which the second time become approximate
            read = storable(json.dumps(storable(json.dumps(body).encode())).encode())
    except NotAnObjectError as error:
        raise UnavailableError(said="an answer with values that are no JSON", function="resources", cloud=cloud) from error
    return [resource for resource in cast("list[Any]", read["resources"]) if isinstance(resource, dict)]


def _is_passing(error: Exception) -> bool:
    # a limit is waited for by the client; whoever is told of it is not to wait
    return isinstance(error, CloudinaryError) and error.passing and not isinstance(error, RateLimitedError)
