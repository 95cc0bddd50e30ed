"""`mediamirror drift`: what the last sweep found."""

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import orjson
import typer

from service import supervisor
from service.database import connect, reachable, require_schema
from service.options import DATA_DIR, DataDir, Json, command_settings
from service.printing import Lines, print_json, print_rows
from service.reconcile.drift import DriftReport, read_drift
from service.replay.subject import require_cloud
from service.settings import Settings
from service.terminal import say

_LONGEST = 60


def drift(
    *,
    cloud: Annotated[str | None, typer.Option(help="Only this cloud.")] = None,
    sweep: Annotated[int | None, typer.Option(metavar="ID", help="What this sweep found, instead of the last.")] = None,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Print in what the mirror differed from the account at the last sweep, and why it may have. Exits with 1 if it did."""
    settings = command_settings(data_dir)
    if settings.clouds:
        require_cloud(settings, cloud)
    reports: list[DriftReport] = []
    supervisor.run(_drift(settings, cloud, sweep, reports, as_json=json))
    if any(report.findings for report in reports):
        sys.exit(1)


async def _drift(settings: Settings, cloud: str | None, sweep: int | None, reports: list[DriftReport], *, as_json: bool) -> None:
    async with connect(settings, size=1) as pool:
        with reachable():
            await require_schema(pool)
            reports += await read_drift(pool, cloud, sweep)
    for report in reports:
        if as_json:
            for finding in report.findings:
                print_json(dict(finding))
        else:
            _print(report)


def _print(report: DriftReport) -> None:
    sweep = report.sweep
    ended = f"{sweep['finished_at']:%Y-%m-%d %H:%M:%S}" if sweep["finished_at"] else "still under way"
    repaired = "a dry run" if sweep["dry_run"] else sweep["status"]
    found = f"{len(report.findings):,} of {sweep['listed']:,} differ" if report.findings else "nothing differs"
    say(f"{sweep['cloud']}: sweep {sweep['id']} ({repaired}, {ended}): {found}")
    if sweep["reason"]:
        say(f"{sweep['cloud']}: {sweep['reason']}")
    if not report.findings:
        return
    rows = [
        {
            "asset": finding["public_id"] or finding["asset_id"],
            "asset_id": finding["asset_id"],
            "kind": finding["kind"],
            "mirror → account": Lines(_in_words(finding["fields"])),
            "likely cause": finding["cause"],
        }
        for finding in report.findings
    ]
    print_rows(rows, ("asset", "asset_id", "kind", "mirror → account", "likely cause"), as_json=False)


def _in_words(fields: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [f"{name}: {_short(values['mirror'])} → {_short(values['account'])}" for name, values in fields.items()] or ["-"]


def _short(value: object) -> str:
    if value is None or value in ([], {}, ""):
        return "-"
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
