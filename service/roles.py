"""The group roles in PostgreSQL: made, and given their rights."""

import asyncpg

from service.database import Connection, ForbiddenError, Pool, lacking_rights
from service.errors import MediamirrorError
from service.rights import role_names, script
from service.sql import query


class MayNotMakeRolesError(MediamirrorError):
    """The database role {user} may not make the roles, or not grant all of their rights: {reason}. Let an administrator of the
    server run what `mediamirror migrate --with-roles --dry-run` prints.
    """


class ForeignRoleError(MediamirrorError):
    """The database role {name} is there already, and is more than a group of rights: it can log in, or has rights over others.
    Name ours otherwise: --role-prefix.
    """

    exit_code = 2


class BadPrefixError(MediamirrorError):
    """The roles' names begin with 1 to 40 letters a to z, digits and underscores; got {text!r}."""

    exit_code = 2


def check_prefix(text: str) -> str:
    """Give what the roles' names begin with; raises `BadPrefixError`."""
    if not (text.isascii() and text.isidentifier() and text.islower() and len(text) <= 40):  # noqa: PLR2004  # as the error says
        raise BadPrefixError(text=text)
    return text


async def roles_script(connection: Pool | Connection, prefix: str) -> str:
    """Give the SQL that makes the roles what they should be; raises `ForeignRoleError` when one of the names is somebody's."""
    here = await connection.fetchrow(query("rights", "here"))
    assert here is not None  # noqa: S101  # it has no condition
    if here["schema"] is None:
        raise ForbiddenError(reason=f"the role {here['user']} may use no schema of its search_path")
    known = await connection.fetch(query("rights", "known"), list(role_names(prefix).values()))
    if foreign := [row["name"] for row in known if row["is_more"]]:
        raise ForeignRoleError(name=", ".join(foreign))
    return script(prefix, [row["name"] for row in known], database=here["database"], schema=here["schema"])


async def make_roles(pool: Pool, prefix: str) -> list[str]:
    """Make the roles where they are not there, and give them their rights and no others; gives their names.

    All or nothing. Raises `MayNotMakeRolesError`.
    """
    async with pool.acquire() as connection:
        user = await connection.fetchval("SELECT current_user")
        try:
            async with connection.transaction():
                await connection.execute(query("migrations", "lock"))  # two that grant at a time disturb each other
                await connection.execute(await roles_script(connection, prefix))
                for group, name in role_names(prefix).items():
                    # PostgreSQL only warns of what it did not grant
                    if lacking := await lacking_rights(connection, group, name):
                        raise MayNotMakeRolesError(user=user, reason=f"{name} did not get {', '.join(map(str, lacking))}")
        except asyncpg.InsufficientPrivilegeError as error:
            raise MayNotMakeRolesError(user=user, reason=error) from error
    return list(role_names(prefix).values())
