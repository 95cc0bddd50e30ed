"""Users of the database that are members of one group role each."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
from pydantic import SecretStr

from service.database import Pool, connect
from service.rights import Group, role_names
from service.roles import make_roles
from service.settings import Settings

_PASSWORD = "a-password"


@dataclass
class Logins:
    """`prefix` is that of the group roles, which are the whole server's."""

    prefix: str
    administrator: str

    def name(self, group: Group) -> str:
        return f"{self.prefix}_{group}_user"

    def url(self, user: str) -> str:
        parts = urlsplit(self.administrator)
        return parts._replace(netloc=f"{user}:{_PASSWORD}@{parts.hostname}:{parts.port}").geturl()

    def settings(self, group: Group, settings: Settings) -> Settings:
        """The settings of what runs as a member of this group."""
        return settings.model_copy(update={"database_url": SecretStr(self.url(self.name(group)))})

    async def add(self, user: str, *groups: str) -> None:
        """Make a user, whose name begins with the prefix."""
        members = f" IN ROLE {', '.join(groups)}" if groups else ""
        await run_as(self.administrator, f"CREATE ROLE {user} LOGIN PASSWORD '{_PASSWORD}'{members}")


async def run_as(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def logins_at(administrator: str, settings: Settings) -> AsyncIterator[Logins]:
    """Make the group roles, and a user of each."""
    logins = Logins(f"t{uuid4().hex[:10]}", administrator)
    async with connect(settings.model_copy(update={"database_url": SecretStr(administrator)})) as pool:
        await make_roles(pool, logins.prefix)
    try:
        for group, name in role_names(logins.prefix).items():
            await logins.add(logins.name(group), name)
        yield logins
    finally:
        await _drop_roles(administrator, logins.prefix)


async def _drop_roles(administrator: str, prefix: str) -> None:
    connection = await asyncpg.connect(administrator)
    try:
        rows = await connection.fetch("SELECT rolname FROM pg_roles WHERE starts_with(rolname, $1)", prefix)
        names = ", ".join(row["rolname"] for row in rows)
        await connection.execute(f"DROP OWNED BY {names} CASCADE; DROP ROLE {names}")
    finally:
        await connection.close()


@asynccontextmanager
async def pool_of(group: Group, logins: Logins, settings: Settings) -> AsyncIterator[Pool]:
    async with connect(logins.settings(group, settings), size=8) as pool:
        yield pool
