"""One cloud's APIs, through the official SDK in threads of its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import structlog

from service.cloudinary.answer import Answer, allowance_of, date_of, error_of
from service.cloudinary.budget import Budget
from service.cloudinary.errors import CloudinaryError, RateLimitedError
from service.cloudinary.habits import Habits
from service.cloudinary.purpose import Purpose
from service.cloudinary.transport import Connections, Exchange
from service.database import DatabaseUnreachableError, Pool
from service.settings import Cloud, Settings
from service.telemetry import Metrics

__all__ = ["Account", "Answer", "Purpose", "accounts"]

log = structlog.get_logger(__name__)

# Of cloudinary.api, but not of the Admin API: what they cost, if anything, their answers tell.
_NOT_HOURLY = frozenset({"notifications", "ack_notifications"})
_LEAVE_SECONDS = 5.0  # for the calls in flight, when told to stop
_CUT_EVERY_SECONDS = 0.1


class Account:
    """One cloud's APIs. Use as `async with`; leaving waits a moment for the calls in flight, then cuts them off.

    Without a budget nothing is counted, and nothing waits: for checks.
    """

    def __init__(
        self, name: str, cloud: Cloud, settings: Settings, budget: Budget | None, metrics: Metrics | None = None
    ) -> None:
        self.name = name
        self._keyring = cloud.keyring
        self.budget = budget
        self.habits = Habits()
        self._metrics = metrics
        self._workers = settings.cloudinary_threads
        self._credentials: dict[str, object] = {
            "cloud_name": name,
            "upload_prefix": cloud.upload_prefix,
            # else those in the environment would be used instead
            "oauth_token": None,
            "signature_algorithm": "sha256",  # which every account accepts, and some alone
            "signature_version": 2,
        }
        self._timeout = settings.cloudinary_timeout
        self._threads: ThreadPoolExecutor | None = None
        self._connections: Connections | None = None

    @property
    def key_id(self) -> str:
        """The API key that signs for us, now."""
        return self._keyring.signing[0]

    @property
    def secret(self) -> bytes:
        """Its secret."""
        return self._keyring.signing[1].encode()

    async def __aenter__(self) -> Self:
        self._connections = Connections(self._workers)
        self._threads = ThreadPoolExecutor(self._workers, thread_name_prefix=f"cloudinary-{self.name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._threads and self._connections:
            ending = asyncio.ensure_future(asyncio.to_thread(self._threads.shutdown, cancel_futures=True))
            try:
                if not (await asyncio.wait([ending], timeout=_LEAVE_SECONDS))[0]:
                    log.warning("calls of cloudinary cut off, they may have taken effect", cloud=self.name)
            finally:
                while not ending.done():  # again and again: a connection may just have been made
                    self._connections.cut()
                    await asyncio.wait([ending], timeout=_CUT_EVERY_SECONDS)
            self._connections.close()

    async def call(self, function: Callable[..., Any], *args: object, purpose: Purpose, **options: object) -> Answer:
        """Call a function of the SDK's, such as `cloudinary.api.resources`, with this account's credentials.

        Whatever is not of `cloudinary.uploader` counts as a call of the Admin API: it waits for the budget, and when the limit is
        reached nevertheless, until Cloudinary takes calls again; with `Purpose.CHECK` it never waits. `timeout` (seconds) may be
        among the options. Raises a `CloudinaryError`.
        """
        name = _name_of(function)
        hourly = self.budget if purpose is not Purpose.CHECK and _is_hourly(function, name) else None
        while True:
            if hourly:
                await hourly.take(purpose)
            exchange = Exchange(self._open_connections)
            try:
                return await self._exchange(exchange, function, name, args, options)
            except RateLimitedError as limited:
                if hourly is None:
                    raise
                log.warning("cloudinary takes no more calls", cloud=self.name, function=name, seconds=limited.resets_in)
                await hourly.pause(limited.resets_in)
            except CloudinaryError:
                if hourly and exchange.unsent:
                    await hourly.give_back(purpose)
                raise
            finally:
                await self._learn(exchange)

    async def _learn(self, exchange: Exchange) -> None:
        if self.budget and (allowance := allowance_of(exchange.headers)):
            try:
                await self.budget.feed(allowance)
            except DatabaseUnreachableError as error:
                log.warning(
                    "budget not told", cloud=self.name, error=str(error)
                )  # the call itself is done, and its answer counts

    @property
    def _open_connections(self) -> Connections:
        if self._connections is None:
            msg = "an account is used as `async with`"
            raise RuntimeError(msg)
        return self._connections

    async def _exchange(
        self, exchange: Exchange, function: Callable[..., Any], name: str, args: tuple[object, ...], options: dict[str, object]
    ) -> Answer:
        # a preset in the environment is no business of ours
        given = {"timeout": self._timeout, "upload_preset": None, **options, **self._credentials}
        given["api_key"], given["api_secret"] = self._keyring.signing

        def run() -> tuple[dict[str, Any], float]:
            started = time.monotonic()
            body = exchange.run(function, *args, **given)
            return body, time.monotonic() - started

        try:
            body, seconds = await asyncio.get_running_loop().run_in_executor(self._threads, run)
        except Exception as error:
            if exchange.status is None and exchange.failure is None:
                raise  # nothing was sent: the call was not made as the SDK wants it
            raise self._counted(error_of(exchange, self.name, name), name) from error
        if exchange.status is None or exchange.status >= HTTPStatus.BAD_REQUEST:
            raise self._counted(error_of(exchange, self.name, name), name)  # the SDK looks for "error" in the body alone
        self._count(name, "ok")
        return Answer(body, date_of(exchange.headers), seconds, allowance_of(exchange.headers))

    def _counted(self, error: CloudinaryError, name: str) -> CloudinaryError:
        self._count(name, type(error).__name__)
        return error

    def _count(self, name: str, outcome: str) -> None:
        if self._metrics:
            self._metrics.cloudinary_calls.labels(self.name, name, outcome).inc()


def _name_of(function: Callable[..., Any]) -> str:
    owner = getattr(function, "__self__", None)
    return type(owner).__name__ if owner is not None else getattr(function, "__name__", type(function).__name__)


def _is_hourly(function: Callable[..., Any], name: str) -> bool:
    return getattr(function, "__module__", None) != "cloudinary.uploader" and name not in _NOT_HOURLY


@asynccontextmanager
async def accounts(settings: Settings, pool: Pool, metrics: Metrics | None = None) -> AsyncIterator[dict[str, Account]]:
    """Open every configured cloud; raises `NoCloudError`."""
    async with AsyncExitStack() as opened:
        yield {
            name: await opened.enter_async_context(Account(name, cloud, settings, Budget(pool, name, settings, metrics), metrics))
            for name, cloud in settings.require_clouds().items()
        }
