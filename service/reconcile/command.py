"""`mediamirror reconcile` and `mediamirror reconciler`."""

import asyncio
import sys
from typing import Annotated

import typer
from prometheus_client import CollectorRegistry

from service import supervisor
from service.cloudinary.announcer import Announcer
from service.cloudinary.client import Account, accounts
from service.cloudinary.reading import RESOURCE_TYPES
from service.database import connect, reachable, require_schema
from service.errors import MediamirrorError
from service.kafka import require_kafka
from service.options import DATA_DIR, DataDir, Json, command_settings
from service.printing import print_json
from service.publisher import Publisher
from service.reconcile.meter import SweepMeter, metered_sweep
from service.reconcile.reconciler import run_reconciler
from service.reconcile.sweep import Report, Sweep
from service.reconcile.sweeps import Progress, Scope
from service.reloading import KeyReload
from service.replay.subject import require_cloud
from service.settings import Settings, load_settings
from service.sql import query
from service.telemetry import Metrics, configure_logging
from service.terminal import say


class UnknownResourceTypeError(MediamirrorError):
    """There is no resource type {given}; Cloudinary has {known}."""

    exit_code = 2


def reconciler() -> None:
    """Answer the mirror's questions from the Admin API, and sweep every account now and then."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    supervisor.run(run_reconciler(settings, Metrics()), KeyReload(settings))


def reconcile(
    *,
    cloud: Annotated[str | None, typer.Option(help="Only this cloud.")] = None,
    types: Annotated[list[str] | None, typer.Option("--type", help="Only image, video or raw; may be repeated.")] = None,
    prefix: Annotated[str | None, typer.Option(help="Only public ids that begin so.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only find what differs. Exits with 1 if anything does.")] = False,
    accept_missing: Annotated[
        int, typer.Option(min=0, metavar="N", help="Let up to N rows go that the account doesn't have, beyond the cap.")
    ] = 0,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """List every asset of the account, and repair what the mirror has missed. Exits with 1 unless the sweep came to its end.

    A sweep that was stopped goes on where it stood, if it is begun again in the same way within two hours. It stays within
    reconciliation's share of the Admin API's hourly calls, and waits for the next hour when that is used up.
    """
    if unknown := sorted(set(types or ()) - set(RESOURCE_TYPES)):
        raise UnknownResourceTypeError(given=", ".join(unknown), known=", ".join(RESOURCE_TYPES))
    chosen = [one for one in RESOURCE_TYPES if not types or one in types]
    settings = command_settings(data_dir)
    require_kafka(settings)
    settings.require_clouds()
    require_cloud(settings, cloud)
    scope = Scope(chosen, prefix or None, dry_run)
    reports: list[Report] = []
    supervisor.run(_reconcile(settings, cloud, scope, accept_missing, reports, as_json=json))
    clouds = 1 if cloud else len(settings.clouds)
    if len(reports) < clouds or any(_is_amiss(report, dry_run=dry_run) for report in reports):
        sys.exit(1)


def _is_amiss(report: Report, *, dry_run: bool) -> bool:
    return report.status != "complete" or (dry_run and bool(report.kinds))


async def _reconcile(
    settings: Settings, cloud: str | None, scope: Scope, accept_missing: int, reports: list[Report], *, as_json: bool
) -> None:
    metrics = Metrics(CollectorRegistry())
    async with connect(settings) as pool:
        with reachable():
            await require_schema(pool)
            counted = await pool.fetch(query("reconciliation", "alive_by_cloud"), list(scope.resource_types), scope.prefix)
        expected = {row["cloud"]: row["alive"] for row in counted}
        async with accounts(settings, pool) as open_accounts, Publisher(settings, metrics) as publisher:
            for account in open_accounts.values():
                if cloud not in (None, account.name):
                    continue
                with metered_sweep(account.name, expected.get(account.name, 0), quiet=as_json) as meter, reachable():
                    watched = _watched(account, meter)
                    sweep = Sweep(
                        account,
                        pool,
                        Announcer(publisher),
                        settings,
                        scope,
                        accept_missing=accept_missing,
                        observe=watched.put_nowait,
                    )
                    showing = asyncio.create_task(_show(account, meter, watched))
                    try:
                        report = await sweep.run()
                    finally:
                        showing.cancel()
                        await asyncio.gather(showing, return_exceptions=True)  # what is shown is not worth an error
                reports.append(report)
                _print(report, as_json=as_json)


def _watched(account: Account, meter: SweepMeter) -> "asyncio.Queue[Progress]":
    if account.budget:
        account.budget.on_pause = meter.waiting
    return asyncio.Queue()


async def _show(account: Account, meter: SweepMeter, pages: "asyncio.Queue[Progress]") -> None:
    """Show each page as it comes, with what is left of the budget."""
    while True:
        progress = await pages.get()
        meter.going_on()
        meter.advance(progress, (await account.budget.state()).share_left if account.budget else 0)


def _print(report: Report, *, as_json: bool) -> None:
    progress = report.progress
    if as_json:
        print_json(
            {
                "cloud": progress.cloud,
                "sweep": progress.id,
                "status": report.status,
                "reason": report.reason,
                "dry_run": progress.scope.dry_run,
                "resumed": progress.resumed,
                "listed": progress.listed,
                "calls": progress.calls,
                "published": progress.published,
                "missing": progress.missing,
                "drift": report.kinds,
            }
        )
        return
    drift = ", ".join(f"{found:,} {kind}" for kind, found in sorted(report.kinds.items()))
    drift = drift or ("none, the readings tell what webhooks leave out" if progress.published else "none")
    would = "would be " if progress.scope.dry_run else ""
    say(
        f"{progress.cloud}: sweep {progress.id} {report.status}: {progress.listed:,} listed in {progress.calls:,} calls,"
        f" {progress.published:,} readings and {progress.missing:,} ends {would}published; drift: {drift}"
    )
    if report.reason:
        say(f"{progress.cloud}: {report.reason}")
