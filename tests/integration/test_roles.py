"""Each of our roles with the rights that it needs in PostgreSQL, and no others."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any

import aiohttp
import asyncpg
import orjson
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from service.cloudinary.client import accounts
from service.database import (
    ForbiddenError,
    Pool,
    connect,
    lacking_rights,
    migrate,
    require_schema,
)
from service.doctor.doctor import Doctor
from service.doctor.finding import Level
from service.events.relay import Relay
from service.events.tail import read_events
from service.gateway.app import run_gateway
from service.mirror.consumer import Mirror
from service.mirror.retention import Retention
from service.publisher import Publisher
from service.reconcile.reconciler import Reconciler
from service.rights import Group, rights_of, role_names
from service.roles import ForeignRoleError, MayNotMakeRolesError, make_roles
from service.settings import Settings
from service.sql import query
from service.telemetry import Metrics
from service.writeback.writeback import Writeback
from standin.options import Options
from standin.server import run_standin
from tests.bodies import ASSET, CLOUD, KEY, SECRET, upload
from tests.integration.conftest import MEDIAMIRROR, Mirrored, eventually
from tests.integration.logins import Logins, logins_at, pool_of, run_as


@pytest.fixture
async def logins(administrator: str, settings: Settings, pool: Pool) -> AsyncIterator[Logins]:
    del pool  # which has made the tables
    async with logins_at(administrator, settings) as logins:
        yield logins


async def test_every_table_view_and_function_has_its_rights_in_roles_sql(pool: Pool) -> None:
    named = {right.name for group in Group for right in rights_of(group)}
    relations = await pool.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
        " AND relkind IN ('r', 'p', 'v', 'm') AND NOT relispartition"
    )
    assert {row["relname"] for row in relations} - named == set()
    functions = await pool.fetch(
        "SELECT oid::regprocedure::text AS name FROM pg_proc"
        " WHERE pronamespace = current_schema()::regnamespace AND prorettype <> 'trigger'::regtype"
    )
    bare = {re.sub(r", ", ",", name) for name in named}
    assert {row["name"] for row in functions} - bare == set()


async def test_what_runs_as_its_owner_is_nobodys_to_call_and_finds_its_own_tables(pool: Pool) -> None:
    rows = await pool.fetch(
        "SELECT proname, proconfig, has_function_privilege('public', oid, 'EXECUTE') AS for_all FROM pg_proc"
        " WHERE pronamespace = current_schema()::regnamespace AND prosecdef"
    )
    assert {row["proname"] for row in rows} >= {"media_assets_deleted", "media_sync_log_prepare", "media_sync_log_expire"}
    for row in rows:
        assert not row["for_all"], row["proname"]
        assert "search_path=public, pg_temp" in row["proconfig"], row["proname"]


def bare_upload(public_id: str) -> dict[str, Any]:
    """An upload of years ago, without the asset's id."""
    return {name: value for name, value in upload(public_id=public_id).items() if name != "asset_id"}


