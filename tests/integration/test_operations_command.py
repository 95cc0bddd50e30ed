"""`mediamirror op` and `mediamirror ops`, as a person or a script meets them."""

import asyncio
from typing import Any

import orjson
import pytest

from service.database import Pool
from service.settings import Settings
from service.writeback import op_command
from service.writeback.operations import Kind, Request
from service.writeback.store import cancel
from tests.bodies import CLOUD
from tests.integration.conftest import MEDIAMIRROR, eventually
from tests.integration.test_writeback import PUBLIC_IDS, Desk, desk_with, row_of


async def run(*arguments: str, env: dict[str, str]) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        MEDIAMIRROR, *arguments, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def lines(out: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in out.splitlines()]


async def stocked(desk: Desk, environment: dict[str, str]) -> dict[str, str]:
    """Give the environment of a desk whose assets the mirror knows."""
    for public_id in PUBLIC_IDS[:3]:
        desk.standin.account.upload(b"", public_id=public_id, resource_type="raw")
        await row_of(desk, public_id)
    cloud = desk.settings.clouds[CLOUD]
    keys = {key: secret.get_secret_value() for key, secret in cloud.keys.items()}
    clouds = {CLOUD: {"keys": keys, "upload_prefix": desk.standin.url}}
    return environment | {"MEDIAMIRROR_CLOUDS": orjson.dumps(clouds).decode(), "MEDIAMIRROR_OPERATIONS_BACKOFF": "0.01"}


async def test_operations_are_asked_for_looked_at_done_retried_and_cancelled(
    settings: Settings, pool: Pool, environment: dict[str, str]
) -> None:
    async with desk_with(settings, pool) as desk:
        env = await stocked(desk, environment)
        code, out, _ = await run("op", "tags", "p/0", "--add", "x", "--json", env=env)
        (asked,) = lines(out)
        assert (code, asked["kind"], asked["status"], asked["public_id"]) == (0, "tags", "pending", "p/0")
        code, out, _ = await run("op", "destroy", "p/1", "p/2", "--dry-run", env=env)
        assert (code, out.count("would be queued")) == (0, 2)
        _, out, _ = await run("op", "destroy", "p/1", "--if-version", "7", "--json", env=env)
        (doomed,) = lines(out)
        _, out, _ = await run("op", "rename", "p/2", "p/9", "--json", env=env)
        (unwanted,) = lines(out)
        code, out, _ = await run("ops", "cancel", str(unwanted["id"]), "--json", env=env)
        assert (code, [one["status"] for one in lines(out)]) == (0, ["cancelled"])

        code, out, _ = await run("ops", "process", "--json", env=env)
        assert (code, {one["id"]: one["status"] for one in lines(out)}) == (
            1, {asked["id"]: "completed", doomed["id"]: "failed"},
        )  # fmt: skip
        _, out, _ = await run("ops", "list", "--status", "failed", "--json", env=env)
        assert [(one["id"], "conflict" in one["error"]) for one in lines(out)] == [(doomed["id"], True)]
        code, out, _ = await run("ops", "retry", "--all", "--json", env=env)
        assert (code, lines(out)) == (0, [{"id": doomed["id"], "status": "pending"}])
        _, out, _ = await run("ops", "stats", "--json", env=env)
        told = {(one["kind"], one["status"]): one["operations"] for one in lines(out)}
        assert told == {("tags", "completed"): 1, ("destroy", "pending"): 1, ("rename", "cancelled"): 1}
        assert desk.assets().keys() == {"p/0", "p/1", "p/2"}

        await pool.execute("DELETE FROM media_assets WHERE public_id <> 'p/1'")
        code, out, _ = await run("ops", "cancel", "--sql", "--json", env=env)
        assert (code, {one["public_id"] for one in lines(out)}) == (0, {"p/0", "p/2"})


