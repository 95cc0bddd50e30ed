"""PostgreSQL: connections and migrations."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import asyncpg
import orjson

from service.errors import MediamirrorError
from service.settings import Settings
from service.sql import FOLDER, query

if TYPE_CHECKING:
    # asyncpg's classes are generic for type checkers alone
    Pool = asyncpg.Pool[asyncpg.Record]
    Connection = asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
else:
    Pool = asyncpg.Pool
    Connection = asyncpg.Connection


class NoDatabaseError(MediamirrorError):
    """No PostgreSQL is configured. Set MEDIAMIRROR_DATABASE_URL=postgresql://user:password@host/database, or use
    `mediamirror up`, which runs one of its own.
    """

    exit_code = 2


class DatabaseUnreachableError(MediamirrorError):
    """PostgreSQL can't be reached: {reason}."""


class SchemaBehindError(MediamirrorError):
    """The database lacks the migrations {missing}. Run `mediamirror migrate`."""


class MigrationChangedError(MediamirrorError):
    """The migration {name} was changed after it had been applied to this database; restore the file as it was."""


class SchemaAheadError(MediamirrorError):
    """The database has the migration {name}, which this version of mediamirror does not know: it is older than the schema."""


@asynccontextmanager
async def connect(settings: Settings, *, size: int = 4, schema: str | None = None) -> AsyncIterator[Pool]:
    """Open a pool of up to `size` connections; raises `NoDatabaseError` or `DatabaseUnreachableError`.

    `schema`: where tables without one are, instead of where the URL or the role says.
    """
    if settings.database_url is None:
        raise NoDatabaseError
    try:
        pool = await asyncpg.create_pool(
            settings.database_url.get_secret_value(),
            min_size=0,
            max_size=size,
            timeout=10,
            command_timeout=settings.database_timeout,
            init=_set_codecs,
            server_settings={"application_name": "mediamirror", "timezone": "UTC"} | ({"search_path": schema} if schema else {}),
        )
        await pool.fetchval("SELECT 1")
    except ValueError:  # of its URL, in words that repeat pieces of it
        raise DatabaseUnreachableError(reason="MEDIAMIRROR_DATABASE_URL can't be used as it is") from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise DatabaseUnreachableError(reason=str(error) or type(error).__name__) from error
    try:
        yield pool
    finally:
        pool.terminate()


_AWAY = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # it has cut us off in the middle of its words
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # it shuts down, or an administrator has cut us off
    asyncpg.ObjectNotInPrerequisiteStateError,  # the database takes no connections
    asyncpg.InvalidCatalogNameError,  # there is no such database
)


@contextmanager
def reachable() -> Iterator[None]:
    """Make a `DatabaseUnreachableError` of PostgreSQL's going away meanwhile."""
    try:
        yield
    except _AWAY as error:
        raise DatabaseUnreachableError(reason=str(error) or type(error).__name__) from error


async def _set_codecs(connection: Connection) -> None:
    # The binary form of jsonb is a version byte and the text. Bytes are JSON already: elements of a jsonb[] must come so, because
    # asyncpg would take a list among them for another dimension of the array.
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: b"\x01" + (value if isinstance(value, bytes) else orjson.dumps(value)),
        decoder=lambda data: orjson.loads(data[1:]),
        format="binary",
    )


def _migrations() -> dict[str, str]:
    """Give the migrations in order: name -> SQL."""
    return {path.stem: path.read_text() for path in sorted((FOLDER / "migrations").glob("*.sql"))}


def _missing(applied: dict[str, str]) -> dict[str, str]:
    """Give the migrations not applied yet, having checked that the others are those that were."""
    known = _migrations()
    for name, checksum in applied.items():
        if name not in known:
            raise SchemaAheadError(name=name)
        if _checksum(known[name]) != checksum:
            raise MigrationChangedError(name=name)
    return {name: text for name, text in known.items() if name not in applied}


def _by_name(rows: list[asyncpg.Record]) -> dict[str, str]:
    return {row["name"]: row["checksum"] for row in rows}


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def migrate(pool: Pool) -> list[str]:
    """Bring the schema up to date in one transaction; gives the names of the migrations applied now."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(query("migrations", "lock"))
        await connection.execute(query("migrations", "create_table"))
        missing = _missing(_by_name(await connection.fetch(query("migrations", "applied"))))
        for name, text in missing.items():
            await connection.execute(text)
            await connection.execute(query("migrations", "record"), name, _checksum(text))
        await connection.execute((FOLDER / "views.sql").read_text())
        return list(missing)


async def require_schema(pool: Pool) -> None:
    """Raise `SchemaBehindError` unless every migration has been applied."""
    exists = await pool.fetchval(query("migrations", "table_exists"))
    applied = _by_name(await pool.fetch(query("migrations", "applied"))) if exists else {}
    if missing := _missing(applied):
        raise SchemaBehindError(missing=", ".join(missing))
