"""Keys that are rotated while a role runs."""

import asyncio
import base64
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
import pytest
import structlog
from cloudinary import api

import service.reloading
from service.cloudinary.client import Account, Purpose
from service.gateway.record import Recorder
from service.gateway.signature import Policy, RefusedSignatureError, read_claim, sign
from service.reloading import KeyReload
from service.settings import Settings, load_settings
from tests.answering import Reply, answering

OLD, NEW = {"1": "the-old"}, {"2": "the-new"}
BODY = b'{"notification_type": "upload"}'


class Secrets:
    """A file of clouds, as MEDIAMIRROR_CLOUDS_FILE names it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def hold(self, **clouds: Mapping[str, str]) -> None:
        self.path.write_bytes(orjson.dumps({name: {"keys": keys} for name, keys in clouds.items()}))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Secrets:
    file = Secrets(tmp_path / "clouds.json")
    monkeypatch.setenv("MEDIAMIRROR_CLOUDS_FILE", str(file.path))
    file.hold(acme=OLD)
    return file


def key_of(recorder: Recorder, secret: str, cloud: str = "acme") -> str | None:
    """Which key a signature is taken to be made with; None: it is refused."""
    now = int(time.time())
    claim = read_claim(sign(BODY, now, secret.encode()), str(now), has_v2=False, now=now, policy=Policy())
    try:
        headers = recorder.record(cloud, BODY, claim).headers
    except RefusedSignatureError:
        return None
    return dict(headers)["key-id"].decode()


def said(logs: Sequence[Mapping[str, object]], level: str) -> list[object]:
    return [line["event"] for line in logs if line["log_level"] == level]


def test_new_keys_pass_at_once_and_removed_ones_no_longer(file: Secrets) -> None:
    settings = load_settings()
    recorder, keys = Recorder(settings), KeyReload(settings)
    assert (key_of(recorder, "the-old"), key_of(recorder, "the-new")) == ("1", None)
    file.hold(acme=NEW | OLD)
    keys.reload()
    assert (key_of(recorder, "the-old"), key_of(recorder, "the-new")) == ("1", "2")
    file.hold(acme=NEW)
    keys.reload()
    assert (key_of(recorder, "the-old"), key_of(recorder, "the-new")) == (None, "2")


def test_settings_made_of_others_use_the_same_keys(file: Secrets) -> None:
    settings = load_settings()
    recorder = Recorder(settings.model_copy(update={"gateway_port": 0}))
    file.hold(acme=NEW)
    KeyReload(settings).reload()
    assert key_of(recorder, "the-new") == "2"


async def test_the_sdk_and_what_we_announce_are_signed_with_the_new_first_key(file: Secrets) -> None:
    settings = load_settings()
    keys = KeyReload(settings)
    async with answering(Reply(200, {"a": 1})) as server:
        settings.clouds["acme"].upload_prefix = server.url
        async with Account("acme", settings.clouds["acme"], settings, None) as account:
            await account.call(api.ping, purpose=Purpose.CHECK)
            file.hold(acme=NEW | OLD)
            keys.reload()
            await account.call(api.ping, purpose=Purpose.CHECK)
            assert (account.key_id, account.secret) == ("2", b"the-new")
    used = [base64.b64decode(str(line).removeprefix("Basic ")).decode() for line in server.authorizations]
    assert used == ["1:the-old", "2:the-new"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no json",
        b"{}",
        b'{"acme": {"keys": {}}}',
        b'{"acme": {"keys": {"2": " "}}}',
        b'{"a/b": {"keys": {"2": "x"}}}',
        b"\xff",
        None,
    ],
)
def test_what_cannot_be_used_is_refused_loudly_and_the_old_keys_stay(file: Secrets, content: bytes | None) -> None:
    settings = load_settings()
    recorder, keys = Recorder(settings), KeyReload(settings)
    keys.then(lambda: pytest.fail("nothing has changed"))
    if content is None:
        file.path.unlink()
    else:
        file.path.write_bytes(content)
    with structlog.testing.capture_logs() as logs:
        keys.reload()
    assert said(logs, "error") == ["keys not reloaded, the old ones stay"]
    assert key_of(recorder, "the-old") == "1"


def test_a_cloud_that_is_gone_passes_no_more_and_one_that_is_new_takes_a_restart(file: Secrets) -> None:
    file.hold(acme=OLD, umbrella={"3": "of-umbrella"})
    settings = load_settings()
    recorder, keys = Recorder(settings), KeyReload(settings)
    file.hold(acme=NEW, fresh={"4": "of-fresh"})
    with structlog.testing.capture_logs() as logs:
        keys.reload()
    assert key_of(recorder, "the-new") == "2"
    assert key_of(recorder, "of-umbrella", "umbrella") is None
    assert [line["cloud"] for line in logs if line["log_level"] == "warning"] == ["umbrella", "fresh"]
    file.hold(acme=NEW, umbrella={"5": "again"})
    keys.reload()
    assert key_of(recorder, "again", "umbrella") == "5"


def test_no_key_is_in_the_log(file: Secrets) -> None:
    keys = KeyReload(load_settings())
    file.hold(acme=NEW)
    with structlog.testing.capture_logs() as logs:
        keys.reload()
        file.path.write_text('{"acme": {"keys": {"the-new": 1}}}')
        keys.reload()
    assert "the-" not in str(logs)


def test_keys_of_the_environment_stay_and_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDINARY_URL", "cloudinary://1:the-old@acme")
    keys = KeyReload(load_settings())
    with structlog.testing.capture_logs() as logs:
        keys.reload()
        KeyReload(load_settings(clouds={})).reload()
    assert "MEDIAMIRROR_CLOUDS_FILE" in str(logs)


async def watched(keys: KeyReload, settings: Settings, monkeypatch: pytest.MonkeyPatch, expected: str) -> None:
    """Watch until the cloud signs with a key."""
    monkeypatch.setattr(service.reloading, "_LOOK_SECONDS", 0.01)
    changed = asyncio.Event()

    def look() -> None:
        if settings.clouds["acme"].keyring.signing[0] == expected:
            changed.set()

    keys.then(look)
    watching = asyncio.create_task(keys.watch())
    async with asyncio.timeout(10):
        await changed.wait()
    watching.cancel()


async def test_a_file_that_changes_is_read_again(file: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    keys = KeyReload(settings)
    file.hold(acme=NEW)
    await watched(keys, settings, monkeypatch, "2")


async def test_a_link_that_is_swapped_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # as Kubernetes mounts a secret: clouds.json -> ..data/clouds.json, ..data -> a folder of its own for each version
    for version, held in (("1", OLD), ("2", NEW)):
        (tmp_path / version).mkdir()
        Secrets(tmp_path / version / "clouds.json").hold(acme=held)
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "clouds.json").symlink_to("..data/clouds.json")
    monkeypatch.setenv("MEDIAMIRROR_CLOUDS_FILE", str(tmp_path / "clouds.json"))
    settings = load_settings()
    keys = KeyReload(settings)
    (tmp_path / "..next").symlink_to("2")
    (tmp_path / "..next").replace(tmp_path / "..data")
    await watched(keys, settings, monkeypatch, "2")


async def test_a_key_in_a_file_of_its_own_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the-old")
    monkeypatch.setenv("MEDIAMIRROR_CLOUDS__acme__keys__1_FILE", str(secret))
    settings = load_settings()
    recorder, keys = Recorder(settings), KeyReload(settings)
    assert key_of(recorder, "the-old") == "1"
    secret.write_text("the-new!")
    await watched(keys, settings, monkeypatch, "1")
    assert key_of(recorder, "the-new!") == "1"


async def test_a_bad_file_does_not_end_the_watch(file: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    keys = KeyReload(settings)
    monkeypatch.setattr(service.reloading, "_LOOK_SECONDS", 0.01)
    file.path.write_text("{")
    with structlog.testing.capture_logs() as logs:
        watching = asyncio.create_task(keys.watch())
        await asyncio.sleep(0.5)
        watching.cancel()
    assert said(logs, "error") == ["keys not reloaded, the old ones stay"]  # once for each change
    file.hold(acme=NEW)
    await watched(keys, settings, monkeypatch, "2")
