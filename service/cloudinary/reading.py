"""Readings: what the Admin API says of assets, each with the moment at which it was true by Cloudinary's clock."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import Any, NamedTuple, TypeAlias

import stamina
import structlog
from cloudinary import api

from schemas.asset import AssetName
from service.cloudinary.client import Account, Answer, Purpose
from service.cloudinary.errors import BadRequestError, CloudinaryError, NotFoundError, RateLimitedError
from service.cloudinary.habits import AT_ONCE
from service.cloudinary.resources import FIELDS, FLAGS, Listed, Resource, both, gains, listed_by, stated, unrestricted

log = structlog.get_logger(__name__)

RESOURCE_TYPES = ("image", "video", "raw")
PAGE = 500  # the most that a listing gives at once
BATCH = AT_ONCE

_ATTEMPTS = 4
_DELIVERY_TYPE = re.compile(r"[a-z]{1,40}(?:_[a-z]{1,40}){0,3}")
_NOBODY = "0" * 32  # an id of the right form, that no asset has
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class Listing(NamedTuple):
    """What one listing gives: a resource type, of all delivery types when that is None, below a prefix if there is one."""

    resource_type: str
    delivery_type: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """One asset, as the account has described it."""

    resource: Resource
    read_at: datetime

    @property
    def asset_id(self) -> str:
        """The key of its row."""
        return str(self.resource.get("asset_id") or self.name)

    @property
    def name(self) -> AssetName:
        """What it is called, if it `is_named`."""
        return AssetName(*(str(self.resource.get(part)) for part in AssetName._fields))

    @property
    def is_named(self) -> bool:
        """Whether it says in full what the asset is called."""
        told = [self.resource.get(part) for part in AssetName._fields]
        return all(isinstance(part, str | int) and part != "" for part in told)

    @property
    def is_known(self) -> bool:
        """Whether it says which asset is meant."""
        asset_id = self.resource.get("asset_id")
        return (isinstance(asset_id, str) and asset_id != "") or self.is_named


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing."""

    readings: Sequence[Reading]
    cursor: str | None  # of the next one


@dataclass(frozen=True, slots=True)
class Found:
    """What was asked for and is there, by what was asked; what is not in it was not there at `read_at`.

    Where Cloudinary could not use what was asked, it is `refused`, and nothing is known.
    """

    readings: Mapping[str, Reading]
    read_at: datetime
    refused: CloudinaryError | None = field(default=None)


Batches: TypeAlias = list[tuple[Sequence[str], Found]]  # what was asked, and what was found of it


class UnansweredError(CloudinaryError):
    """Cloudinary gave only some of the assets that {function} in {cloud} asked for, and says that there are more: {said}."""


class UntrustedError(CloudinaryError):
    """By {function} Cloudinary has none of the assets of {cloud} that were asked for, not even one that is there: {said}. So
    nothing is taken for gone.
    """


