"""Kafka and PostgreSQL together, each ours or somebody else's."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import SecretStr

from service.embedded.datadir import claim_folder
from service.embedded.kafka import EmbeddedKafka
from service.embedded.lock import LockFile
from service.embedded.postgres import EmbeddedPostgres
from service.errors import DataFolderInUseError, UnusablePathError


class EmbeddedStack:
    """`async with` it: Kafka and PostgreSQL run in `data_dir`, except one whose address is given.

    Raises DataFolderInUseError when another one runs there, and what the servers raise when they can't be started.
    """

    def __init__(
        self, data_dir: Path, *, kafka_bootstrap: str | None, database_url: str | None, progress: Callable[[str], None]
    ) -> None:
        self.data_dir = data_dir.resolve()
        self._lock = LockFile(self.data_dir / "lock")
        self._external_kafka = kafka_bootstrap
        self._external_database = database_url
        self.kafka = EmbeddedKafka(self.data_dir, progress=progress)
        self.postgres = EmbeddedPostgres(self.data_dir)
        self._ours: list[EmbeddedKafka | EmbeddedPostgres] = []
        if not kafka_bootstrap:
            self._ours.append(self.kafka)
        if not database_url:
            self._ours.append(self.postgres)

    @property
    def kafka_bootstrap(self) -> str:
        """Where Kafka is."""
        return self._external_kafka or self.kafka.bootstrap

    @property
    def access(self) -> dict[str, Any]:
        """The settings of whoever uses what runs here, by their names in `Settings`; of what is somebody else's, none."""
        ours = self.kafka.access if self.kafka in self._ours else {}
        return ours | ({"database_url": SecretStr(self.postgres.dsn)} if self.postgres in self._ours else {})

    @property
    def passfile(self) -> Path | None:
        """The file with PostgreSQL's password, as `psql` reads it, if that is ours."""
        return self.postgres.passfile if self.postgres in self._ours else None

    @property
    def kafka_client(self) -> Path | None:
        """What other clients of Kafka than ours need to know, as Java reads it, if that is ours."""
        return self.kafka.client_file if self.kafka in self._ours else None

    @property
    def database_url(self) -> str:
        """Where PostgreSQL is."""
        return self._external_database or self.postgres.dsn

    async def __aenter__(self) -> Self:
        try:
            self._claim_folder()
            await self._start()
        except OSError as error:
            await self._stop()
            raise UnusablePathError(path=error.filename or self.data_dir, reason=error.strerror) from error
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop()

    def _claim_folder(self) -> None:
        claim_folder(self.data_dir)
        if not self._lock.acquire():
            raise DataFolderInUseError(folder=self.data_dir, owner=self._lock.owner)
        self._lock.name(os.getpid())

    async def _start(self) -> None:
        try:
            async with asyncio.TaskGroup() as starting:
                for server in self._ours:
                    starting.create_task(server.start())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None  # of the one that failed; the start of the other was cancelled

    async def _stop(self) -> None:
        try:
            await asyncio.gather(*(server.stop() for server in self._ours))
        finally:
            self._lock.release()
