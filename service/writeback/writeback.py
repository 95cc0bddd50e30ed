"""The write-back: works operations off, cloud by cloud, until cancelled."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Protocol

import structlog

from service.cloudinary.announcer import Announcer
from service.cloudinary.client import Account
from service.cloudinary.errors import CredentialsError
from service.database import DatabaseUnreachableError, Pool
from service.mirror.patience import OUTAGES, answers
from service.publisher import Publisher
from service.settings import Settings
from service.telemetry import Metrics
from service.writeback.operations import Settled, Status
from service.writeback.store import CHANNEL, OperationStore
from service.writeback.uploads import Uploads
from service.writeback.writer import Writer

log = structlog.get_logger(__name__)

_POLL_SECONDS = 1.0  # a notice can be lost with its connection; a row can't. And time alone makes rows due
_CONFIRM_SECONDS = 2.0
_RECENT_SECONDS = 120.0
_LONG_AGO_SECONDS = 86400.0  # what was not looked at while we were away
_EXPIRE_SECONDS = 3600.0
_OUTAGE_SECONDS = 1.0
_REFUSED_SECONDS = 60.0
_FAILED_SECONDS = 5.0  # what it failed with waits for longer and longer, the others need not
_DRAIN_SECONDS = 10.0


class Worker(Protocol):
    """What works off batches of one cloud's operations."""

    async def batch(self, limit: int = ...) -> list[Settled]:
        """Do what is due, up to `limit` operations; gives what became of each."""


class Writeback:
    """All clouds' operations, shared with other such processes. A cloud's uploads go on beside its other operations."""

    def __init__(
        self, settings: Settings, pool: Pool, accounts: Mapping[str, Account], publisher: Publisher, metrics: Metrics
    ) -> None:
        self._pool = pool
        self._metrics = metrics
        self._store = OperationStore(settings, pool)
        self._accounts = accounts
        announcer = Announcer(publisher)
        self._workers: Sequence[tuple[str, Worker]] = [
            (name, worker)
            for name, account in accounts.items()
            for worker in (Writer(account, self._store), Uploads(account, self._store, announcer, settings))
        ]
        self._wakes = [asyncio.Event() for _ in self._workers]
        self._refused: set[str] = set()  # clouds that don't accept our credentials

    async def run(self) -> None:
        """Work until cancelled; outages are waited out, loudly. What is under way then is brought to its end, for ten seconds."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._keep_house())
            for (cloud, worker), wake in zip(self._workers, self._wakes, strict=True):
                tasks.create_task(self._work(cloud, worker, wake))

    async def process(self, limit: int) -> list[Settled]:
        """Do one batch of each cloud right now; gives what became of each operation. Raises `CredentialsError`."""
        settled: list[Settled] = []
        for cloud, worker in self._workers:
            if limit > len(settled):
                settled += await self._counted(cloud, worker.batch(limit - len(settled)))
        await self._confirm()
        return settled

    async def is_ready(self) -> bool:
        """Tell whether PostgreSQL answers, and every cloud accepts our credentials."""
        return not self._refused and await answers(self._pool)

    async def _work(self, cloud: str, worker: Worker, wake: asyncio.Event) -> None:
        while True:
            wake.clear()
            pause = _POLL_SECONDS
            try:
                settled = await _to_its_end(self._counted(cloud, worker.batch()))
                self._refused.discard(cloud)
                if settled:
                    continue
            except CredentialsError as error:
                self._refused.add(cloud)
                log.error("cloudinary refuses our credentials, operations wait", cloud=cloud, reason=str(error))
                await asyncio.sleep(_REFUSED_SECONDS)
            except (*OUTAGES, DatabaseUnreachableError) as error:
                log.error("operations wait for postgresql", cloud=cloud, reason=str(error) or repr(error))
                pause = _OUTAGE_SECONDS
            except Exception:
                # in what this cloud's operations show; it is not to stop the others, nor the roles beside
                log.exception("operations wait, the write-back failed", cloud=cloud)
                pause = _FAILED_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await wake.wait()

    async def _counted(self, cloud: str, batch: Coroutine[object, object, list[Settled]]) -> list[Settled]:
        settled = await batch
        for one in settled:
            operation = one.operation
            self._metrics.operations.labels(cloud, operation.kind, one.status).inc()
            if one.status is Status.FAILED:
                log.error("operation failed", operation=operation.id, cloud=cloud, kind=operation.kind, reason=one.error)
            elif one.status is Status.PENDING:
                log.warning(
                    "operation is tried again",
                    operation=operation.id,
                    cloud=cloud,
                    kind=operation.kind,
                    attempts=operation.attempts,
                    reason=one.error,
                )
        return settled

    async def _listen(self) -> None:
        """Wake the workers when operations are put in the queue. While this can't be, polling finds them."""
        while True:
            try:
                await self._listen_once()
            except OUTAGES as error:
                log.warning("no notices of operations for now", reason=str(error) or repr(error))
            await asyncio.sleep(_OUTAGE_SECONDS)

    async def _listen_once(self) -> None:
        lost = asyncio.Event()
        async with self._pool.acquire() as connection:
            connection.add_termination_listener(lambda _: lost.set())
            try:
                await connection.add_listener(CHANNEL, self._noticed)
                await lost.wait()
            finally:
                # the listener ends with the connection, which must not serve anybody else
                connection.terminate()

    def _noticed(self, *_: object) -> None:
        for wake in self._wakes:
            wake.set()

    async def _keep_house(self) -> None:
        expired_at = float("-inf")
        while True:
            try:
                if time.monotonic() - expired_at > _EXPIRE_SECONDS:
                    await self._store.expire()
                    await self._confirm(_LONG_AGO_SECONDS)
                    expired_at = time.monotonic()
                await self._confirm()
            except OUTAGES as error:
                log.warning("operations not confirmed", reason=str(error) or repr(error))
            except Exception:
                log.exception("operations not confirmed")
            await asyncio.sleep(_CONFIRM_SECONDS)

    async def _confirm(self, seconds: float = _RECENT_SECONDS) -> None:
        for name, account in self._accounts.items():
            await self._store.confirm(name, f"api:{account.key_id}", seconds)


async def _to_its_end(batch: Coroutine[object, object, list[Settled]]) -> list[Settled]:
    """Run a batch; when we are cancelled, let it come to its end, so that nothing is left to a lease."""
    task = asyncio.create_task(batch)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=_DRAIN_SECONDS)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen
        raise