class Reader:
    """Reads one account within reconciliation's share of its hourly calls; every method raises `CloudinaryError`.

    A call that fails in passing is made again a few times. How many assets the account lets one ask for at once, it remembers.
    """

    def __init__(self, account: Account, purpose: Purpose = Purpose.RECONCILE) -> None:
        self._account = account
        self._purpose = purpose
        self._asks_for_fields = True
        self._asks_by_flags = False  # besides, for what the fields don't bring
        self.calls = 0

    async def page(self, listing: Listing, prefix: str | None, cursor: str | None) -> Page:
        """Give a page of a listing; `cursor`: None for the first."""
        options = {"type": listing.delivery_type, "prefix": prefix, "next_cursor": cursor}
        listed = await self._ask(
            api.resources,
            resource_type=listing.resource_type,
            max_results=PAGE,
            **{name: value for name, value in options.items() if value is not None},
        )
        kind = {"resource_type": listing.resource_type, "type": listing.delivery_type}
        return Page(self._readings(listed, kind), listed.cursor)

    async def by_ids(self, asset_ids: Sequence[str], witnesses: Sequence[str] = ()) -> Batches:
        """Look for assets, by id.

        `witnesses`: a few assets that are there, which are asked for as well. An answer that has neither them nor anything else
        is no sign that something is gone, and raises `UntrustedError`.
        """
        return await self._find(asset_ids, lambda reading: reading.asset_id, api.resources_by_asset_ids, witnesses)

    async def by_names(self, resource_type: str, delivery_type: str, public_ids: Sequence[str]) -> Batches:
        """Look for assets, by public id."""
        kind = {"resource_type": resource_type, "type": delivery_type}
        if resource_type not in RESOURCE_TYPES or not is_plausible(delivery_type):
            unknown = BadRequestError(
                said=f"there are no assets of the kind {resource_type}/{delivery_type}",
                function="resources_by_ids",
                cloud=self._account.name,
            )
            return [(public_ids, Found({}, _NEVER, unknown))]
        return await self._find(public_ids, lambda reading: reading.name.public_id, api.resources_by_ids, **kind)

    async def by_keys(self, keys: Iterable[str], witnesses: Sequence[str] = ()) -> Batches:
        """Look for assets by the keys of their rows: ids, or names where no id is known. In batches, each with its own time.

        `witnesses`: as in `by_ids`.
        """
        ids = sorted(keys)
        named = [AssetName(*key.split("/", 2)) for key in ids if key.count("/") > 1]
        found = await self.by_ids([key for key in ids if key.count("/") <= 1], witnesses)
        for (resource_type, delivery_type), names in groupby(sorted(named), key=lambda name: (name.resource_type, name.type)):
            for asked, those in await self.by_names(resource_type, delivery_type, [name.public_id for name in names]):
                by_key = {str(reading.name): reading for reading in those.readings.values()}
                keys_asked = [str(AssetName(resource_type, delivery_type, one)) for one in asked]
                found.append((keys_asked, Found(by_key, those.read_at, those.refused)))
        return found

    async def whole(self, asset_id: str) -> Reading | None:
        """Read one asset with all its details; None if it is not there."""
        try:
            answer = await self._try(api.resource_by_asset_id, asset_id)
        except NotFoundError:
            return None
        listed = listed_by(Answer({"resources": [answer.body]}, answer.date, answer.seconds), self._account.name)
        return next((Reading(stated(resource), listed.read_at) for resource in listed.resources), None)

    async def named(self, reading: Reading) -> Reading | None:
        """Give a reading that says what the asset is called: no row is made without that. None if that can't be found out."""
        if reading.is_named:
            return reading
        if "/" in reading.asset_id:
            return None
        whole = await self.whole(reading.asset_id)
        if whole is not None and whole.is_named:
            return whole
        log.warning("cloudinary does not tell what an asset is called", cloud=self._account.name, asset_id=reading.asset_id)
        return None

    def _readings(self, listed: Listed, kind: Mapping[str, str | None]) -> list[Reading]:
        """Read what is listed, all of one `kind`; what does not say which asset it is of, is of none."""
        told = {name: value for name, value in kind.items() if value is not None}
        readings = [Reading(stated({**told, **resource}), listed.read_at) for resource in listed.resources]
        known = [reading for reading in readings if reading.is_known]
        if len(known) < len(readings):
            log.warning("listed without saying which assets", cloud=self._account.name, assets=len(readings) - len(known))
        return known

    async def _find(
        self,
        asked: Sequence[str],
        by: Callable[[Reading], str],
        function: Callable[..., Any],
        witnesses: Sequence[str] = (),
        **kind: str,
    ) -> Batches:
        """Ask until all is answered: an answer that was cut short says nothing of what is not in it.

        What is too much at once is asked for in smaller parts. One that is refused alone, where another id is not, is unusable.
        """
        name = getattr(function, "__name__", "?")
        most = self._account.habits.most_of(name)
        waiting = list(dict.fromkeys(asked))
        found: Batches = []
        while waiting:
            seen = witnesses[: max(most.size // 4, 1)] if most.size > 1 else ()
            part = waiting[: most.size - len(seen)]
            together = list(dict.fromkeys([*part, *seen]))
            try:
                listed = await self._ask(function, together, **kind)
            except BadRequestError as error:
                if len(together) == 1:
                    found.append((part, Found({}, await self._sound(function, error, **kind), error)))
                    waiting, most = waiting[1:], self._account.habits.most_of(name)  # so the others may not have been too many
                else:
                    most.refuse(len(together), error.said)
                continue
            given = {by(reading): reading for reading in self._readings(listed, kind)}
            if witnesses and not given.keys() & set(together) and (seen or not await self._knows(function, witnesses[0])):
                raise UntrustedError(said=f"{len(part)} asked for", function=name, cloud=self._account.name)
            answered = part if listed.cursor is None else [one for one in part if one in given]
            if not answered:
                raise UnansweredError(said="next_cursor", function=name, cloud=self._account.name)
            most.pass_(len(together))
            found.append((answered, Found({one: given[one] for one in answered if one in given}, listed.read_at)))
            waiting = [one for one in waiting if one not in set(answered)]
        if not any(those.refused for _, those in found):
            self._account.habits.keep(name, most)
        return found

    async def _knows(self, function: Callable[..., Any], witness: str) -> bool:
        return bool((await self._ask(function, [witness])).resources)

    async def _sound(self, function: Callable[..., Any], error: BadRequestError, **kind: str) -> datetime:
        """Give when another such call was answered; if it is refused too, raises `error`: it does not lie with what was asked."""
        try:
            return (await self._ask(function, [_NOBODY], **kind)).read_at
        except BadRequestError:
            raise error from None

    async def _ask(self, function: Callable[..., Any], *arguments: object, **options: object) -> Listed:
        """Ask for all fields; once these have proved not to bring what is certain, by flags as well, or alone."""
        by_flags = None
        if self._asks_by_flags or not self._asks_for_fields:
            by_flags = await self._list(function, *arguments, **options)
            if not self._asks_for_fields:
                return by_flags
        try:
            by_fields = await self._list(function, *arguments, fields=list(FIELDS), **options)
        except BadRequestError:
            by_flags = by_flags or await self._list(function, *arguments, **options)
            self._asks_for_fields = False
            return by_flags
        if by_flags is None:
            if by_fields.heeds_fields:
                return by_fields
            by_flags = await self._list(function, *arguments, **options)
            if not gains(by_flags, by_fields):
                return by_fields
            self._asks_by_flags = True
            self._asks_for_fields = bool(by_fields.shown - by_flags.shown)
        return both(by_flags, by_fields)

    async def _list(self, function: Callable[..., Any], *arguments: object, **options: object) -> Listed:
        return listed_by(await self._try(function, *arguments, **options, **FLAGS), self._account.name)

    async def _try(self, function: Callable[..., Any], *arguments: object, **options: object) -> Answer:
        async for attempt in stamina.retry_context(on=_is_passing, attempts=_ATTEMPTS, wait_initial=0.1, wait_max=5.0):
            with attempt:
                self.calls += 1
                return await self._account.call(function, *arguments, purpose=self._purpose, **options)
        raise AssertionError  # the last attempt's error has been raised


def explicit(reading: Reading) -> Reading:
    """Give a reading that states it when there are no restrictions."""
    return Reading(unrestricted(reading.resource), reading.read_at)


def is_plausible(delivery_type: str) -> bool:
    """Tell whether there may be such a delivery type: its name becomes part of a path."""
    return _DELIVERY_TYPE.fullmatch(delivery_type) is not None


def batches(items: Iterable[Any], size: int) -> Iterable[list[Any]]:
    """Give items so many at a time."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _is_passing(error: Exception) -> bool:
    # a limit is waited for by the client; whoever is told of it is not to wait
    return isinstance(error, CloudinaryError) and error.passing and not isinstance(error, RateLimitedError)