async def test_waiting_tells_how_it_ended(settings: Settings, pool: Pool, environment: dict[str, str]) -> None:
    async with desk_with(settings, pool) as desk:
        env = await stocked(desk, environment)
        working = asyncio.create_task(desk.writeback().run())
        try:
            done, failed, lost = await asyncio.gather(
                run("op", "destroy", "p/0", "--wait", env=env),
                run("op", "rename", "p/1", "p/2", "--wait", env=env),
                run("op", "upload", f"{desk.standin.url}/nothing.png", "--public-id", "n", "--wait", env=env),
            )
        finally:
            working.cancel()
            await asyncio.wait([working])
        assert (done[0], done[1].split()[-1]) == (0, "completed")
        assert (failed[0], "another asset is called p/2 already" in failed[1]) == (1, True)
        assert (lost[0], "failed" in lost[1]) == (1, True), lost
        assert "p/0" not in desk.assets()


async def test_what_can_t_be_is_one_clear_line(pool: Pool, environment: dict[str, str]) -> None:
    for cloud in ("acme", "other"):
        await pool.execute(
            "INSERT INTO media_assets (cloud, asset_id, public_id, clocks, revision) VALUES ($1, $1, 'twice', '{}', 1)", cloud
        )
    huge = str(2**63)
    for arguments, message in (
        (("op", "destroy", "nothing"), "The mirror knows no asset nothing."),
        (("op", "destroy", "twice"), "twice may be any of"),
        (("op", "tags", "p/0"), "say --add and --remove, or --set, or --clear"),
        (("op", "tags", "p/0", "--add", "a,b"), "has no comma"),
        (("op", "access", "p/0", "[]x"), "neither public, token nor JSON"),
        (("op", "upload", "file:///etc/passwd"), "Cloudinary gets files by http"),
        (("op", "upload", "/etc/passwd"), "Cloudinary gets files by http"),
        (("op", "upload", "https://example.com/x.png", "--cloud", "nope"), "there is no cloud nope. Configured: acme."),
        (("ops", "cancel"), "Say which operations"),
    ):
        code, out, err = await run(*arguments, env=environment)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert message in err
    for arguments in (
        ("ops", "list", huge),
        ("ops", "cancel", huge),
        ("ops", "retry", huge),
        ("op", "destroy", "acme", "--if-version", huge),
    ):
        code, out, err = await run(*arguments, env=environment)
        assert (code, out, "Traceback" in err) == (2, "", False), err
    two = environment | {"MEDIAMIRROR_CLOUDS": '{"acme": {"keys": {"1": "x"}}, "other": {"keys": {"2": "y"}}}'}
    code, out, err = await run("op", "upload", "https://example.com/x.png", env=two)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "Say for which cloud it is, with --cloud: there are several. Configured: acme, other." in err
    code, _, err = await run("ops", "cancel", "7", env=environment)
    assert (code, "None of these operations could be cancelled" in err) == (1, True)


async def test_waiting_for_nobody_says_so(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(op_command, "_PATIENCE_SECONDS", 0.01)
    request = Request(CLOUD, Kind.DESTROY, {}, "a" * 32)
    said = ""

    async def wait() -> None:
        with pytest.raises(SystemExit):
            await op_command._ask(settings, [request], wait=True, dry_run=False, as_json=False)

    waiting = asyncio.create_task(wait())

    async def has_said() -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return "still pending after 0 tries: is `mediamirror writeback` running" in said

    await eventually(has_said, seconds=10)
    await cancel(pool, [1])
    await waiting
    assert "cancelled" in capsys.readouterr().out


async def test_notices_wake_the_workers(settings: Settings, pool: Pool) -> None:
    async with desk_with(settings, pool) as desk:
        working = asyncio.create_task(desk.writeback().run())
        try:
            desk.standin.account.upload(b"", public_id="p/0", resource_type="raw")
            await row_of(desk, "p/0")
            await pool.execute("DELETE FROM media_assets")

            async def is_gone() -> bool:
                return "p/0" not in desk.assets()

            await eventually(is_gone, seconds=10)
        finally:
            working.cancel()
            await asyncio.wait([working])
