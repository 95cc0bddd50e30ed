"""A real PostgreSQL, on loopback."""

import os
import pwd
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import asyncpg

from service.embedded.command import Account, Command, Log
from service.embedded.ports import remembered_port
from service.embedded.postgres_programs import server_programs
from service.embedded.process import ServerProcess

_NAME: Final = "mediamirror"  # of the superuser and of the database
_CONNECT_SECONDS: Final = 2
_FAST_SHUTDOWN: Final = signal.SIGINT  # open transactions are rolled back, not waited for


class EmbeddedPostgres:
    """PostgreSQL in `data_dir`/postgres, its log in `data_dir`/logs/postgres.log.

    Stopped or killed, it can be started again on the same data: by the same object on the same port, and by the next run, too,
    if that is still free. `port` asks for a certain one. A second object on the same folder ends the server of the first.
    """

    def __init__(self, data_dir: Path, *, port: int = 0) -> None:
        self._folder = data_dir / "postgres"
        self._data = self._folder / "data"
        self._log = Log("PostgreSQL", data_dir / "logs" / "postgres.log")
        self._process = ServerProcess(log=self._log, pid_file=self._folder / "pid")
        self._port = port

    @property
    def dsn(self) -> str:
        """What clients connect to; known once it was started."""
        return self._dsn(_NAME)

    async def start(self) -> None:
        """Return when the database answers queries; raises EmbeddedProgramError or MissingProgramError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        programs = server_programs(self._data)
        account = _unprivileged_account()
        async with self._process.claim(_FAST_SHUTDOWN) as previous:
            self._port = self._port or remembered_port(self._folder / "port")
            if not self._data.exists():
                await self._initialise(programs, account)
            self._forget(previous)
            with _reachable(self._data, account) as (path, inherited):
                listen = ["-p", str(self._port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
                argv = [str(programs / "postgres"), "-D", path, *listen]
                server = Command(argv, cwd=Path("/"), stop_signal=_FAST_SHUTDOWN, account=account, inherited=inherited)
                await self._process.start(server, ready=self._is_ready)

    async def stop(self) -> None:
        """Shut down in good order; whoever is connected is disconnected."""
        await self._process.stop()

    async def kill(self) -> None:
        """Crash it."""
        self._process.kill()

    async def _initialise(self, programs: Path, account: Account | None) -> None:
        """Make an empty cluster, in a folder that gets its name only when all is done."""
        unfinished = self._data.with_name("data.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if account:
            os.chown(unfinished, account.uid, account.gid)
        with _reachable(unfinished, account) as (path, inherited):
            options = [f"--username={_NAME}", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"]
            argv = [str(programs / "initdb"), f"--pgdata={path}", *options]
            await Command(argv, cwd=Path("/"), account=account, inherited=inherited).run(self._log)
        unfinished.rename(self._data)

    def _forget(self, previous: int | None) -> None:
        """Remove the lock file of a server of ours that is dead for sure: its process id may be somebody else's by now."""
        lock = self._data / "postmaster.pid"
        if previous is not None and lock.exists() and lock.read_text().splitlines()[:1] == [str(previous)]:
            lock.unlink()

    async def _is_ready(self) -> bool:
        with suppress(OSError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError):
            try:
                await _execute(self.dsn, "SELECT")
            except asyncpg.InvalidCatalogNameError:  # the first start
                await _execute(self._dsn("postgres"), f"CREATE DATABASE {_NAME}")
            return True
        return False

    def _dsn(self, database: str) -> str:
        return f"postgresql://{_NAME}@127.0.0.1:{self._port}/{database}"


async def _execute(dsn: str, query: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=_CONNECT_SECONDS)
    try:
        await connection.execute(query)
    finally:
        await connection.close()


def _unprivileged_account() -> Account | None:
    """Whom PostgreSQL runs as when we are root, for whom it refuses to run; None if we are not."""
    if os.geteuid() != 0:
        return None
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        user = pwd.getpwnam("nobody")
    return Account(user.pw_uid, user.pw_gid)


@contextmanager
def _reachable(folder: Path, account: Account | None) -> Iterator[tuple[str, list[int]]]:
    """A path of `folder` that `account` can open, and the descriptors that a child must inherit for it.

    Under a home that only root may enter, the server could not walk down to its own data. Through a descriptor that we opened
    it need not: the kernel takes /proc/self/fd/N straight to the folder, in all the processes that the server forks, too.
    """
    if account is None:
        yield str(folder.resolve()), []
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}", [descriptor]
    finally:
        os.close(descriptor)
