"""How PostgreSQL's outages are waited out, and how they are told from a record's own fault."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import stamina

from service.database import Pool

# A record's own fault. Everything else that PostgreSQL says is an outage, and an outage never costs a record.
RECORD_ERRORS = (asyncpg.DataError, asyncpg.ProgramLimitExceededError)
# EOFError: asyncpg's for a server that hangs up in the middle of connecting
OUTAGES = (OSError, EOFError, MemoryError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


def patiently() -> AsyncIterator[stamina.Attempt]:
    """Give attempts, for as long as they end in an outage."""
    return stamina.retry_context(on=is_passing, attempts=None, timeout=None, wait_initial=0.1, wait_max=5.0)


def is_passing(error: Exception) -> bool:
    """Tell whether the same attempt may succeed later."""
    return isinstance(error, OUTAGES) and not isinstance(error, RECORD_ERRORS)


async def answers(pool: Pool) -> bool:
    """Tell whether PostgreSQL answers, within two seconds."""
    try:
        async with asyncio.timeout(2):
            return bool(await pool.fetchval("SELECT true"))
    except OUTAGES:
        return False
