"""Who may use the embedded PostgreSQL: two roles, each with a password, over loopback."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from service.embedded.private import write_private
from service.sql import query

ADMIN: Final = "mediamirror_admin"  # initdb's superuser: for what the owner may not do
OWNER: Final = "mediamirror"  # whom all of our roles connect as; its database has its name
PASSFILE: Final = "pgpass"

# All that may connect. Replication, and sockets, are for nobody.
HBA: Final = """\
# Written by mediamirror; the passwords are in the file pgpass.
host all all 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True, slots=True)
class Passwords:
    """Of the superuser and of the owner."""

    admin: str
    owner: str

    @classmethod
    def make(cls) -> Self:
        """Make up new ones."""
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24))

    @classmethod
    def read(cls, file: Path) -> Self | None:
        """Give those that are kept in a file; None when there is none, or not all are in it."""
        try:
            lines = [line.split(":") for line in file.read_text().splitlines()]
        except FileNotFoundError:
            return None
        kept = {line[3]: line[4] for line in lines if len(line) == 5}  # noqa: PLR2004  # host:port:database:user:password
        return cls(kept[ADMIN], kept[OWNER]) if {ADMIN, OWNER} <= kept.keys() else None

    def keep(self, file: Path) -> None:
        """Write them to a file, as `psql` reads it."""
        write_private(file, f"*:*:*:{OWNER}:{self.owner}\n*:*:*:{ADMIN}:{self.admin}\n")

    def statements(self) -> str:
        """Give what sets them, for a server in single-user mode, which asks nobody for one. May be run again."""
        steps = (
            query("embedded", "keep_the_superuser_apart"),
            query("embedded", "set_password_of_the_superuser").format(password=self.admin),
            query("embedded", "set_password_of_the_owner").format(password=self.owner),
        )
        # a statement ends there with an empty line
        return "".join(f"{step};\n\n" for step in steps)
