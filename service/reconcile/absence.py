"""What a complete listing did not show: read again one by one, and taken for gone only then, and never too much of it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import structlog

from service.cloudinary.announcer import Told
from service.cloudinary.reading import BATCH, Reader, Reading
from service.errors import MediamirrorError
from service.reconcile.difference import Kind, is_gone
from service.reconcile.sweeps import Finding, Progress, Sweeps
from service.settings import Settings

log = structlog.get_logger(__name__)

# Below that many rows, a share of them says nothing.
_FEW = 10
# Assets just listed that are asked for with the unseen ones: an answer without any of them is none.
_WITNESSES = 3


class RefusedError(MediamirrorError):
    """Nothing was deleted: {why}. When that is right, `mediamirror reconcile --accept-missing N` lets up to N rows go."""

    def __init__(self, *, why: str, findings: Sequence[Finding] = ()) -> None:
        super().__init__(why=why)
        self.findings = findings  # so far


class _Gone(NamedTuple):
    reading: Reading  # of its absence
    kind: Kind  # of drift


class Comparing(Protocol):
    """What a sweep does with readings."""

    async def compare(self, progress: Progress, readings: Sequence[Reading]) -> list[Finding]:
        """Announce the readings that differ, and give those that are drift."""

    async def announce(self, progress: Progress, told: Told, readings: Sequence[Reading]) -> None:
        """Put readings on the log."""

    async def why(self, progress: Progress, asset_ids: Sequence[str]) -> dict[str, str]:
        """Give likely causes."""


class Absence:
    """Concludes from what a sweep has not seen, or only as the placeholder of what was deleted."""

    def __init__(self, sweeps: Sweeps, reader: Reader, settings: Settings, accept_missing: int) -> None:
        self._sweeps = sweeps
        self._reader = reader
        self._grace = settings.reconcile_grace
        self._cap = settings.reconcile_cap
        self._accepted = accept_missing

    async def conclude(self, progress: Progress, sweep: Comparing) -> list[Finding]:
        """Announce as missing what the account does not have, all of it or nothing; raises `RefusedError` when it is too much."""
        alive = await self._sweeps.alive(progress)
        if not progress.listed and alive > self._accepted:
            raise RefusedError(why=f"the account lists no assets, and the mirror has {alive:,}")
        most = max(int(self._cap * alive), _FEW if self._cap else 0, self._accepted)
        witnesses = await self._sweeps.listed(progress, _WITNESSES)
        findings: list[Finding] = []
        gone: list[_Gone] = []
        after = ""
        while unseen := await self._sweeps.unseen(progress, self._grace, after, BATCH - len(witnesses)):
            after = max(unseen)
            # what our deletions have ended is told like all else; what they are ending now, they tell themselves
            for asset_id in await self._sweeps.under_way(unseen, ended=False):
                del unseen[asset_id]
            there, absent = await self._read_again(progress, unseen, witnesses, sweep)
            findings += await sweep.compare(progress, there)
            gone += absent
            if len(gone) > most:
                raise RefusedError(
                    why=f"more than {most:,} of the mirror's {alive:,} live rows are not in the account, and the cap is"
                    f" {self._cap:.0%} (MEDIAMIRROR_RECONCILE_CAP)",
                    findings=[*findings, *await self._found(progress, gone, sweep, announced=False)],
                )
        await sweep.announce(progress, Told.MISSING, [reading for reading, _ in gone])
        progress.missing += len(gone)
        return [*findings, *await self._found(progress, gone, sweep, announced=True)]

    async def _read_again(
        self, progress: Progress, unseen: Mapping[str, bool], witnesses: Sequence[str], sweep: Comparing
    ) -> tuple[list[Reading], list[_Gone]]:
        """Give the readings of those that are there after all, and what is gone."""
        rows = await self._sweeps.rows(unseen)
        there: list[Reading] = []
        absent: list[_Gone] = []
        named: list[Reading] = []
        for asked, found in await self._reader.by_keys(unseen, witnesses):
            if found.refused is not None:
                log.warning("rows that can't be asked about", cloud=progress.cloud, assets=asked, reason=str(found.refused))
                continue
            for asset_id in asked:
                reading = found.readings.get(asset_id)
                if reading is not None and not is_gone(reading):
                    there.append(reading)
                    named += [reading] if reading.asset_id != asset_id else []
                elif row := rows.get(asset_id):
                    name = {"public_id": row.public_id, "resource_type": row.resource_type, "type": row.type}
                    gone = Reading({"asset_id": asset_id, **name}, reading.read_at if reading else found.read_at)
                    is_placeholder = reading is not None or unseen[asset_id]
                    absent.append(_Gone(gone, Kind.TOMBSTONE if is_placeholder else Kind.EXTRA))
        # whatever they say, from them the mirror learns the id of a row that was only named, and whose it is
        await sweep.announce(progress, Told.SNAPSHOT, named)
        progress.published += len(named)
        return [reading for reading in there if reading not in named], absent

    async def _found(self, progress: Progress, gone: Sequence[_Gone], sweep: Comparing, *, announced: bool) -> list[Finding]:
        causes = await sweep.why(progress, [reading.asset_id for reading, _ in gone])
        return [
            Finding(
                asset_id=reading.asset_id,
                resource_type=reading.resource["resource_type"],
                type=reading.resource["type"],
                public_id=reading.resource["public_id"],
                kind=kind,
                fields={"deleted_at": {"mirror": None, "account": reading.read_at}} if kind is Kind.TOMBSTONE else {},
                cause=causes[reading.asset_id],
                announced=announced,
            )
            for reading, kind in gone
        ]
