"""The Kafka and the PostgreSQL that everything is measured on, and settings for roles that work there."""

import uuid
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import orjson
from pydantic import SecretStr

from bench.notifications import CLOUD, KEY, SECRET
from bench.processes import free_port
from service.database import connect, migrate
from service.embedded.stack import EmbeddedStack
from service.errors import MediamirrorError
from service.settings import PREFIX, Settings, load_settings

_ROLES = ("gateway", "mirror", "relay", "reconciler", "writeback", "poller")
# No account is called: nobody listens there.
_NO_API = "http://127.0.0.1:9"


class NotDurableDatabaseError(MediamirrorError):
    """PostgreSQL runs with {name} = {value}; figures would not count."""


@dataclass(frozen=True)
class Site:
    """Kafka and PostgreSQL, as `mediamirror up` runs them."""

    folder: Path
    kafka_bootstrap: str
    kafka_user: str
    kafka_password: str
    database_url: str  # the server's default database, as its superuser
    kafka_pid: int
    postgres_pid: int  # the postmaster
    without: frozenset[str] = frozenset()  # the peers that `--without` leaves out

    @property
    def kafka_client(self) -> dict[str, str]:
        """What a client of aiokafka's needs to be let in."""
        return {
            "bootstrap_servers": self.kafka_bootstrap,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": self.kafka_user,
            "sasl_plain_password": self.kafka_password,
        }

    async def database(self, name: str) -> str:
        """Make a database anew, with mediamirror's schema; gives its URL."""
        url = await self.empty_database(name)
        async with connect(self.settings(name, url), size=1) as pool:
            await migrate(pool)
        return url

    async def empty_database(self, name: str) -> str:
        """Make a database anew, with nothing in it; gives its URL."""
        server = await asyncpg.connect(self.database_url)
        try:
            await server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            await server.execute(f'CREATE DATABASE "{name}" STRATEGY wal_log')
            # what the last contestant left to be written is not written in the next one's time
            await server.execute("CHECKPOINT")
        finally:
            await server.close()
        return f"{self.database_url.rpartition('/')[0]}/{name}"

    def environment(self, name: str, database_url: str, **settings: object) -> dict[str, str]:
        """Give the environment of roles run as processes, all with the topics and the group called `name`.

        Each call has ports and a mirror instance of its own; `settings` are further settings, by their names in `Settings`.
        """
        options = self._options(name, database_url) | settings
        return {
            PREFIX + field.upper(): value if isinstance(value, str) else orjson.dumps(value).decode()
            for field, value in options.items()
        }

    def settings(self, name: str, database_url: str, **settings: object) -> Settings:
        """Give the same settings for use in this process."""
        options = self._options(name, database_url) | settings
        return load_settings(**options | {"database_url": SecretStr(str(options["database_url"]))})

    def _options(self, name: str, database_url: str) -> dict[str, Any]:
        return {
            "clouds": {CLOUD: {"keys": {KEY: SECRET.decode()}, "upload_prefix": _NO_API}},
            "kafka_bootstrap": self.kafka_bootstrap,
            "kafka_security_protocol": "SASL_PLAINTEXT",
            "kafka_sasl_username": self.kafka_user,
            "kafka_sasl_password": self.kafka_password,
            "database_url": database_url,
            "notifications_topic": name,
            "events_topic": f"{name}.events",
            "assets_topic": f"{name}.assets",
            "mirror_group": name,
            "mirror_instance_id": uuid.uuid4().hex,
            "reconcile_every": 0,
            "log_level": "warning",
            "log_format": "json",
            **{f"{role}_port": free_port() for role in (*_ROLES, "admin")},
        }


@asynccontextmanager
async def site(folder: Path, *, without: Collection[str] = ()) -> AsyncIterator[Site]:
    """Run both in `folder`, with the options that `mediamirror up` gives them: what is committed is on the disk."""
    async with EmbeddedStack(folder, kafka_bootstrap=None, database_url=None, progress=lambda _: None) as stack:
        server = await asyncpg.connect(stack.postgres.admin_dsn)
        try:
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                if (value := await server.fetchval(f"SHOW {name}")) != "on":
                    raise NotDurableDatabaseError(name=name, value=value)
        finally:
            await server.close()
        yield Site(
            folder=stack.data_dir,
            kafka_bootstrap=stack.kafka_bootstrap,
            kafka_user=stack.access["kafka_sasl_username"],
            kafka_password=stack.access["kafka_sasl_password"].get_secret_value(),
            database_url=stack.postgres.admin_dsn,
            kafka_pid=_pid(stack.data_dir / "kafka"),
            postgres_pid=_pid(stack.data_dir / "postgres"),
            without=frozenset(without),
        )


def _pid(folder: Path) -> int:
    return int((folder / "pid").read_text())
