"""PostgreSQL: connections, migrations and rights."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import asyncpg
import orjson

from service.errors import MediamirrorError
from service.pooler import has_pooler, lends_sessions
from service.rights import PREFIX, Group, Right, rights_of, role_names
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


class TransactionPoolerError(MediamirrorError):
    """PostgreSQL is behind a pooler that lends a connection for one transaction, and mediamirror needs it for longer (locks,
    notices): use the pooler's session mode, or a direct address, in MEDIAMIRROR_DATABASE_URL.
    """

    exit_code = 2


class IgnoredSchemaError(MediamirrorError):
    """A pooler in front of PostgreSQL does not pass on the search_path {schema}: use a direct address."""

    exit_code = 2


class SchemaBehindError(MediamirrorError):
    """The database lacks the migrations {missing}. Run `mediamirror migrate`."""


class MigrationChangedError(MediamirrorError):
    """The migration {name} was changed after it had been applied to this database; restore the file as it was."""


class SchemaAheadError(MediamirrorError):
    """The database has the migration {name}, which this version of mediamirror does not know: it is older than the schema."""


class ForbiddenError(MediamirrorError):
    """PostgreSQL does not let us do this: {reason}. Connect as a member of the role with the rights to it, which
    `mediamirror migrate --with-roles` makes and keeps up to date.
    """


class MissingRightsError(MediamirrorError):
    """The database role {user} lacks what the {group} needs: {rights}. Make it a member of the role {name}, which
    `mediamirror migrate --with-roles` makes and keeps up to date.
    """


@asynccontextmanager
async def connect(settings: Settings, *, size: int = 4, schema: str | None = None) -> AsyncIterator[Pool]:
    """Open a pool of up to `size` connections; raises `NoDatabaseError`, `DatabaseUnreachableError` or `TransactionPoolerError`.

    `schema`: where tables without one are, instead of where the URL or the role says.
    """
    if settings.database_url is None:
        raise NoDatabaseError
    url = settings.database_url.get_secret_value()
    options = {"application_name": "mediamirror", "timezone": "UTC"} | ({"search_path": schema} if schema else {})
    pool: Pool | None = None
    try:
        try:
            pool = await asyncpg.create_pool(
                url,
                min_size=0,
                max_size=size,
                timeout=10,
                command_timeout=settings.database_timeout,
                init=_set_codecs,
                server_settings=options,
            )
            async with pool.acquire() as connection:
                pooled = await has_pooler(connection)
                found = await connection.fetchval("SELECT current_schema()") if schema else None
            if pooled and not await lends_sessions(url):
                raise TransactionPoolerError
            if found != schema:
                raise IgnoredSchemaError(schema=schema)
        except _POOLER_SIGNS as error:
            raise TransactionPoolerError from error
        except ValueError:  # of its URL, in words that repeat pieces of it
            raise DatabaseUnreachableError(reason="MEDIAMIRROR_DATABASE_URL can't be used as it is") from None
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            raise DatabaseUnreachableError(reason=str(error) or type(error).__name__) from error
        yield pool
    finally:
        if pool is not None:
            pool.terminate()


# Prepared for one client on another's server.
_POOLER_SIGNS = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
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
    """Make a `DatabaseUnreachableError` of PostgreSQL's going away meanwhile, and what `in_words` makes of what it refuses."""
    try:
        yield
    except _AWAY as error:
        raise DatabaseUnreachableError(reason=str(error) or type(error).__name__) from error
    except (asyncpg.InsufficientPrivilegeError, *_POOLER_SIGNS) as error:
        raise in_words(error) or error from error


def in_words(error: BaseException) -> MediamirrorError | None:
    """Give the error that tells a person what to do about PostgreSQL's; None when there is nothing to tell."""
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return ForbiddenError(reason=error)
    return TransactionPoolerError() if isinstance(error, _POOLER_SIGNS) else None


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


async def pending_migrations(pool: Pool) -> list[str]:
    """Name the migrations that `migrate` would apply."""
    exists = await pool.fetchval(query("migrations", "table_exists"))
    with reachable():
        return list(_missing(_by_name(await pool.fetch(query("migrations", "applied"))) if exists else {}))


async def require_schema(pool: Pool, group: Group | None = None) -> None:
    """Raise `SchemaBehindError` unless every migration is applied, `MissingRightsError` unless we may do what `group` does."""
    here = await pool.fetchrow(query("rights", "here"))
    assert here is not None  # noqa: S101  # it has no condition
    if here["schema"] is None:
        raise ForbiddenError(reason=f"the role {here['user']} may use no schema of its search_path")
    if missing := await pending_migrations(pool):
        raise SchemaBehindError(missing=", ".join(missing))
    if group is not None and (lacking := await lacking_rights(pool, group)):
        rights = ", ".join(map(str, lacking))
        raise MissingRightsError(user=here["user"], group=group, rights=rights, name=role_names(PREFIX)[group])


async def lacking_rights(connection: Pool | Connection, group: Group, role: str | None = None) -> list[Right]:
    """Give what a group needs and `role` may not do; None: who we are."""
    rows = await connection.fetch(query("rights", "lacking"), role, *map(list, zip(*rights_of(group), strict=True)))
    return [Right(*row) for row in rows]