async def test_every_role_works_as_a_member_of_its_group_alone(logins: Logins, settings: Settings, pool: Pool) -> None:
    metrics = Metrics(CollectorRegistry())
    async with AsyncExitStack() as running:
        enter = running.enter_async_context
        standin = await enter(run_standin(Options(cloud=CLOUD, key=KEY, secret=SECRET.decode(), retry_unit=0.01)))
        cloud = settings.clouds[CLOUD].model_copy(update={"upload_prefix": standin.url})
        settings = settings.model_copy(update={"clouds": {CLOUD: cloud}, "cleanup_delay": 0, "operations_backoff": 0.01})
        await run_as(logins.administrator, *old_day())
        gateway = await enter(run_gateway(settings.model_copy(update={"database_url": None}), metrics))
        session = await enter(aiohttp.ClientSession())
        pools = {group: await enter(pool_of(group, logins, settings)) for group in Group}
        for group, its_pool in pools.items():
            await require_schema(its_pool, group)
        publisher = await enter(Publisher(settings, metrics))
        mirror = Mirror(settings, pools[Group.MIRROR], metrics)
        relay = Relay(settings, pools[Group.RELAY], metrics)
        at_reconciling = await enter(accounts(settings, pools[Group.RECONCILER], metrics))
        at_writing = await enter(accounts(settings, pools[Group.WRITEBACK], metrics))
        reconciler = Reconciler(settings, pools[Group.RECONCILER], at_reconciling, publisher, metrics)
        writeback = Writeback(settings, pools[Group.WRITEBACK], at_writing, publisher, metrics)
        mirrored = Mirrored(settings, pool, gateway.url, gateway.admin, mirror, session)
        standin.notifier.triggers.create(f"{gateway.url}/webhooks/cloudinary/{CLOUD}", "all")
        async with asyncio.TaskGroup() as roles:
            tasks = [roles.create_task(role.run()) for role in (mirror, relay, reconciler, writeback)]
            # what webhooks tell: an asset, a folder moved, a name that turns out to be somebody's
            for body in (
                bare_upload("hill"),
                upload(public_id="hill"),
                {"notification_type": "create_folder", "folder_path": "a", "folder_name": "a"},
                {"notification_type": "move_or_rename_asset_folder", "from_path": "a", "to_path": "b"},
            ):
                assert await mirrored.post(body) == 200
                await mirrored.caught_up()
            assert [row["asset_id"] for row in await mirrored.rows()] == [ASSET]
            assert not await pool.fetchval("SELECT count(*) FROM media_operations")
            # what the account holds, and what operations make of it
            standin.account.upload(b"", public_id="lake", resource_type="raw", tags=["old"])
            await eventually(has(pool, "SELECT FROM media_assets WHERE public_id = 'lake' AND tags = '{old}'"))
            environment = environment_of(logins.settings(Group.OPERATOR, settings))
            assert await run(environment, "op", "tags", "lake", "--add", "new", "--wait") == 0
            await eventually(has(pool, "SELECT FROM media_assets WHERE public_id = 'lake' AND 'new' = ANY (tags)"))
            await eventually(has(pool, "SELECT FROM media_operations WHERE status = 'completed' AND confirmed_at IS NOT NULL"))
            await eventually(has(pool, "SELECT FROM media_sweeps WHERE status IN ('complete', 'refused')"))
            await pool.execute("DELETE FROM media_assets WHERE public_id = 'lake'")
            await eventually(has(pool, "SELECT FROM media_operations WHERE kind = 'destroy' AND status = 'completed'"))
            assert not standin.account.resources()
            await eventually(has(pool, "SELECT WHERE NOT EXISTS (SELECT FROM media_outbox)"))
            await Retention(pools[Group.MIRROR], 30).turn()
            assert await pool.fetchval("SELECT to_regclass('media_sync_log_20200101')") is None
            # what operators do, and those who only look
            for command in (
                ("verify",),
                ("replay", "--from-beginning"),
                ("reconcile", "--accept-missing", "9"),
                ("dlq", "redrive", "--all"),
            ):
                assert await run(environment, *command) == 0, command
            environment = environment_of(logins.settings(Group.READER, settings))
            for command in (
                *(("assets",), ("log",), ("history", "hill"), ("events",), ("replay", "--help"), ("drift",)),
                *(("ops", "list"), ("ops", "stats"), ("dlq", "list")),
            ):
                assert await run(environment, *command) in (0, 1), command
            for task in tasks:
                task.cancel()
    async with aclosing(read_events(settings, follow=False)) as events:
        told = {event.type async for event in events}
    assert told >= {"media.asset.created", "media.asset.updated", "media.asset.purged"}


def old_day() -> tuple[str, ...]:
    bounds = "FROM ('2020-01-01 00:00+00') TO ('2020-01-02 00:00+00')"
    owner = "(SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'media_sync_log'::regclass)"
    handing_over = f"EXECUTE format('ALTER TABLE media_sync_log_20200101 OWNER TO %I', {owner})"
    return (
        f"CREATE TABLE media_sync_log_20200101 PARTITION OF media_sync_log FOR VALUES {bounds}",
        f"DO $$ BEGIN {handing_over}; END $$",
    )


def has(pool: Pool, statement: str) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return bool(await pool.fetch(statement))

    return look


def environment_of(settings: Settings) -> dict[str, str]:
    assert settings.database_url is not None
    clouds = {
        name: {
            "keys": {key: secret.get_secret_value() for key, secret in cloud.keys.items()},
            "upload_prefix": cloud.upload_prefix,
        }
        for name, cloud in settings.clouds.items()
    }
    plain = {
        name: str(getattr(settings, name))
        for name in (
            "kafka_bootstrap", "notifications_topic", "notifications_partitions", "mirror_group", "events_topic", "assets_topic",
            "events_partitions", "kafka_security_protocol", "kafka_sasl_mechanism", "kafka_sasl_username",
        )
        if getattr(settings, name) is not None
    }  # fmt: skip
    secrets = {"clouds": orjson.dumps(clouds).decode(), "database_url": settings.database_url.get_secret_value()}
    if settings.kafka_sasl_password:
        secrets["kafka_sasl_password"] = settings.kafka_sasl_password.get_secret_value()
    return {f"MEDIAMIRROR_{name.upper()}": value for name, value in (plain | secrets).items()}


