import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.embedded.lock import LockFile
from service.running import FILE, Announcement, Running, describe, gateway_of, joined
from service.settings import Settings, load_settings


def settings_of_up() -> Settings:
    return load_settings(
        database_url="postgresql://u:p@127.0.0.1:1/d",
        kafka_bootstrap="127.0.0.1:2",
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_username="u",
        kafka_sasl_password="kafkas",
        clouds={"acme": {"keys": {"1": "one"}, "upload_prefix": "http://127.0.0.1:3"}},
    )


def running() -> Running:
    return describe("http://127.0.0.1:8080", "http://127.0.0.1:8090", settings_of_up())


def of_a_dead_process() -> Running:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    return running().model_copy(update={"pid": dead.pid})


def test_a_command_joins_with_all_that_it_needs_to_get_in(tmp_path: Path) -> None:
    with Announcement(tmp_path / FILE).made(running()):
        there = joined(load_settings(), tmp_path)
        assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
        assert gateway_of(tmp_path) == "http://127.0.0.1:8080"
    wanted = settings_of_up()
    for name in (
        "database_url",
        "kafka_bootstrap",
        "kafka_security_protocol",
        "kafka_sasl_username",
        "kafka_sasl_password",
        "clouds",
    ):
        assert getattr(there, name) == getattr(wanted, name), name
    assert not (tmp_path / FILE).exists()
    assert joined(load_settings(), tmp_path).kafka_bootstrap is None


def test_a_command_that_names_a_server_itself_joins_nothing(tmp_path: Path) -> None:
    own = load_settings(kafka_bootstrap="kafka:9092")
    with Announcement(tmp_path / FILE).made(running()):
        assert joined(own, tmp_path) == own


def test_what_a_killed_process_left_behind_is_neither_joined_nor_kept(tmp_path: Path) -> None:
    files = [tmp_path / FILE, tmp_path / "ready.json"]
    for file in files:
        file.write_text(of_a_dead_process().model_dump_json())
    assert joined(load_settings(), tmp_path).kafka_bootstrap is None
    assert gateway_of(tmp_path) is None
    (tmp_path / "of-old").write_text('{"gateway": "of a version that named no process"}')
    Announcement(*files, tmp_path / "of-old")
    assert list(tmp_path.glob("*[!k]")) == []


def test_what_another_process_says_stays(tmp_path: Path) -> None:
    alive = running().model_copy(update={"pid": os.getppid()})
    (tmp_path / FILE).write_text(alive.model_dump_json())
    announcement = Announcement(tmp_path / FILE)
    assert (tmp_path / FILE).exists()
    with announcement.made(running()):
        (tmp_path / FILE).write_text(alive.model_dump_json())
    assert (tmp_path / FILE).exists()


def test_a_process_of_another_container_is_known_by_its_lock(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(of_a_dead_process().model_dump_json())
    lock = LockFile(tmp_path / "lock")
    assert lock.acquire()
    assert gateway_of(tmp_path) is not None
    lock.release()
    assert gateway_of(tmp_path) is None


def test_the_files_go_whatever_ends_it(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Announcement(tmp_path / "deep" / FILE).made(running()):
        raise KeyboardInterrupt
    assert not (tmp_path / "deep" / FILE).exists()
