"""A real PostgreSQL, on loopback."""

import os
import pwd
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

import asyncpg

from service.embedded.command import Account, Command, Log
from service.embedded.ports import remembered_port
from service.embedded.postgres_access import ADMIN, HBA, OWNER, PASSFILE, Passwords
from service.embedded.postgres_programs import server_programs
from service.embedded.private import make_private, write_private
from service.embedded.process import ServerProcess
from service.sql import query

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
        self._passwords: Passwords | None = None

    @property
    def dsn(self) -> str:
        """What clients connect to, with the password of the database's owner; known once it was started."""
        return self._dsn(OWNER, OWNER)

    @property
    def admin_dsn(self) -> str:
        """The same as the superuser: for what concerns the whole server, such as further roles and databases."""
        return self._dsn(ADMIN, OWNER)

    @property
    def passfile(self) -> Path:
        """The file with the passwords, as `psql` reads it."""
        return self._folder / PASSFILE

    async def start(self) -> None:
        """Return when the database answers queries; raises EmbeddedProgramError or MissingProgramError."""
        make_private(self._folder)
        programs = server_programs(self._data)
        account = _unprivileged_account()
        async with self._process.claim(_FAST_SHUTDOWN) as previous:
            self._port = self._port or remembered_port(self._folder / "port")
            if not self._data.exists():
                await self._initialise(programs, account)
            self._forget(previous)
            await self._lock_up(programs, account)
            with _reachable(self._data, account) as (path, inherited):
                listen = ["-p", str(self._port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
                argv = [str(programs / "postgres"), "-D", path, *listen]
                server = Command(argv, cwd=Path("/"), stop_signal=_FAST_SHUTDOWN, account=account, inherited=inherited)
                await self._process.start(server, ready=self._is_ready)
            try:
                await self._hand_over()
            except asyncpg.PostgresError as error:
                raise self._log.failure(f"its database can't be handed over to {OWNER}: {error}") from error

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
            # nobody gets in before there are passwords
            options = [f"--username={ADMIN}", "--auth=reject", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"]
            argv = [str(programs / "initdb"), f"--pgdata={path}", *options]
            await Command(argv, cwd=Path("/"), account=account, inherited=inherited).run(self._log)
        unfinished.rename(self._data)

    async def _lock_up(self, programs: Path, account: Account | None) -> None:
        """Let in only who knows a password: in an empty cluster, and in one of earlier days, which let in anybody."""
        kept = Passwords.read(self.passfile)
        rules = self._data / "pg_hba.conf"
        if kept is None or rules.read_text() != HBA:
            kept = kept or Passwords.make()
            kept.keep(self.passfile)
            with _reachable(self._data, account) as (path, inherited):
                # what it is told stays out of its log, come what may
                options = ["-c", "exit_on_error=on", "-c", "log_min_error_statement=panic", "-c", "log_statement=none"]
                argv = [str(programs / "postgres"), "--single", "-j", *options, "-D", path, "postgres"]
                command = Command(argv, cwd=Path("/"), account=account, inherited=inherited, told=kept.statements())
                await command.run(self._log)
            write_private(rules, HBA, owner=(account.uid, account.gid) if account else None)
        self._passwords = kept

    async def _hand_over(self) -> None:
        """See to it that there is our database, and that it belongs to our role, which is no superuser."""
        server = self._dsn(ADMIN, "postgres")
        async with _connected(server) as connection:
            owner = await connection.fetchval(query("embedded", "owner_of_the_database"))
            if owner is None:
                await connection.execute(query("embedded", "create_database"))
        if owner not in (None, OWNER):
            async with _connected(self.admin_dsn) as connection:
                await connection.execute(query("embedded", "hand_over"))

    def _forget(self, previous: int | None) -> None:
        """Remove the lock file of a server of ours that is dead for sure: its process id may be somebody else's by now."""
        lock = self._data / "postmaster.pid"
        if previous is not None and lock.exists() and lock.read_text().splitlines()[:1] == [str(previous)]:
            lock.unlink()

    async def _is_ready(self) -> bool:
        with suppress(OSError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError):
            try:
                async with _connected(self._dsn(ADMIN, "postgres")):
                    return True
            except asyncpg.InvalidPasswordError as error:
                raise self._log.failure(f"its password is not the one in {self.passfile}") from error
        return False

    def _dsn(self, role: str, database: str) -> str:
        if self._passwords is None:
            raise RuntimeError("PostgreSQL was not started")
        password = self._passwords.owner if role == OWNER else self._passwords.admin
        return f"postgresql://{role}:{password}@127.0.0.1:{self._port}/{database}"


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(dsn, timeout=_CONNECT_SECONDS)
    try:
        yield connection
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
