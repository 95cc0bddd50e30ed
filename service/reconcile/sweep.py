"""A sweep: every asset of the account is listed and compared, and what differs is put on the log as a reading."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import structlog

from schemas.asset import Asset
from service.cloudinary.announcer import Announcer, Told
from service.cloudinary.client import Account
from service.cloudinary.errors import BadRequestError, CloudinaryError, NotFoundError
from service.cloudinary.reading import BATCH, Listing, Page, Reader, Reading, batches, explicit, is_plausible
from service.database import Connection, Pool
from service.errors import MediamirrorError
from service.publisher import NotDurableError
from service.reconcile.absence import Absence, RefusedError
from service.reconcile.difference import Kind, difference, is_gone
from service.reconcile.drift import causes
from service.reconcile.round import GoesRoundError, marks_of
from service.reconcile.sweeps import Finding, Progress, Scope, Sweeps, locked
from service.settings import Settings

log = structlog.get_logger(__name__)

Status: TypeAlias = Literal["complete", "broken", "refused"]
Observer: TypeAlias = Callable[[Progress], None]

# Of an account, when a prefix needs a delivery type to be listed; those that the mirror knows besides are listed, too.
_DELIVERY_TYPES = frozenset({"upload", "private", "authenticated"})
_BY = "reconcile"
# Assets of which the details show restrictions that the listing did not: after so many, it is known not to tell of any.
_UNTOLD = 10
# New assets of which a listing does not say what they are called: of so many, a sweep asks. The others are left to the next ones.
_UNNAMED = 100

# By Cloudinary's clock, a reading may lie up to two seconds before the moment at which it was really made: its `Date` and the
# reading's clock are whole seconds. So much later, whatever happened before the sweep is older than the sweep's readings.
SETTLING_SECONDS = 2.0


class SweepUnderWayError(MediamirrorError):
    """Another sweep of {cloud} is under way. `mediamirror drift` tells of its findings when it has ended."""


class LockLostError(MediamirrorError):
    """The connection that kept other sweeps of {cloud} away was lost."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a sweep."""

    progress: Progress
    status: Status
    reason: str | None
    kinds: dict[str, int]  # findings, by kind


