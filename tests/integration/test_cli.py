"""The commands, as processes."""

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import orjson
import pytest

from service.database import Pool
from service.sql import FOLDER
from tests.bodies import PAYLOADS
from tests.integration.conftest import MEDIAMIRROR, eventually

_started: list[Process] = []


@pytest.fixture(autouse=True)
async def _no_process_outlives_its_test() -> AsyncIterator[None]:
    yield
    for process in _started:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    _started.clear()


async def start(*arguments: object, env: dict[str, str] | None = None) -> Process:
    process = await asyncio.create_subprocess_exec(
        MEDIAMIRROR, *map(str, arguments), stdout=PIPE, stderr=PIPE, env=os.environ | (env or {})
    )
    _started.append(process)
    return process


async def run(*arguments: object, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    process = await start(*arguments, env=env)
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def stop(process: Process) -> tuple[int, str, str]:
    process.send_signal(signal.SIGTERM)
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def lines(text: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in text.splitlines()]


async def up(folder: Path, *arguments: object) -> tuple[Process, dict[str, Any]]:
    ready = folder / "ready" / "up.json"
    process = await start("up", "--data-dir", folder, "--gateway-port", 0, "--ready-file", ready, *arguments)

    async def is_ready() -> bool:
        assert process.returncode is None, (await process.communicate())[1].decode()
        return ready.exists()

    await eventually(is_ready, seconds=60)
    return process, orjson.loads(ready.read_bytes())


async def test_up_mirrors_the_library_of_its_stand_in_and_finds_it_on_the_next_run(tmp_path: Path) -> None:
    process, ready = await up(tmp_path)
    assert set(ready) == {"pid", "gateway", "admin", "database", "kafka", "kafka_access", "clouds"}
    assert ready["pid"] == process.pid
    assert (tmp_path / "ready" / "up.json").stat().st_mode & 0o777 == 0o600
    here = ("--data-dir", tmp_path)

    async def assets(*arguments: object) -> list[dict[str, Any]]:
        return lines((await run("assets", *here, "--json", *arguments))[1])

    async def arrived() -> bool:
        return bool(await assets())

    await eventually(arrived)
    asset_id = (await assets())[0]["asset_id"]
    assert (await run("op", "destroy", asset_id, *here, "--wait"))[0] == 0

    async def tells_of_the_end() -> bool:
        # not the row, since the library may have restored it by then
        told = lines((await run("log", "--asset", asset_id, *here, "--json"))[1])
        return ("delete", "applied") in {(line["notification_type"], line["outcome"]) for line in told}

    async def reconciles() -> bool:
        # unless the site's own first sweep is under way
        return (await run("reconcile", *here))[0] == 0

    await eventually(tells_of_the_end)
    await eventually(reconciles)
    code, out, err = await stop(process)
    assert (code, err) == (0, "")
    assert "  upload  " in out
    assert "  delete  " in out
    assert "psql 'postgresql://mediamirror@127.0.0.1:" in out
    for secret in (urlsplit(ready["database"]).password, ready["kafka_access"]["kafka_sasl_password"]):
        assert str(secret) not in out
    assert not (tmp_path / "ready" / "up.json").exists()

    process, again = await up(tmp_path, "--demo")
    assert again["clouds"] == ready["clouds"]
    assert await tells_of_the_end()
    assert (await run("send", PAYLOADS, *here))[0] == 0
    assert (await stop(process))[0] == 0


async def test_up_goes_on_when_nobody_reads_what_it_shows_and_when_it_can_see_nothing(tmp_path: Path) -> None:
    process, ready = await up(tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout._transport.close()  # type: ignore[attr-defined]  # as `| head -1` does
    process.stderr._transport.close()  # type: ignore[attr-defined]
    database = await asyncpg.connect(ready["database"])
    try:
        async with database.transaction():
            await database.execute("LOCK TABLE media_sync_log IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(5)  # far longer than the table that `up` shows waits for an answer
        assert process.returncode is None
        await database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'mediamirror' AND usename = current_user AND pid <> pg_backend_pid()"
        )
    finally:
        await database.close()
    assert (await run("send", PAYLOADS, "--data-dir", tmp_path))[0] == 0

    async def arrived() -> bool:
        return len(lines((await run("assets", "--data-dir", tmp_path, "--deleted", "--json", "--limit", 500))[1])) > 5

    await eventually(arrived)
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0


async def test_up_needs_an_account_when_it_may_not_make_one(tmp_path: Path) -> None:
    code, out, err = await run("up", "--data-dir", tmp_path, "--no-demo")
    assert (code, out) == (2, "")
    assert err.startswith("mediamirror: No Cloudinary account is configured")
    assert err.count("\n") == 1


async def test_roles_as_processes_take_webhooks_to_rows(environment: dict[str, str]) -> None:
    assert (await run("mirror", env=environment))[0] == 1
    migrations = ", ".join(sorted(file.stem for file in (FOLDER / "migrations").glob("*.sql")))
    assert await run("migrate", env=environment) == (0, f"applied {migrations}\n", "")
    assert await run("migrate", env=environment) == (0, "the schema is up to date\n", "")
    gateway, mirror = await start("gateway", env=environment), await start("mirror", env=environment)
    assert gateway.stderr is not None
    url = ""
    while not url:
        event = orjson.loads(await gateway.stderr.readline())
        url = event.get("url", "")

    async def sends() -> bool:
        code, out, _ = await run("send", PAYLOADS, "--url", url, "--json", "--shuffle", "--repeat", 3, env=environment)
        return code == 0 and orjson.loads(out)["accepted"] == orjson.loads(out)["sent"] == 3 * 15

    await eventually(sends)

    async def logged() -> bool:
        _, out, _ = await run("log", "--json", "--limit", 1000, env=environment)
        return len(lines(out)) >= 3 * 15

    await eventually(logged)
    _, table, _ = await run("assets", "--deleted", env=environment)
    assert "strawberry_milk_splash" in table
    _, out, _ = await run("assets", "kids_playing_with_puppy", "--json", env=environment)
    (row,) = lines(out)
    assert row["deleted_at"] == "2024-06-25T12:24:29.599817+00:00"
    _, out, _ = await run("log", "--outcome", "unchanged", "--json", env=environment)
    assert {line["outcome"] for line in lines(out)} == {"unchanged"}
    for role in (gateway, mirror):
        assert (await stop(role))[0] == 0


async def test_what_a_user_does_wrong_is_one_line_and_an_exit_code(
    environment: dict[str, str], tmp_path: Path, pool: Pool
) -> None:
    del pool
    away = environment | {"MEDIAMIRROR_DATABASE_URL": "postgresql://127.0.0.1:1/x", "MEDIAMIRROR_KAFKA_BOOTSTRAP": "127.0.0.1:1"}
    for arguments, env, code, message in (
        (("assets",), away, 1, "PostgreSQL can't be reached"),
        (("assets", "--data-dir", tmp_path), {}, 2, "No PostgreSQL is configured"),
        (("gateway",), {"CLOUDINARY_URL": "cloudinary://1:2@a"}, 2, "No Kafka is configured"),
        (("gateway",), {"MEDIAMIRROR_GATEWAY_PORT": "many"}, 2, "MEDIAMIRROR_GATEWAY_PORT"),
        (("mirror", "--accept-gap", "x"), environment, 2, "PARTITION:OFFSET"),
        (("mirror", "--accept-gap", "0:99"), environment, 2, "has no offset 99 in partition 0"),
        (("send", tmp_path), environment, 2, "holds no *.json"),
        (("send", PAYLOADS, "--cloud", "other"), environment, 2, "no secret is known for other"),
    ):
        exit_code, _, err = await run(*arguments, env=env)
        assert message in err
        assert (exit_code, err.count("\n")) == (code, 1), err
    exit_code, _, err = await run("send", PAYLOADS, "--url", "http://127.0.0.1:1", env=environment)
    assert (exit_code, err.count("\n")) == (1, 15)


async def test_settings_are_listed_with_secrets_masked(environment: dict[str, str]) -> None:
    code, out, _ = await run("settings", "--json", env=environment)
    listed = {row["variable"]: row for row in lines(out)}
    assert code == 0
    assert listed["MEDIAMIRROR_CLOUDS"]["value"] == "acme: 333333333333333=**********"
    assert listed["MEDIAMIRROR_DATABASE_URL"]["value"] == "**********"
    assert "a-secret-of-acme" not in out
    assert (await run("version"))[1].strip()
