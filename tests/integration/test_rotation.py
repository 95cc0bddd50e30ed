"""SIGHUP, and keys that are rotated, in the processes that users run."""

import asyncio
import os
import pty
import signal
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from service.gateway.signature import sign
from tests.bodies import CLOUD, upload
from tests.integration.conftest import MEDIAMIRROR, eventually

OLD, NEW = {"1": "the-old"}, {"2": "the-new"}
NOBODY = "http://127.0.0.1:9"  # takes no calls

_started: list[Process] = []


@pytest.fixture(autouse=True)
async def _no_process_outlives_its_test() -> AsyncIterator[None]:
    yield
    for process in _started:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    _started.clear()


class Site:
    """Settings whose keys are in a file."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.file = folder / "clouds.json"
        self.environment = {name: value for name, value in environment.items() if name != "MEDIAMIRROR_CLOUDS"}
        self.environment |= {"MEDIAMIRROR_CLOUDS_FILE": str(self.file), "MEDIAMIRROR_RECONCILE_EVERY": "0"}
        self.hold(OLD)

    def hold(self, keys: Mapping[str, str]) -> None:
        partial = self.file.with_name("partial")
        partial.write_bytes(orjson.dumps({CLOUD: {"keys": keys, "upload_prefix": NOBODY}}))
        partial.replace(self.file)

    async def start(self, *arguments: object, **options: Any) -> Process:
        process = await asyncio.create_subprocess_exec(
            MEDIAMIRROR, *map(str, arguments), env=os.environ | self.environment, **({"stdout": PIPE, "stderr": PIPE} | options)
        )
        _started.append(process)
        return process

    async def run(self, *arguments: object) -> tuple[int | None, str, str]:
        process = await self.start(*arguments)
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def site(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[Site]:
    # a process inherits that SIGHUP is ignored, as under `nohup`, and respects it
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    site = Site(environment, tmp_path)
    assert (await site.run("migrate"))[0] == 0
    yield site
    signal.signal(signal.SIGHUP, before)


async def event(process: Process, name: str) -> dict[str, Any]:
    """Read the log up to an event."""
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while True:
            line = orjson.loads(await process.stderr.readline())
            if line["event"] == name:
                return dict(line)


async def catches_sighup(process: Process) -> None:
    """Wait until SIGHUP does not simply kill it any more."""

    async def does() -> bool:
        return _catches(process.pid, signal.SIGHUP)

    await eventually(does)


def _catches(pid: int, number: signal.Signals) -> bool:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(lines["SigCgt"].strip(), 16) >> (number - 1) & 1)


async def statuses(gateway: str) -> list[int]:
    """What the gateway says to a body signed with the old key, and to one with the new."""
    found = []
    body = orjson.dumps(upload(at=1))
    async with aiohttp.ClientSession() as session:
        for secret in ("the-old", "the-new"):
            now = int(time.time())
            headers = {"X-Cld-Timestamp": str(now), "X-Cld-Signature": sign(body, now, secret.encode())}
            async with session.post(f"{gateway}/webhooks/cloudinary/{CLOUD}", data=body, headers=headers) as answer:
                found.append(answer.status)
    return found


async def test_a_gateway_takes_the_keys_of_now_at_sighup_and_when_their_file_changes(site: Site) -> None:
    gateway = await site.start("gateway")
    url = (await event(gateway, "gateway listens"))["url"]
    assert await statuses(url) == [200, 401]
    site.hold(NEW | OLD)
    gateway.send_signal(signal.SIGHUP)
    assert (await event(gateway, "keys reloaded"))["keys"] == ["2", "1"]
    assert await statuses(url) == [200, 200]
    site.hold(NEW)
    await event(gateway, "keys reloaded")  # without being told
    assert await statuses(url) == [401, 200]
    site.file.write_text("{")
    gateway.send_signal(signal.SIGHUP)
    assert (await event(gateway, "keys not reloaded, the old ones stay"))["level"] == "error"
    assert await statuses(url) == [401, 200]
    gateway.send_signal(signal.SIGTERM)
    assert await gateway.wait() == 0


async def test_up_tells_other_commands_of_the_new_keys_and_lives_through_sighup(site: Site, tmp_path: Path) -> None:
    folder, ready = tmp_path / "data", tmp_path / "ready.json"
    up = await site.start("up", "--data-dir", folder, "--gateway-port", 0, "--ready-file", ready)

    async def is_ready() -> bool:
        assert up.returncode is None, (await up.communicate())[1].decode()
        return ready.exists()

    await eventually(is_ready)
    url = orjson.loads(ready.read_bytes())["gateway"]
    assert await statuses(url) == [200, 401]
    site.hold(NEW)
    up.send_signal(signal.SIGHUP)

    async def is_told() -> bool:
        told = [orjson.loads(file.read_bytes()) for file in (ready, folder / "up.json")]
        return all(one["clouds"][CLOUD]["keys"] == NEW for one in told)

    await eventually(is_told)
    assert await statuses(url) == [401, 200]
    assert ready.stat().st_mode & 0o777 == 0o600
    up.send_signal(signal.SIGTERM)
    out, _ = await up.communicate()
    assert up.returncode == 0
    assert not ready.exists()
    assert not (folder / "up.json").exists()
    assert b"the-" not in out


@pytest.mark.parametrize("role", ["mirror", "relay", "writeback", "reconciler", "poller"])
async def test_no_role_ends_at_sighup(site: Site, role: str) -> None:
    site.environment |= {f"MEDIAMIRROR_{name}_PORT": "0" for name in ("WRITEBACK", "RECONCILER", "POLLER")}
    site.environment["MEDIAMIRROR_LOG_LEVEL"] = "info"
    process = await site.start(role)
    await catches_sighup(process)
    site.hold(NEW)
    await event(process, "keys reloaded")
    site.hold(OLD)
    process.send_signal(signal.SIGHUP)
    await event(process, "keys reloaded")
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    assert process.returncode == 0


async def test_a_command_whose_caller_hangs_up_ends_in_order(site: Site) -> None:
    following = await site.start("log", "--follow")
    await catches_sighup(following)
    following.send_signal(signal.SIGHUP)
    _, err = await following.communicate()
    assert (following.returncode, err) == (0, b"")


async def test_a_role_whose_terminal_is_closed_drains_and_ends(site: Site) -> None:
    leader, terminal = pty.openpty()
    gateway = await site.start("gateway", stdin=terminal, start_new_session=True)
    os.close(terminal)
    await event(gateway, "gateway listens")
    os.close(leader)
    gateway.send_signal(signal.SIGHUP)  # as the kernel sends it to whoever the terminal controls
    assert await gateway.wait() == 0
