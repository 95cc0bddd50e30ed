"""The reconciler: answers the mirror's questions, and sweeps each account now and then."""

import asyncio
import time
from collections.abc import Mapping

import structlog
from aiohttp import web

from service.cloudinary.announcer import Announcer
from service.cloudinary.client import Account, accounts
from service.cloudinary.errors import CloudinaryError
from service.cloudinary.reading import RESOURCE_TYPES
from service.database import DatabaseUnreachableError, Pool, connect, require_schema
from service.health import Health
from service.http import serve
from service.kafka import require_kafka
from service.mirror.patience import OUTAGES, answers
from service.publisher import NotDurableError, Publisher
from service.reconcile.drift import measure
from service.reconcile.refetch import Refetcher
from service.reconcile.sweep import Sweep, SweepUnderWayError
from service.reconcile.sweeps import Scope, locked
from service.rights import Group
from service.settings import Settings
from service.sql import query
from service.telemetry import Metrics

log = structlog.get_logger(__name__)

_LEADER_SECONDS = 1.0
_RESTART_SECONDS = 0.5
_LONGEST_RESTART_SECONDS = 10.0
_FAILED_SECONDS = 60.0  # after a fault of ours, which may cost calls each time
_POLL_SECONDS = 2.0  # for questions
_LOOK_SECONDS = 30.0  # for a sweep that is due
_AGAIN_SECONDS = 600.0  # after a sweep that broke off
_MOST_PATIENT_SECONDS = 60.0  # between tries when Cloudinary does not answer questions
_HOUR_SECONDS = 3600.0

_AWAY = (*OUTAGES, DatabaseUnreachableError)


class Reconciler:
    """Works for each cloud for which it leads; others stand by.

    The readings go through `publisher`, which is open. Outages are waited out, loudly.
    """

    def __init__(
        self, settings: Settings, pool: Pool, accounts: Mapping[str, Account], publisher: Publisher, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._accounts = accounts
        self._announcer = Announcer(publisher)
        self._metrics = metrics

    async def run(self) -> None:
        """Reconcile until cancelled."""
        async with asyncio.TaskGroup() as clouds:
            for account in self._accounts.values():
                clouds.create_task(self._serve(account))

    async def is_ready(self) -> bool:
        """Tell whether PostgreSQL answers."""
        return await answers(self._pool)

    async def _serve(self, account: Account) -> None:
        patience = _RESTART_SECONDS
        while True:
            failed = False
            began = time.monotonic()
            try:
                await self._lead(account)
            except* _AWAY as errors:
                log.error("reconciler starts anew", cloud=account.name, reason=_reason(errors))
            except* Exception as errors:
                # in what this cloud shows; it is not to stop the others
                failed = True
                log.exception("reconciler failed, and starts anew", cloud=account.name, reason=_reason(errors))
            has_led = time.monotonic() - began > _LONGEST_RESTART_SECONDS
            patience = _RESTART_SECONDS if has_led else min(patience * 2, _LONGEST_RESTART_SECONDS)
            await asyncio.sleep(_FAILED_SECONDS if failed else patience)

    async def _lead(self, account: Account) -> None:
        async with locked(self._pool, f"media_reconciler {account.name}", try_every=_LEADER_SECONDS) as lock:
            assert lock is not None  # noqa: S101  # it was waited for
            log.info("reconciler leads", cloud=account.name)
            async with asyncio.TaskGroup() as work:
                asking = work.create_task(self._answer(account))
                sweeping = work.create_task(self._sweep_when_due(account))
                # tried again and again, since nobody is told when a connection that rests is cut
                while not lock.is_closed():  # noqa: ASYNC110
                    await asyncio.sleep(_LEADER_SECONDS)
                asking.cancel()
                sweeping.cancel()

    async def _answer(self, account: Account) -> None:
        refetcher = Refetcher(account, self._pool, self._announcer, self._metrics)
        patience = _POLL_SECONDS
        while True:
            try:
                answered = await refetcher.turn()
                patience = _POLL_SECONDS
            except (CloudinaryError, NotDurableError) as error:
                log.error("questions stay unanswered", cloud=account.name, reason=str(error) or repr(error))
                answered = 0
                patience = min(patience * 2, _MOST_PATIENT_SECONDS)
            if not answered:
                await asyncio.sleep(patience)

    async def _sweep_when_due(self, account: Account) -> None:
        while True:
            await measure(self._pool, self._metrics)
            if await self._is_due(account):
                try:
                    await Sweep(account, self._pool, self._announcer, self._settings, Scope()).run()
                except SweepUnderWayError as error:
                    log.info("sweep put off", cloud=account.name, reason=str(error))
                await measure(self._pool, self._metrics)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _is_due(self, account: Account) -> bool:
        every = self._settings.reconcile_every * _HOUR_SECONDS
        if not every:
            return False
        about = (account.name, every, min(every, _AGAIN_SECONDS), len(RESOURCE_TYPES))
        return bool(await self._pool.fetchval(query("reconciliation", "is_due"), *about))


def _reason(errors: BaseExceptionGroup[BaseException]) -> str:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or repr(error)


async def run_reconciler(settings: Settings, metrics: Metrics) -> None:
    """Reconcile until cancelled, with /livez, /readyz and /metrics. One that leads nothing stands by, and is ready."""
    require_kafka(settings)
    settings.require_clouds()
    async with connect(settings, size=4 + 3 * len(settings.clouds)) as pool:
        await require_schema(pool, Group.RECONCILER)
        async with accounts(settings, pool, metrics) as open_accounts, Publisher(settings, metrics) as publisher:
            reconciler = Reconciler(settings, pool, open_accounts, publisher, metrics)
            app = web.Application()
            Health(metrics, {"postgresql": reconciler.is_ready, "kafka": publisher.is_ready}).add_routes(app)
            async with (
                asyncio.TaskGroup() as roles,
                serve(app, settings.reconciler_host, settings.reconciler_port, shutdown_timeout=1),
            ):
                await roles.create_task(reconciler.run())
