"""A stand-in for Cloudinary beside a gateway and a mirror, and what a sweep needs."""

import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry

from service.cloudinary.announcer import Announcer
from service.cloudinary.client import Account, accounts
from service.database import Pool
from service.publisher import Publisher
from service.reconcile.refetch import Refetcher
from service.reconcile.sweep import Report, Sweep
from service.reconcile.sweeps import Scope
from service.settings import Settings
from service.telemetry import Metrics
from standin.asset import Asset
from standin.dialect import Dialect
from standin.options import Options
from standin.server import Standin, run_standin
from tests.bodies import CLOUD, KEY, SECRET
from tests.integration.conftest import Mirrored, eventually, mirrored_with

# Answers that need no second question, so that calls can be counted.
FEW_CALLS = Dialect(most_ids=100, enumerated_fields=False)


@dataclass
class Clock:
    """The stand-in's own time, which only passes when it is told to."""

    now: float = field(default_factory=lambda: float(int(time.time()) - 3000))

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Reconciling:
    """All of it at work."""

    settings: Settings
    pool: Pool
    mirrored: Mirrored
    standin: Standin
    clock: Clock
    account: Account
    announcer: Announcer
    metrics: Metrics
    announced: int = 0

    async def sweep(self, scope: Scope | None = None, *, settings: Settings | None = None, **options: Any) -> Report:
        """Sweep a little after all that has happened, and let the mirror apply what was announced."""
        self.clock.pass_by(3)
        sweep = Sweep(self.account, self.pool, self.announcer, settings or self.settings, scope or Scope(), settling=0, **options)
        report = await sweep.run()
        if not report.progress.scope.dry_run:
            self.announced += report.progress.published + report.progress.missing
        await self.settled()
        return report

    async def settled(self) -> None:
        """Wait until all that was delivered or announced is applied."""
        await self.standin.notifier.drained()

        async def all_applied() -> bool:
            return await self.mirrored.logged() >= self.standin.notifier.counts["delivered"] + self.announced

        await eventually(all_applied)

    @property
    def cloud_as_set(self) -> dict[str, Any]:
        """The cloud as MEDIAMIRROR_CLOUDS has it."""
        return {"keys": {KEY: SECRET.decode()}, "upload_prefix": self.standin.url}

    def refetcher(self) -> Refetcher:
        return Refetcher(self.account, self.pool, self.announcer, self.metrics, settling=0)

    def trigger(self) -> None:
        """Have notifications sent to the gateway."""
        self.standin.notifier.triggers.create(f"{self.mirrored.gateway}/webhooks/cloudinary/{CLOUD}", "all")

    async def live(self) -> dict[str, dict[str, Any]]:
        rows = await self.pool.fetch("SELECT * FROM media_assets WHERE deleted_at IS NULL")
        return {row["asset_id"]: dict(row) for row in rows}

    async def differences(self) -> list[str]:
        """In what the mirror and the account differ, asset by asset and field by field."""
        rows = await self.live()
        found = []
        for asset in self.standin.account.resources():
            row = rows.pop(asset["asset_id"], None)
            if row is None:
                found.append(f"{asset['public_id']}: no live row")
                continue
            expected = {name: asset.get(name) for name in _PLAIN} | {
                "tags": sorted(asset.get("tags", [])),
                "context": asset.get("context", {}).get("custom", {}),
                "metadata": asset.get("metadata", {}),
                "access_control": asset.get("access_control"),
                "moderation": {one["kind"]: {k: v for k, v in one.items() if k != "kind"} for one in asset.get("moderation", [])},
                "placeholder": asset.get("placeholder", False),
            }
            if self.standin.options.dialect.enumerated_fields and row["duration"] is None:
                del expected["duration"]  # which only notifications tell then
            if not expected["access_control"] and not row["access_control"]:
                del expected["access_control"]  # none, whether it was never set or is empty
            found += [
                f"{asset['public_id']}: {name} is {value!r}, the mirror shows {row[name]!r}"
                for name, value in expected.items()
                if row[name] != value
            ]
            found += [
                f"{asset['public_id']}: {name} is {asset[name]}, the mirror shows {row[name]}"
                for name in ("created_at", "uploaded_at")
                if row[name] != datetime.fromisoformat(asset[name])
            ]
        return found + [f"{row['public_id']}: there is no such asset" for row in rows.values()]