class Sweep:
    """Sweeps one cloud once. Only a sweep that has listed all of its scope concludes from what it has not seen.

    `accept_missing`: take so many rows for gone at the most, whatever the cap says. `observe` is called after each page.
    """

    def __init__(
        self,
        account: Account,
        pool: Pool,
        announcer: Announcer,
        settings: Settings,
        scope: Scope,
        *,
        accept_missing: int = 0,
        observe: Observer | None = None,
        settling: float = SETTLING_SECONDS,
    ) -> None:
        self._account = account
        self._pool = pool
        self._announcer = announcer
        self._settings = settings
        self._scope = scope
        self._accept_missing = accept_missing
        self._observe = observe or (lambda _: None)
        self._settling = settling
        self._sweeps = Sweeps(pool, account.name)
        self._reader = Reader(account)
        self._begun_anew: set[Listing] = set()
        self._untold = 0  # restrictions
        self._unnamed = 0  # assets asked about

    async def run(self) -> Report:
        """Sweep, or go on with a sweep that was stopped within the last two hours; raises `SweepUnderWayError`.

        When Cloudinary or Kafka fails, the sweep is broken, and the next one goes on where it stood; unless a listing has gone
        round, from which nothing is concluded: then it begins anew.
        """
        async with locked(self._pool, f"media_sweeps {self._account.name}") as lock:
            if lock is None:
                raise SweepUnderWayError(cloud=self._account.name)
            progress = await self._sweeps.begin(self._scope, await self._listings())
            log.info("sweep begins", cloud=progress.cloud, sweep=progress.id, resumed=progress.resumed, listed=progress.listed)
            status, reason, resumable = await self._sweep(progress, lock)
            await self._sweeps.finish(progress, status, reason, resumable=resumable)
            report = Report(progress, status, reason, await self._sweeps.kinds(progress))
        say = log.info if status == "complete" else log.error
        say("sweep ends", cloud=progress.cloud, sweep=progress.id, status=status, reason=reason, **_counts(report))
        return report

    async def _sweep(self, progress: Progress, lock: Connection) -> tuple[Status, str | None, bool]:
        calls = progress.calls
        try:
            await asyncio.sleep(self._settling)
            while progress.at < len(progress.listings):
                at, page = progress.at, await self._next_page(progress)
                marks = marks_of(page)
                await self._require_new(progress, marks)
                self._require(lock)
                progress.listed += len(page.readings)
                progress.cursor = page.cursor
                progress.at += page.cursor is None
                progress.calls = calls + self._reader.calls
                placeholder = {reading.asset_id: False for reading in page.readings}
                placeholder |= {reading.asset_id: True for reading in page.readings if is_gone(reading)}
                # what counts as deleted goes with the rest that does, in the end
                there = [reading for reading in page.readings if not placeholder[reading.asset_id]]
                await self._sweeps.step(progress, placeholder, await self.compare(progress, there), (at, marks))
                self._observe(progress)
            absence = Absence(self._sweeps, self._reader, self._settings, self._accept_missing)
            findings = await absence.conclude(progress, self)
            progress.calls = calls + self._reader.calls
            await self._sweeps.step(progress, {}, findings)
            self._observe(progress)
        except RefusedError as refused:
            await self._sweeps.step(progress, {}, refused.findings)
            return "refused", str(refused), False
        except NotDurableError as error:
            return "broken", f"Kafka did not take a reading: {error.reason}", True
        except GoesRoundError as error:
            return "broken", str(error), False
        except (CloudinaryError, LockLostError) as error:
            return "broken", str(error) or repr(error), True
        finally:
            progress.calls = calls + self._reader.calls
        return "complete", None, False

    async def _require_new(self, progress: Progress, marks: Sequence[bytes]) -> None:
        """Raise `GoesRoundError` if the page, or the cursor that it leads to, was met before in this listing."""
        for mark, what in zip(marks, ("a page", "a cursor"), strict=False):
            if await self._sweeps.has_marks(progress, progress.at, [mark]):
                raise GoesRoundError(said=what, cloud=progress.cloud, function="resources")

    def _require(self, lock: Connection) -> None:
        if lock.is_closed():
            raise LockLostError(cloud=self._account.name)

    async def compare(self, progress: Progress, readings: Sequence[Reading]) -> list[Finding]:
        """Announce the readings that differ from their rows, and give those that are drift."""
        rows = await self._sweeps.rows([reading.asset_id for reading in readings])
        absent = [one.asset_id for one in readings if one.asset_id not in rows]
        deleting = await self._sweeps.under_way(absent, ended=True)
        moves = await self._sweeps.folder_moves()
        differing: list[tuple[Reading, Kind | None, dict[str, dict[str, object]]]] = []
        for listed in readings:
            if listed.asset_id in deleting:
                continue
            row = rows.get(listed.asset_id)
            if (reading := await self._understood(listed, row)) is None:
                continue
            try:
                differs = difference(row, progress.cloud, reading, moves)
            except Exception:  # in what this asset is; the others are compared all the same
                log.exception("reading can't be compared", cloud=progress.cloud, asset_id=reading.asset_id)
                continue
            if differs:
                fields = {name: dict(values) for name, values in differs.fields.items()}
                differing.append((reading, differs.kind, fields))
        await self.announce(progress, Told.SNAPSHOT, [reading for reading, _, _ in differing])
        progress.published += len(differing)
        why = await causes(self._pool, progress.cloud, [reading.asset_id for reading, kind, _ in differing if kind])
        return [
            Finding(reading.asset_id, *_name(reading, rows.get(reading.asset_id)), kind, fields, why[reading.asset_id])
            for reading, kind, fields in differing
            if kind
        ]

    async def announce(self, progress: Progress, told: Told, readings: Sequence[Reading]) -> None:
        """Put readings on the log, unless it is a dry run; returns when Kafka has all of them."""
        if self._scope.dry_run:
            return
        for batch in batches(readings, BATCH):
            announcing = (self._announcer.announce(self._account, told, one.resource, one.read_at, _BY) for one in batch)
            results = await asyncio.gather(*announcing, return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
        log.debug("readings announced", cloud=progress.cloud, kind=told, readings=len(readings))

    async def why(self, progress: Progress, asset_ids: Sequence[str]) -> dict[str, str]:
        """Give the likely causes of drift."""
        return await causes(self._pool, progress.cloud, asset_ids)

    async def _understood(self, listed: Reading, row: Asset | None) -> Reading | None:
        """Give a reading that says all it must: a new row's name, and that a restriction was lifted. None: there is none."""
        if listed.is_named or (row is not None and row.public_id is not None):
            return await self._with_access(listed, row)
        if self._unnamed >= _UNNAMED:
            return None
        self._unnamed += 1
        reading = await self._reader.named(listed)
        return None if reading is None else await self._with_access(reading, row)

    async def _with_access(self, reading: Reading, row: Asset | None) -> Reading:
        """Take null for no restrictions, and ask for the details of a restricted asset when a listing has no word of them.

        It is not documented whether listings tell of them; to take them for lifted must not hang on that.
        """
        restricted = row is not None and bool(row.access_control)
        if "access_control" in reading.resource and reading.resource["access_control"] is None:
            if restricted:
                return explicit(reading)
            # of what was never restricted, it is nothing new
            return Reading({name: value for name, value in reading.resource.items() if name != "access_control"}, reading.read_at)
        if row is None or not restricted or "access_control" in reading.resource or row.deleted_at is not None:
            return reading
        if self._untold >= _UNTOLD:
            return reading
        whole = await self._reader.whole(reading.asset_id)
        if whole is None:
            return reading
        rules = whole.resource.get("access_control") or []
        self._untold += bool(rules)
        # of the details no more than that: they say more of an asset than listings, and would always differ
        return Reading({**reading.resource, "access_control": rules}, reading.read_at)

    async def _next_page(self, progress: Progress) -> Page:
        listing = progress.listings[progress.at]
        try:
            page = await self._reader.page(listing, self._scope.prefix, progress.cursor)
        except (BadRequestError, NotFoundError) as error:
            if progress.cursor is None or listing in self._begun_anew:
                raise
            self._begun_anew.add(listing)
            log.warning("cursor expired, the listing begins anew", cloud=progress.cloud, listing=listing, reason=error.said)
            await self._sweeps.forget_marks(progress)
            progress.cursor = None
            page = await self._reader.page(listing, self._scope.prefix, None)
        return page

    async def _listings(self) -> list[Listing]:
        """Give the listings that make up the scope; those below a prefix need a delivery type."""
        if self._scope.prefix is None:
            return [Listing(resource_type) for resource_type in self._scope.resource_types]
        return [
            Listing(resource_type, delivery_type)
            for resource_type in self._scope.resource_types
            for delivery_type in sorted(_DELIVERY_TYPES | await self._sweeps.delivery_types(resource_type))
            if is_plausible(delivery_type)
        ]


def _name(reading: Reading, row: Asset | None) -> tuple[str | None, str | None, str | None]:
    return reading.name if row is None or reading.is_named else (row.resource_type, row.type, row.public_id)


def _counts(report: Report) -> dict[str, int]:
    progress = report.progress
    counts = {"listed": progress.listed, "calls": progress.calls, "published": progress.published, "missing": progress.missing}
    return counts | {f"drift_{kind}": found for kind, found in report.kinds.items()}
