"""Who may use the embedded Kafka and PostgreSQL: who knows their passwords, and nobody else on this machine."""

import os
import stat
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

import service.embedded.postgres
from service.database import connect, migrate
from service.embedded.kafka import EmbeddedKafka
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.postgres_access import HBA, Passwords
from service.embedded.stack import EmbeddedStack
from service.errors import EmbeddedProgramError
from service.kafka import let_go
from service.settings import load_settings
from tests.integration.conftest import kafka_client


def silent(_: str) -> None:
    pass


def without_password(dsn: str) -> str:
    scheme, _, rest = dsn.partition("://")
    return f"{scheme}://{rest.partition(':')[0]}@{rest.partition('@')[2]}"


@pytest.fixture
async def owner(stack: EmbeddedStack) -> Any:
    connection = await asyncpg.connect(stack.database_url)
    yield connection
    await connection.close()


@pytest.mark.parametrize("database", ["mediamirror", "postgres", "template1"])
@pytest.mark.parametrize("role", ["mediamirror", "mediamirror_admin", "postgres"])
@pytest.mark.parametrize("password", ["", "guessed"])
async def test_nobody_gets_into_postgresql_without_the_password(
    stack: EmbeddedStack, role: str, database: str, password: str
) -> None:
    server = stack.database_url.rpartition("@")[2].partition("/")[0]
    with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InterfaceError)):
        await asyncpg.connect(f"postgresql://{role}:{password}@{server}/{database}")


