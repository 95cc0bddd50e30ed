"""What a complete listing did not show: read again one by one, and taken for gone only then, and never too much of it."""

from collections.abc import Sequence
from typing import Protocol

from service.cloudinary.announcer import Told
from service.cloudinary.reading import BATCH, Reader, Reading
from service.errors import MediamirrorError
from service.reconcile.difference import Kind, is_gone
from service.reconcile.sweeps import Finding, Progress, Sweeps
from service.settings import Settings

# Below that many rows, a share of them says nothing.
_FEW = 10


class RefusedError(MediamirrorError):
    """Nothing was deleted: {why}. When that is right, `mediamirror reconcile --accept-missing N` lets up to N rows go."""

    def __init__(self, *, why: str, findings: Sequence[Finding] = ()) -> None:
        super().__init__(why=why)
        self.findings = findings  # so far


class Comparing(Protocol):
    """What a sweep does with readings."""

    async def compare(self, progress: Progress, readings: Sequence[Reading]) -> list[Finding]:
        """Announce the readings that differ, and give those that are drift."""

    async def announce(self, progress: Progress, told: Told, readings: Sequence[Reading]) -> None:
        """Put readings on the log."""

    async def why(self, progress: Progress, asset_ids: Sequence[str]) -> dict[str, str]:
        """Give likely causes."""


class Absence:
    """Concludes from what a sweep has not seen."""

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
        most = max(int(self._cap * alive), _FEW, self._accepted)
        findings: list[Finding] = []
        gone: list[Reading] = []
        after = ""
        while unseen := await self._sweeps.unseen(progress, self._grace, after, BATCH):
            after = unseen[-1]
            deleting = await self._sweeps.under_way(unseen)
            there, absent = await self._read_again([asset_id for asset_id in unseen if asset_id not in deleting])
            findings += await sweep.compare(progress, there)
            gone += absent
            if len(gone) > most:
                raise RefusedError(
                    why=f"more than {most:,} of the mirror's {alive:,} live rows are not in the account, and the cap is"
                    f" {self._cap:.0%} (MEDIAMIRROR_RECONCILE_CAP)",
                    findings=[*findings, *await self._found(progress, gone, sweep, announced=False)],
                )
        await sweep.announce(progress, Told.MISSING, gone)
        progress.missing += len(gone)
        return [*findings, *await self._found(progress, gone, sweep, announced=True)]

    async def _read_again(self, asset_ids: Sequence[str]) -> tuple[list[Reading], list[Reading]]:
        """Give the readings of those that are there after all, and of those that are not."""
        rows = await self._sweeps.rows(asset_ids)
        there: list[Reading] = []
        absent: list[Reading] = []
        for asked, found in await self._reader.by_keys(asset_ids):
            for asset_id in asked:
                reading = found.readings.get(asset_id)
                if reading is not None and not is_gone(reading):
                    there.append(reading)
                elif row := rows.get(asset_id):
                    name = {"public_id": row.public_id, "resource_type": row.resource_type, "type": row.type}
                    absent.append(Reading({"asset_id": asset_id, **name}, reading.read_at if reading else found.read_at))
        return there, absent

    async def _found(self, progress: Progress, gone: Sequence[Reading], sweep: Comparing, *, announced: bool) -> list[Finding]:
        causes = await sweep.why(progress, [reading.asset_id for reading in gone])
        return [
            Finding(
                asset_id=reading.asset_id,
                resource_type=reading.resource["resource_type"],
                type=reading.resource["type"],
                public_id=reading.resource["public_id"],
                kind=Kind.EXTRA,
                fields={},
                cause=causes[reading.asset_id],
                announced=announced,
            )
            for reading in gone
        ]
