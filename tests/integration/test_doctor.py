import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from service.doctor.doctor import Doctor
from service.doctor.finding import Finding, Level
from service.gateway.signature import sign
from service.kafka import ensure_topics
from service.settings import Cloud, Settings
from standin.options import Options
from standin.server import Standin, run_standin
from tests.bodies import CLOUD, KEY, SECRET
from tests.integration.conftest import MEDIAMIRROR, Mirrored


@pytest.fixture
async def standin() -> AsyncIterator[Standin]:
    async with run_standin(Options(data_dir=None, cloud=CLOUD, key=KEY, secret=SECRET.decode())) as standin:
        yield standin


def at(standin: Standin, settings: Settings, **more: Any) -> Settings:
    cloud = Cloud(keys={standin.key: SecretStr(standin.secret)}, upload_prefix=standin.url)
    return settings.model_copy(update={"clouds": {CLOUD: cloud}, **more})


async def examine(
    settings: Settings, gateway: str | None = None, admin: str | None = None, **options: bool
) -> dict[str, Finding]:
    """The worst finding of each check."""
    worst: dict[str, Finding] = {}
    order = list(Level)
    async for finding in Doctor(settings, gateway=gateway, admin=admin, **options).findings():
        if finding.check not in worst or order.index(finding.level) > order.index(worst[finding.check].level):
            worst[finding.check] = finding
    return worst


def levels(findings: dict[str, Finding]) -> dict[str, str]:
    return {check: finding.level.value for check, finding in findings.items()}


async def test_a_sound_installation_has_nothing_to_find_once_its_trigger_is_set(mirrored: Mirrored, standin: Standin) -> None:
    settings = at(standin, mirrored.settings, gateway_public_url=mirrored.gateway)
    await ensure_topics(settings)  # the relay's, too
    before = await examine(settings)
    assert levels(before) == {
        "settings": "ok",
        "postgresql": "ok",
        "outbox": "ok",
        "kafka": "ok",
        "credentials": "ok",
        "clock": "ok",
        "hourly calls": "ok",
        "folder mode": "ok",
        "trigger": "fail",
        "gateway": "ok",
    }
    assert "--fix" in str(before["trigger"].todo)
    assert (await examine(settings, fix=True))["trigger"].level is Level.OK
    (trigger,) = standin.notifier.triggers.listed()["triggers"]
    assert (trigger["event_type"], trigger["additive"]) == ("all", True)
    assert trigger["uri"] == f"{mirrored.gateway}/webhooks/cloudinary/{CLOUD}"
    assert set(levels(await examine(settings)).values()) == {"ok"}


async def test_a_trigger_that_is_not_sound_is_replaced_and_its_doubles_go(mirrored: Mirrored, standin: Standin) -> None:
    settings = at(standin, mirrored.settings, gateway_public_url=mirrored.gateway)
    uri = f"{mirrored.gateway}/webhooks/cloudinary/{CLOUD}"
    triggers = standin.notifier.triggers
    triggers.create(uri, "all", filter={"==": [1, 1]})
    triggers.create(uri, "upload")
    triggers.create("https://elsewhere.example.com/", "all")
    found = (await examine(settings))["trigger"]
    assert found.level is Level.FAIL
    assert "additive" in found.said
    assert "filter" in found.said
    assert len(triggers.listed()["triggers"]) == 3  # nothing is done without --fix
    assert (await examine(settings, fix=True))["trigger"].level is Level.OK
    assert sorted(one["uri"] for one in triggers.listed()["triggers"]) == sorted([uri, "https://elsewhere.example.com/"])


async def test_without_a_public_address_a_channel_can_be_set_up(mirrored: Mirrored, standin: Standin) -> None:
    settings = at(standin, mirrored.settings)
    found = (await examine(settings))["trigger"]
    assert found.level is Level.FAIL
    assert "--poll" in str(found.todo)
    assert (await examine(settings, fix=True, poll=True))["trigger"].level is Level.OK
    assert (await examine(settings))["trigger"].said == "all events go to poll://mediamirror"


async def test_the_gateway_of_a_demo_needs_no_public_address(mirrored: Mirrored, standin: Standin) -> None:
    settings = at(standin, mirrored.settings)
    await ensure_topics(settings)  # the relay's, too
    assert (await examine(settings, gateway=mirrored.gateway))["trigger"].level is Level.FAIL
    standin.notifier.triggers.create(f"{mirrored.gateway}/webhooks/cloudinary/{CLOUD}", "all", additive=True)
    found = await examine(settings, gateway=mirrored.gateway)
    assert set(levels(found).values()) == {"ok"}