async def output(environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MEDIAMIRROR_", "CLOUDINARY_"))}
    process = await asyncio.create_subprocess_exec(
        MEDIAMIRROR, *arguments, env=kept | environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def run(environment: dict[str, str], *arguments: str) -> int:
    code, _, err = await output(environment, *arguments)
    assert "denied" not in err, (arguments, err)
    assert "Traceback" not in err, (arguments, err)
    assert "lacks what" not in err, (arguments, err)
    return code


FORBIDDEN = {
    Group.MIRROR: (
        "SELECT FROM media_operations",
        "INSERT INTO media_operations (cloud, asset_id, kind, origin) VALUES ('c', 'a', 'destroy', 'sql')",
        "DELETE FROM media_outbox",
        "SELECT FROM media_outbox",
        "TRUNCATE media_assets",
        "DROP TABLE media_sync_log",
        "CREATE TABLE media_of_ours (id int)",
        "ALTER TABLE media_assets DISABLE TRIGGER media_assets_deleted",
        "DELETE FROM media_sync_log",
        "UPDATE media_migrations SET checksum = ''",
    ),
    Group.RELAY: (
        "SELECT FROM media_assets",
        "UPDATE media_outbox SET type = 't'",
        "SELECT media_sync_log_prepare(1)",
        "SELECT media_as_mirror()",
    ),
    Group.RECONCILER: (
        "UPDATE media_assets SET deleted_at = now()",
        "DELETE FROM media_assets",
        "UPDATE media_operations SET status = 'pending'",
        "INSERT INTO media_refetch (cloud, asset_id, reasons) VALUES ('c', 'a', '{}')",
        "SELECT FROM media_outbox",
        "SELECT media_as_mirror()",
    ),
    Group.WRITEBACK: (
        "UPDATE media_assets SET deleted_at = now()",
        "DELETE FROM media_assets",
        "INSERT INTO media_assets (cloud, asset_id, clocks, revision) VALUES ('c', 'a', '{}', 1)",
        "INSERT INTO media_operations (cloud, asset_id, kind, origin) VALUES ('c', 'a', 'destroy', 'sql')",
        "SELECT FROM media_outbox",
        "SELECT media_sync_log_expire(30)",
    ),
    Group.READER: (
        "DELETE FROM media_assets",
        "UPDATE media_assets SET deleted_at = now()",
        "INSERT INTO media_operations (cloud, asset_id, kind, origin) VALUES ('c', 'a', 'destroy', 'sql')",
        "INSERT INTO media_outbox (cloud, subject, type, event_id, event_time, about) VALUES ('c', 's', 't', 'e', now(), '')",
        "DELETE FROM media_refetch",
        "SELECT media_budget_take('c', NULL)",
        "SELECT media_sync_log_prepare(1)",
        "SELECT media_as_mirror()",
        "CREATE SCHEMA of_ours",
    ),
    Group.OPERATOR: (
        "DROP TABLE media_assets",
        "TRUNCATE media_assets",
        "CREATE TABLE media_of_ours (id int)",
        "DELETE FROM media_sync_log",
        "DELETE FROM media_operations",
        "DELETE FROM media_offsets",
        "CREATE ROLE somebody",
    ),
}  # fmt: skip


@pytest.mark.parametrize("group", Group)
async def test_what_a_role_does_not_need_is_denied(logins: Logins, settings: Settings, group: Group) -> None:
    async with pool_of(group, logins, settings) as its_pool:
        for statement in FORBIDDEN[group]:
            assert await is_denied(its_pool, statement), statement


async def is_denied(pool: Pool, statement: str) -> bool:
    try:
        await pool.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return True
    return False


async def deletion(url: str, pool: Pool, *before: str) -> tuple[int, int]:
    """How many deletions at Cloudinary and how many events came of deleting the only row."""
    await pool.execute("DELETE FROM media_operations; DELETE FROM media_outbox")
    await pool.execute(
        "INSERT INTO media_assets (cloud, asset_id, public_id, resource_type, type, clocks, revision)"
        " VALUES ('acme', $1, 'hill', 'image', 'upload', '{}', 1)",
        ASSET,
    )
    await run_as(url, *before, "DELETE FROM media_assets")
    return (
        await pool.fetchval("SELECT count(*) FROM media_operations WHERE kind = 'destroy'"),
        await pool.fetchval("SELECT count(*) FROM media_outbox WHERE type = 'media.asset.purged'"),
    )


async def test_only_a_privileged_role_can_delete_in_silence(logins: Logins, settings: Settings, pool: Pool) -> None:
    eraser, worker, mirror = (f"{logins.prefix}_{name}" for name in ("eraser", "worker", "taker"))
    await logins.add(eraser)
    await logins.add(worker)
    await logins.add(mirror, role_names(logins.prefix)[Group.MIRROR])
    await run_as(
        logins.administrator,
        f"GRANT SELECT, DELETE ON media_assets TO {eraser}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {worker}",
        f"ALTER ROLE {mirror} NOINHERIT",
        f"GRANT {eraser} TO {mirror}",
    )
    silently = "SET mediamirror.writer = 'mirror'"
    for nobody in (eraser, worker):
        assert await deletion(logins.url(nobody), pool, silently) == (1, 1)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await run_as(logins.url(nobody), "SELECT media_as_mirror()")
    assert await deletion(logins.url(logins.name(Group.MIRROR)), pool, silently) == (0, 0)
    assert await deletion(logins.url(logins.name(Group.MIRROR)), pool) == (1, 1)
    # the role that was taken on counts, whoever took it
    group = role_names(logins.prefix)[Group.MIRROR]
    assert await deletion(logins.url(mirror), pool, f"SET ROLE {group}", silently) == (0, 0)
    assert await deletion(logins.url(mirror), pool, f"SET ROLE {eraser}", silently) == (1, 1)
    # without roles, everybody is the owner
    assert settings.database_url is not None
    owner = settings.database_url.get_secret_value()
    assert await deletion(owner, pool, silently) == (0, 0)
    assert await deletion(owner, pool) == (1, 1)


async def test_a_mirror_without_the_right_to_silence_deletes_nothing(logins: Logins, pool: Pool) -> None:
    await logins.add(user := f"{logins.prefix}_halfway")
    await run_as(logins.administrator, f"GRANT SELECT, DELETE ON media_assets TO {user}")
    await pool.execute("INSERT INTO media_assets (cloud, asset_id, clocks, revision) VALUES ('acme', $1, '{}', 1)", ASSET)
    connection = await asyncpg.connect(logins.url(user))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(query("mirror", "remove_adopted"), [CLOUD], [ASSET])
    finally:
        await connection.close()
    assert await pool.fetchval("SELECT count(*) FROM media_assets") == 1


async def test_days_out_of_bounds_are_refused(logins: Logins, settings: Settings) -> None:
    async with pool_of(Group.MIRROR, logins, settings) as its_pool:
        for call in ("media_sync_log_expire(0)", "media_sync_log_expire(-3)", "media_sync_log_prepare(100000)"):
            with pytest.raises(asyncpg.InvalidParameterValueError):
                await its_pool.execute(f"SELECT {call}")


async def test_making_roles_again_gives_what_lacks_and_takes_what_is_too_much(logins: Logins, settings: Settings) -> None:
    mirror = role_names(logins.prefix)[Group.MIRROR]
    await run_as(
        logins.administrator,
        f"REVOKE INSERT ON media_sync_log FROM {mirror}",
        f"GRANT ALL ON media_operations TO {mirror}",
    )
    async with connect(settings.model_copy(update={"database_url": SecretStr(logins.administrator)})) as pool:
        assert [str(right) for right in await lacking_rights(pool, Group.MIRROR, mirror)] == ["INSERT on media_sync_log"]
        await make_roles(pool, logins.prefix)
        assert await lacking_rights(pool, Group.MIRROR, mirror) == []
        assert not await pool.fetchval("SELECT has_table_privilege($1, 'media_operations', 'SELECT')", mirror)


async def test_who_may_not_make_roles_is_told_and_can_hand_the_sql_on(logins: Logins, settings: Settings) -> None:
    prefix = f"{logins.prefix}x"
    await logins.add(user := f"{logins.prefix}_owner")
    await run_as(logins.administrator, f"GRANT CREATE, USAGE ON SCHEMA public TO {user}")
    own = f"{logins.prefix}_schema"
    await run_as(logins.administrator, f"CREATE SCHEMA {own} AUTHORIZATION {user}", f"ALTER ROLE {user} SET search_path = {own}")
    theirs = settings.model_copy(update={"database_url": SecretStr(logins.url(user))})
    environment = environment_of(theirs)
    async with connect(theirs) as its_pool:
        await migrate(its_pool)
        with pytest.raises(MayNotMakeRolesError, match=rf"The database role {user} may not make the roles.*--dry-run"):
            await make_roles(its_pool, prefix)
    code, out, err = await output(environment, "migrate", "--with-roles", "--role-prefix", prefix)
    assert (code, "the schema is up to date" in out, err.count("\n")) == (1, True, 1)
    code, sql, _ = await output(environment, "migrate", "--with-roles", "--role-prefix", prefix, "--dry-run")
    assert code == 0
    assert f'CREATE ROLE "{prefix}_mirror" NOLOGIN;' in sql
    await run_as(
        logins.administrator, f"GRANT CONNECT, CREATE ON DATABASE {own_database(settings)} TO {user} WITH GRANT OPTION", sql
    )
    # from now on the owner can do it
    assert (await output(environment, "migrate", "--with-roles", "--role-prefix", prefix))[0] == 0


def own_database(settings: Settings) -> str:
    assert settings.database_url is not None
    return settings.database_url.get_secret_value().rpartition("/")[2]


async def test_a_role_of_that_name_that_can_log_in_is_somebody_elses(logins: Logins, settings: Settings) -> None:
    await run_as(logins.administrator, f"ALTER ROLE {role_names(logins.prefix)[Group.READER]} LOGIN")
    async with connect(settings) as pool:
        with pytest.raises(ForeignRoleError, match=f"{logins.prefix}_reader"):
            await make_roles(pool, logins.prefix)


async def test_the_prefix_is_a_plain_word(environment: dict[str, str]) -> None:
    for prefix in ("", "a b", 'a"b', "x" * 41, "Über"):
        code, _, err = await output(environment, "migrate", "--with-roles", "--role-prefix", prefix)
        assert (code, err.count("\n")) == (2, 1), prefix


@pytest.mark.parametrize("role", ["mirror", "relay", "reconciler", "writeback"])
async def test_a_role_that_lacks_rights_ends_in_one_line_that_names_them(logins: Logins, settings: Settings, role: str) -> None:
    code, out, err = await output(environment_of(logins.settings(Group.READER, settings)), role)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert f"{logins.name(Group.READER)} lacks what the {role} needs: " in err
    assert f"mediamirror_{role}" in err


async def test_a_command_that_lacks_a_right_ends_in_a_line_that_names_it(logins: Logins, settings: Settings, pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO media_assets (cloud, asset_id, public_id, resource_type, type, clocks, revision)"
        " VALUES ('acme', $1, 'hill', 'image', 'upload', '{}', 1)",
        ASSET,
    )
    environment = environment_of(logins.settings(Group.READER, settings))
    for command, what in ((("op", "tags", "hill", "--add", "x"), "media_operations"), (("verify",), "")):
        code, _, err = await output(environment, *command)
        assert (code, err.count("\n")) == (1, 1), (command, err)
        assert f"permission denied for {'table ' + what if what else ''}" in err


async def test_a_user_without_the_schema_is_told_so(logins: Logins, settings: Settings) -> None:
    await logins.add(user := f"{logins.prefix}_stranger")
    await run_as(logins.administrator, f"ALTER ROLE {user} SET search_path = nowhere")
    stranger = settings.model_copy(update={"database_url": SecretStr(logins.url(user))})
    async with connect(stranger) as its_pool:
        with pytest.raises(ForbiddenError, match="may use no schema"):
            await require_schema(its_pool)


async def test_doctor_says_what_a_user_may_do(logins: Logins, settings: Settings) -> None:
    nowhere = {CLOUD: settings.clouds[CLOUD].model_copy(update={"upload_prefix": "http://127.0.0.1:1"})}

    async def rights_as(group: Group | None) -> tuple[Level, str]:
        own = settings if group is None else logins.settings(group, settings)
        found = [one async for one in Doctor(own.model_copy(update={"clouds": nowhere})).findings() if one.check == "postgresql"]
        return found[-1].level, found[-1].said

    assert await rights_as(None) == (Level.OK, "the role mediamirror has all rights")
    level, said = await rights_as(Group.RELAY)
    assert (level, said) == (Level.OK, f"the role {logins.name(Group.RELAY)} has the rights of: relay")
    await run_as(logins.administrator, f"REVOKE DELETE ON media_outbox FROM {role_names(logins.prefix)[Group.RELAY]}")
    level, said = await rights_as(Group.RELAY)
    assert level is Level.FAIL
    assert "to that of the relay it lacks DELETE on media_outbox" in said