_PLAIN = (
    "public_id", "resource_type", "type", "format", "version", "version_id", "bytes", "width", "height", "duration", "etag",
    "asset_folder", "display_name",
)  # fmt: skip


@asynccontextmanager
async def reconciling_with(settings: Settings, pool: Pool, clock: Clock, **options: Any) -> AsyncIterator[Reconciling]:
    metrics = Metrics(CollectorRegistry())
    async with AsyncExitStack() as running:
        given: dict[str, Any] = {
            "cloud": CLOUD,
            "key": KEY,
            "secret": SECRET.decode(),
            "clock": clock,
            "retry_unit": 0.1,
            "seed": 1,
            "metadata_fields": {"brand": "string"},
        }
        standin = await running.enter_async_context(run_standin(Options(**given | {"hourly_limit": 100_000} | options)))
        cloud = settings.clouds[CLOUD].model_copy(update={"upload_prefix": standin.url})
        settings = settings.model_copy(update={"clouds": {CLOUD: cloud}, "reconcile_grace": 0})
        mirrored = await running.enter_async_context(mirrored_with(settings, pool))
        (account,) = (await running.enter_async_context(accounts(settings, pool, metrics))).values()
        publisher = await running.enter_async_context(Publisher(settings, metrics))
        yield Reconciling(settings, pool, mirrored, standin, clock, account, Announcer(publisher), metrics)


def live_through(standin: Standin, clock: Clock, operations: int, seed: int) -> None:
    """Do so many random things in the account."""
    chance = random.Random(seed)
    account = standin.account
    folders = ["", "a", "a/b", "c"]
    for number in range(operations):
        clock.pass_by(chance.choice((0.001, 0.3, 1, 2)))
        (living,) = account.store.connection.execute("SELECT count(*) FROM assets WHERE alive").fetchone()
        act = chance.random()
        if act < 0.3 or living < 20:
            _upload(standin, chance, number, folders)
            continue
        which = "SELECT * FROM assets WHERE alive ORDER BY seq LIMIT 1 OFFSET ?"
        asset = Asset.from_row(account.store.connection.execute(which, (chance.randrange(living),)).fetchone())
        name: dict[str, Any] = {"resource_type": asset.resource_type, "type": asset.type}
        if act < 0.4:
            account.destroy(asset.public_id, **name)
        elif act < 0.5:
            account.rename(asset.public_id, f"renamed/{seed}-{number}", **name)
        elif act < 0.53:
            top = chance.choice(sorted({path.partition("/")[0] for path in _folders(standin)} or {"a"}))
            if top in _folders(standin):
                account.rename_folder(top, f"moved{seed}-{number}")
        elif act < 0.57:
            account.upload(public_id=asset.public_id, **name)
        else:
            _change(standin, chance, asset.public_id, name, number)


def _folders(standin: Standin) -> set[str]:
    return {one["path"] for one in standin.account.all_folders()}


def _upload(standin: Standin, chance: random.Random, number: int, folders: list[str]) -> None:
    standin.account.upload(
        public_id=f"dir/{number}",
        resource_type=chance.choice(("image", "image", "video", "raw")),
        type=chance.choice(("upload", "upload", "private", "authenticated")),
        tags=chance.sample(["x", "y", "z"], chance.randrange(3)),
        context=chance.choice(({}, {"alt": "A"})),
        asset_folder=chance.choice(folders),
    )


def _change(standin: Standin, chance: random.Random, public_id: str, name: dict[str, Any], number: int) -> None:
    changes: list[dict[str, Any]] = [
        {"tags": chance.sample(["x", "y", "z", "w"], chance.randrange(4))},
        {"context": chance.choice(({}, {"alt": str(number)}, {"caption": "C"}))},
        {"metadata": {"brand": f"b{number}"}},
        {"display_name": f"Name {number}"},
        {"asset_folder": chance.choice(("", "a", "c/d"))},
        {"access_control": chance.choice(([], [{"access_type": "token"}]))},
    ]
    standin.account.update(public_id, **name, **chance.choice(changes))
