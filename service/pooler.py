"""Whether what looks like a session with PostgreSQL is one."""

import asyncio
from contextlib import AsyncExitStack

import asyncpg

# Two clients of a busy pooler may come by servers of their own a few times by chance.
_TRIES = 5
_SECONDS = 10.0


async def has_pooler(connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]") -> bool:
    """Tell whether somebody stands between: PostgreSQL tells a client its process id, and a pooler makes one up."""
    return bool(await connection.fetchval("SELECT pg_backend_pid()") != connection.get_server_pid())


async def lends_sessions(url: str) -> bool:
    """Tell whether a pooler gives a client a server for as long as it is connected, not for a transaction alone.

    If for a transaction, then of two clients one finds the other's server its own, or itself on another than a moment ago.
    """
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(_SECONDS):
                one, other = [await asyncpg.connect(url, statement_cache_size=0) for _ in range(2)]
                stack.callback(one.terminate)
                stack.callback(other.terminate)
                for _ in range(_TRIES):
                    served_by = await _server_of(one)
                    async with other.transaction():
                        if served_by == await _server_of(other) or served_by != await _server_of(one):
                            return False
        except TimeoutError:
            pass  # it has one server left for us and has given that away for long: as it does with sessions
        except (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError):
            return False
    return True


async def _server_of(client: "asyncpg.Connection[asyncpg.Record]") -> int:
    return int(await client.fetchval("SELECT pg_backend_pid()"))
