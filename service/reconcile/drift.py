"""Drift: where the mirror and the account differed, and why they may have."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import asyncpg

from service.cloudinary.reading import RESOURCE_TYPES
from service.database import Pool
from service.errors import MediamirrorError
from service.reconcile.difference import Kind
from service.sql import query
from service.telemetry import Metrics

NOT_LOGGED = "no notification logged"
BYPASSED = "bypassed: another notification URL"
ASKED = "told of, but not what it is: the question is not answered yet"


class NoSweepError(MediamirrorError):
    """There is no sweep {which} to tell of. `mediamirror reconcile` makes one."""


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What a sweep found."""

    sweep: asyncpg.Record  # a row of media_sweeps
    findings: Sequence[asyncpg.Record]  # rows of media_drift


async def causes(pool: Pool, cloud: str, asset_ids: Collection[str]) -> dict[str, str]:
    """Give the likely cause of each asset's drift, from its lines in the sync log, which go back as far as that is kept.

    * A notification of it failed, and no reading has come since: that one.
    * One has told that something changed, but not what, and the account was not asked yet.
    * Notifications of it are logged, but none that told of this: deliveries of the asset do arrive, so the one that is missing
      was most likely sent elsewhere, by a call (or an upload preset) with a notification URL of its own. One that was lost on
      the way looks the same.
    * None is logged at all: lost, from before there was a mirror, or never sent.
    """
    if not asset_ids:
        return {}
    rows = await pool.fetch(query("reconciliation", "logged"), cloud, list(asset_ids))
    told = {
        row["asset_id"]: f"a notification failed: {row['failure']}"
        if row["failure"] is not None
        else ASKED
        if row["asked"]
        else BYPASSED
        if row["notifications"]
        else NOT_LOGGED
        for row in rows
    }
    return {asset_id: told.get(asset_id, NOT_LOGGED) for asset_id in asset_ids}


async def read_drift(pool: Pool, cloud: str | None, sweep: int | None) -> list[DriftReport]:
    """Give the findings of each cloud's last sweep that came to an end, or of the one asked for; raises `NoSweepError`."""
    sweeps = await pool.fetch(query("reconciliation", "sweeps"), cloud, sweep)
    if not sweeps:
        which = " ".join([*([str(sweep)] if sweep is not None else []), *([f"of {cloud}"] if cloud else [])])
        raise NoSweepError(which=which)
    findings = await pool.fetch(query("reconciliation", "findings"), [one["id"] for one in sweeps])
    return [DriftReport(one, [found for found in findings if found["sweep_id"] == one["id"]]) for one in sweeps]


async def measure(pool: Pool, metrics: Metrics) -> None:
    """Set the metrics of drift to what the last complete sweep of the whole of each cloud has found."""
    rows = await pool.fetch(query("reconciliation", "last_complete"), len(RESOURCE_TYPES))
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        metrics.swept_at.labels(row["cloud"]).set(row["finished_at"].timestamp())
        of_cloud = found.setdefault(row["cloud"], {})
        if row["kind"] is not None:
            of_cloud[row["kind"]] = row["found"]
    for cloud, of_cloud in found.items():
        for kind in Kind:
            metrics.drift.labels(cloud, kind).set(of_cloud.get(kind, 0))