async def test_our_roles_are_no_superusers(owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    may = await owner.fetchrow(
        "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls,"
        " ARRAY(SELECT rolname::text FROM pg_roles"
        " WHERE rolname LIKE 'pg\\_%' AND pg_has_role(current_user, oid, 'MEMBER') AND rolname <> 'pg_database_owner') AS member"
        " FROM pg_roles WHERE rolname = current_user"
    )
    assert may is not None
    assert dict(may) == {
        "rolname": "mediamirror",
        "rolsuper": False,
        "rolcreatedb": False,
        "rolcreaterole": False,
        "rolreplication": False,
        "rolbypassrls": False,
        "member": [],
    }
    await owner.execute("CREATE TEMP TABLE said (line text)")
    for command in (
        "COPY said FROM PROGRAM 'id'",
        "COPY said FROM '/etc/passwd'",
        "COPY said TO PROGRAM 'cat'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT * FROM pg_authid",
        "CREATE ROLE another SUPERUSER",
        "ALTER ROLE mediamirror SUPERUSER",
        "ALTER SYSTEM SET log_statement = 'all'",
        "SET SESSION AUTHORIZATION mediamirror_admin",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await owner.execute(command)


async def test_all_rules_ask_for_scram(stack: EmbeddedStack) -> None:
    server = await asyncpg.connect(stack.postgres.admin_dsn)
    rules = await server.fetch("SELECT type, address, auth_method FROM pg_hba_file_rules")
    kept = await server.fetch("SELECT rolpassword FROM pg_authid WHERE rolcanlogin")
    sockets = await server.fetchval("SHOW unix_socket_directories"), await server.fetchval("SHOW listen_addresses")
    await server.close()
    assert [tuple(rule) for rule in rules] == [("host", "127.0.0.1", "scram-sha-256")]
    assert all(str(row["rolpassword"]).startswith("SCRAM-SHA-256$") for row in kept)
    assert sockets == ("", "127.0.0.1")


@pytest.mark.parametrize("listener", ["clients", "controller"])
@pytest.mark.parametrize(
    "client",
    [
        {},
        {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_plain_username": "mediamirror"},
        {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_plain_username": ""},
    ],
    ids=["plain", "guessed", "nobody"],
)
async def test_nobody_gets_into_kafka_without_the_password(stack: EmbeddedStack, client: dict[str, Any], listener: str) -> None:
    port = (stack.data_dir / "kafka" / "controller-port").read_text().strip()
    bootstrap = stack.kafka_bootstrap if listener == "clients" else f"127.0.0.1:{port}"
    if client:
        client = client | {"sasl_plain_password": "guessed"}
    for make in (AIOKafkaProducer, AIOKafkaAdminClient):
        one = make(bootstrap_servers=bootstrap, request_timeout_ms=1000, **client)
        try:
            with pytest.raises(KafkaError):
                await one.start()
        finally:
            await let_go(one)


async def test_the_file_for_other_clients_says_how(stack: EmbeddedStack) -> None:
    assert stack.kafka_client is not None
    told = dict(line.split("=", 1) for line in stack.kafka_client.read_text().splitlines() if line and not line.startswith("#"))
    assert (told["bootstrap.servers"], told["security.protocol"]) == (stack.kafka_bootstrap, "SASL_PLAINTEXT")
    assert f'password="{stack.access["kafka_sasl_password"].get_secret_value()}";' in told["sasl.jaas.config"]


async def test_all_that_is_kept_is_its_owners_alone(stack: EmbeddedStack) -> None:
    assert stat.S_IMODE(stack.data_dir.stat().st_mode) == 0o700
    opened = [path for path in stack.data_dir.rglob("*") if path.lstat().st_mode & 0o077]
    assert opened == []


async def test_no_server_has_our_secrets_in_its_environment_or_its_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MEDIAMIRROR_CLOUDS", "CLOUDINARY_URL", "PGPASSWORD", "SOMETHING_ELSE"):
        monkeypatch.setenv(name, "hunter2")
    async with EmbeddedStack(tmp_path / "new", kafka_bootstrap=None, database_url=None, progress=silent) as stack:
        passwords = [stack.access["kafka_sasl_password"].get_secret_value(), stack.database_url.split(":")[2].partition("@")[0]]
        for server in ("kafka", "postgres"):
            process = Path("/proc", (stack.data_dir / server / "pid").read_text())
            assert b"hunter2" not in (process / "environ").read_bytes()
            assert not any(password.encode() in (process / "cmdline").read_bytes() for password in passwords)
        logs = "".join(file.read_text() for file in (stack.data_dir / "logs").iterdir())
        assert not any(password in logs for password in passwords)


async def test_what_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    for name in ("kafka", "postgres", "logs"):
        (folder / name / "deeper").mkdir(parents=True)
        (folder / name / "deeper" / "file").touch()
    (folder / "up.json").touch()
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    async with EmbeddedStack(folder, kafka_bootstrap="kafka:1", database_url="postgresql://db", progress=silent):
        assert [path for path in (folder, *folder.rglob("*")) if path.stat().st_mode & 0o077] == []


async def test_a_folder_that_holds_more_than_ours_stays_open_and_ours_in_it_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    (folder / "kafka").mkdir(parents=True)
    (folder / "letters").mkdir()
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    async with EmbeddedStack(folder, kafka_bootstrap="kafka:1", database_url="postgresql://db", progress=silent):
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
    assert modes == {"home": 0o755, "letters": 0o755, "kafka": 0o700, "lock": 0o600}


class EarlierPostgres(EmbeddedPostgres):
    """As it was: whoever came was let in as a superuser with the name of our role."""

    async def _lock_up(self, *_: object) -> None:
        rules = self._data / "pg_hba.conf"
        rules.write_text("local all all trust\nhost all all 127.0.0.1/32 trust\n")
        self._passwords = Passwords("none", "none")


ODD = """
CREATE SCHEMA "Odd schema";
CREATE TYPE "Odd schema".mood AS ENUM ('good', 'bad');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN short AS text CHECK (length(value) < 9);
CREATE TABLE "Odd schema"."Odd; table" (id serial PRIMARY KEY, other int GENERATED ALWAYS AS IDENTITY, mood "Odd schema".mood);
CREATE SEQUENCE alone;
CREATE VIEW seen AS SELECT * FROM "Odd schema"."Odd; table";
CREATE MATERIALIZED VIEW kept AS SELECT 1 AS one;
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql AS 'SELECT 2 * n';
CREATE PROCEDURE nothing() LANGUAGE sql AS '';
INSERT INTO "Odd schema"."Odd; table" (mood) VALUES ('good');
"""


async def test_a_folder_of_earlier_days_is_locked_up_with_all_that_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as then:
        then.setattr(service.embedded.postgres, "ADMIN", "mediamirror")
        earlier = EarlierPostgres(tmp_path)
        await earlier.start()
        async with connect(load_settings(database_url=earlier.dsn)) as pool:
            await migrate(pool)
            await pool.execute(ODD)
            assert await pool.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        await earlier.kill()
    (tmp_path / "postgres").chmod(0o755)

    now = EmbeddedPostgres(tmp_path)
    for _ in range(2):
        await now.start()
        with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InterfaceError)):
            await asyncpg.connect(without_password(now.dsn))
        async with connect(load_settings(database_url=now.dsn)) as pool:
            assert not await pool.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
            assert await pool.fetchval('SELECT count(*) FROM "Odd schema"."Odd; table"') == 1
            for catalogue, owned in (("pg_class", "relowner"), ("pg_proc", "proowner"), ("pg_type", "typowner")):
                left = await pool.fetch(
                    f"SELECT oid, pg_get_userbyid({owned}) FROM {catalogue} WHERE oid >= 16384 AND {owned} = 10"
                    + (" AND relnamespace <> 'pg_toast'::regnamespace" if catalogue == "pg_class" else "")
                )
                assert left == [], catalogue
            assert await migrate(pool) == []
            await pool.execute('ALTER TABLE "Odd schema"."Odd; table" ADD COLUMN IF NOT EXISTS more int')
            await pool.execute("CREATE SCHEMA IF NOT EXISTS scratch")
        await now.stop()
    assert stat.S_IMODE((tmp_path / "postgres").stat().st_mode) == 0o700


async def test_a_password_that_was_lost_is_made_anew(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path)
    await postgres.start()
    before = postgres.dsn
    await postgres.stop()
    os.unlink(postgres.passfile)  # noqa: PTH108

    await postgres.start()
    assert postgres.dsn != before
    await (await asyncpg.connect(postgres.dsn)).close()
    await postgres.stop()


async def test_rules_that_let_in_anybody_do_not_last(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path)
    await postgres.start()
    await postgres.stop()
    rules = tmp_path / "postgres" / "data" / "pg_hba.conf"
    rules.write_text("host all all 127.0.0.1/32 trust\n")
    await postgres.start()
    assert rules.read_text() == HBA
    with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InterfaceError)):
        await asyncpg.connect(without_password(postgres.dsn))
    await postgres.stop()


async def test_a_password_that_is_not_the_servers_is_told_with_its_file(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path)
    await postgres.start()
    await postgres.stop()
    Passwords("other", "other").keep(postgres.passfile)
    with pytest.raises(EmbeddedProgramError, match=r"its password is not the one in .*postgres/pgpass"):
        await postgres.start()


async def test_kafkas_password_stays_from_run_to_run(tmp_path: Path) -> None:
    passwords = set()
    for _ in range(2):
        kafka = EmbeddedKafka(tmp_path)
        await kafka.start()
        async with AIOKafkaProducer(**kafka_client(load_settings(**kafka.access))):
            passwords.add(kafka.access["kafka_sasl_password"].get_secret_value())
        await kafka.stop()
    assert len(passwords) == 1