async def test_a_wrong_secret_is_told_from_cloudinary_being_away(settings: Settings, standin: Standin) -> None:
    wrong = Cloud(keys={KEY: SecretStr("another")}, upload_prefix=standin.url)
    away = Cloud(keys={KEY: SecretStr("another")}, upload_prefix="http://127.0.0.1:1")
    found = await examine(settings.model_copy(update={"clouds": {CLOUD: wrong, "beta": away}}))
    assert (found["credentials"].cloud, found["credentials"].level) == (CLOUD, Level.FAIL)
    assert "API Keys" in found["credentials"].said
    assert "another" not in found["credentials"].said
    assert (found["cloudinary"].cloud, found["cloudinary"].level) == ("beta", Level.FAIL)


async def test_what_is_missing_keeps_no_other_check_from_being_made(standin: Standin, settings: Settings) -> None:
    bare = at(standin, settings, kafka_bootstrap="127.0.0.1:1", database_url=SecretStr("postgresql://127.0.0.1:1/none"))
    found = levels(await examine(bare))
    assert (found["kafka"], found["postgresql"], found["credentials"]) == ("fail", "fail", "ok")


async def test_a_database_without_its_schema_and_a_kafka_without_topics_are_found(settings: Settings, standin: Standin) -> None:
    found = await examine(at(standin, settings))
    assert "mediamirror migrate" in found["postgresql"].said
    assert (found["kafka"].level, found["kafka"].said) == (Level.FAIL, f"there is no topic {settings.notifications_topic}")
    await ensure_topics(settings)
    assert (await examine(at(standin, settings)))["kafka"].level is Level.OK


@pytest.mark.parametrize(("ahead", "level"), [(0, "ok"), (120, "warn"), (-120, "warn"), (600, "fail")])
async def test_a_clock_that_is_wrong_is_found_by_cloudinarys(settings: Settings, ahead: float, level: str) -> None:
    options = Options(data_dir=None, cloud=CLOUD, key=KEY, secret=SECRET.decode(), clock=lambda: time.time() - ahead)
    async with run_standin(options) as standin:
        assert (await examine(at(standin, settings)))["clock"].level == level


async def test_a_public_address_that_leads_nowhere_is_found(settings: Settings, standin: Standin) -> None:
    found = await examine(at(standin, settings, gateway_public_url="http://127.0.0.1:1"))
    assert found["gateway"].level is Level.WARN
    found = await examine(at(standin, settings, gateway_public_url=standin.url))
    assert found["gateway"].level is Level.FAIL


async def run_doctor(*arguments: str, **environment: str) -> tuple[int, bytes, bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MEDIAMIRROR_", "CLOUDINARY_"))}
    process = await asyncio.create_subprocess_exec(
        MEDIAMIRROR,
        "doctor",
        *arguments,
        env=kept | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out, err


async def test_the_command_exits_with_what_it_found(environment: dict[str, str], mirrored: Mirrored, standin: Standin) -> None:
    await ensure_topics(mirrored.settings)  # the relay's, too
    clouds = {CLOUD: {"keys": {KEY: SECRET.decode()}, "upload_prefix": standin.url}}
    environment |= {
        "MEDIAMIRROR_CLOUDS": orjson.dumps(clouds).decode(),
        "MEDIAMIRROR_GATEWAY_PUBLIC_URL": mirrored.gateway,
    }
    code, out, err = await run_doctor(**environment)
    assert (code, err) == (1, b"")
    assert "✗ trigger".encode() in out
    code, out, err = await run_doctor("--fix", "--json", **environment)
    assert (code, err) == (0, b"")
    assert {orjson.loads(line)["level"] for line in out.splitlines()} == {"ok"}
    assert SECRET not in out
    assert (await run_doctor(MEDIAMIRROR_KAFKA_BOOTSTRAP="127.0.0.1:1"))[0] == 2


async def test_a_gateway_that_refuses_all_of_a_cloud_is_found(mirrored: Mirrored, standin: Standin) -> None:
    settings = at(standin, mirrored.settings)
    assert (await examine(settings, admin=mirrored.admin))["signatures"].level is Level.OK
    body, now = b"{}", int(time.time())
    headers = {"X-Cld-Timestamp": str(now), "X-Cld-Signature": sign(body, now, b"another secret")}
    for _ in range(3):
        async with mirrored.session.post(f"{mirrored.gateway}/webhooks/cloudinary/{CLOUD}", data=body, headers=headers) as answer:
            assert answer.status == 401
    found = (await examine(settings, admin=mirrored.admin))["signatures"]
    assert (found.level, "every webhook of cloud" in found.said) == (Level.FAIL, True)
