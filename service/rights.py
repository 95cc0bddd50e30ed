"""Who may do what in PostgreSQL: `sql/roles.sql`, made ready to run, and read to tell what a role lacks."""

import re
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from functools import cache
from typing import NamedTuple

from service.sql import FOLDER

PREFIX = "mediamirror"  # of the groups' names, unless another is asked for

_GRANT = re.compile(r"^GRANT ([A-Z, ]+) ON (?:(DATABASE|SCHEMA|FUNCTION) )?(.+) TO (.+);$", re.MULTILINE)
_NAME = re.compile(r':"(\w+)"')


class Group(StrEnum):
    """The group roles, each with the rights of the role or the commands that it is called after."""

    MIRROR = "mirror"
    RELAY = "relay"
    RECONCILER = "reconciler"
    WRITEBACK = "writeback"
    READER = "reader"  # commands that only look
    OPERATOR = "operator"  # commands that repair, prove, and ask for operations


class Right(NamedTuple):
    """A privilege. A view's kind is TABLE, too; the database and the schema are those we are connected to, and have no name."""

    kind: str
    name: str
    privilege: str

    def __str__(self) -> str:
        if self.kind in ("DATABASE", "SCHEMA"):
            return f"{self.privilege} on the {self.kind.lower()}"
        return f"{self.privilege} on {self.name}"


@cache
def rights_of(group: Group) -> Sequence[Right]:
    """Give what `roles.sql` grants to a group."""
    return [
        Right(kind or "TABLE", "" if kind in ("DATABASE", "SCHEMA") else name, privilege)
        for privileges, kind, name, groups in _GRANT.findall(_roles())
        if group.value in _NAME.findall(groups)
        for privilege in privileges.split(", ")
    ]


def role_names(prefix: str) -> Mapping[Group, str]:
    """Give the groups' names in PostgreSQL."""
    return {group: f"{prefix}_{group}" for group in Group}


def script(prefix: str, existing: Collection[str], *, database: str, schema: str) -> str:
    """Give the SQL, for one transaction, that makes the roles which are missing and gives all of them their rights, no others."""
    names = role_names(prefix)
    everyone = ", ".join(map(quoted, names.values()))
    objects = sorted({(right.kind, right.name) for group in Group for right in rights_of(group) if right.name})
    values = {group.value: name for group, name in names.items()} | {"database": database, "schema": schema}
    return "\n".join(
        [
            f"SET LOCAL search_path = {quoted(schema)};",
            *(f"CREATE ROLE {quoted(name)} NOLOGIN;" for name in names.values() if name not in existing),
            *(f"REVOKE ALL ON {kind} {name} FROM {everyone};" for kind, name in objects),
            *(_NAME.sub(lambda found: quoted(values[found[1]]), grant[0]) for grant in _GRANT.finditer(_roles())),
        ]
    )


def quoted(name: str) -> str:
    """Give an identifier as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


@cache
def _roles() -> str:
    return (FOLDER / "roles.sql").read_text()
