"""What a running `mediamirror up` says of itself, so that scripts and the other commands find it."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from service.embedded.lock import LockFile
from service.embedded.private import write_private
from service.settings import Cloud, Settings, load_settings

FILE = "up.json"


class Running(BaseModel):
    """Where everything is. Holds secrets: the file is its owner's alone."""

    pid: int
    gateway: str
    admin: str | None = None  # of the gateway: /readyz and /metrics
    database: str
    kafka: str
    kafka_access: dict[str, str | None]  # what else a client of Kafka needs, by the names of our settings
    clouds: dict[str, Any]  # as in MEDIAMIRROR_CLOUDS


def describe(gateway: str, admin: str, settings: Settings) -> Running:
    """Describe a stack that runs with these settings."""
    assert settings.database_url is not None  # noqa: S101  # `up` has set both
    assert settings.kafka_bootstrap is not None  # noqa: S101
    password = settings.kafka_sasl_password
    return Running(
        pid=os.getpid(),
        gateway=gateway,
        admin=admin,
        database=settings.database_url.get_secret_value(),
        kafka=settings.kafka_bootstrap,
        kafka_access={
            "kafka_security_protocol": settings.kafka_security_protocol,
            "kafka_ssl_ca_file": str(settings.kafka_ssl_ca_file) if settings.kafka_ssl_ca_file else None,
            "kafka_sasl_mechanism": settings.kafka_sasl_mechanism,
            "kafka_sasl_username": settings.kafka_sasl_username,
            "kafka_sasl_password": password.get_secret_value() if password else None,
        },
        clouds={
            name: {
                "keys": {key: secret.get_secret_value() for key, secret in cloud.keys.items()},
                "retired_keys": {key: secret.get_secret_value() for key, secret in cloud.retired_keys.items()},
                "upload_prefix": cloud.upload_prefix,
            }
            for name, cloud in settings.clouds.items()
            if cloud.keys
        },
    )


class Announcement:
    """Files that say what runs, for as long as it does. Those that a killed one left behind are removed at once."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        for path in paths:
            if not _is_alive(_read(path), path.parent):
                path.unlink(missing_ok=True)

    @contextmanager
    def made(self, running: Running) -> Iterator[None]:
        """Write the files, whole or not at all, and remove them at the end."""
        for path in self._paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.renew(running)
        try:
            yield
        finally:
            for path in self._paths:
                if (said := _read(path)) is None or said.pid == os.getpid():
                    path.unlink(missing_ok=True)

    def renew(self, running: Running) -> None:
        """Write the files anew."""
        for path in self._paths:
            write_private(path, running.model_dump_json() + "\n")


def joined(settings: Settings, data_dir: Path) -> Settings:
    """Give settings that speak to the stack running in `data_dir`, where they name nothing themselves."""
    running = _running_in(data_dir)
    if running is None or settings.database_url or settings.kafka_bootstrap:
        return settings
    clouds: Mapping[str, Cloud] = settings.clouds or {name: Cloud.model_validate(cloud) for name, cloud in running.clouds.items()}
    there = {"database_url": running.database, "kafka_bootstrap": running.kafka, **running.kafka_access}
    told = load_settings(**there)
    return settings.model_copy(update={name: getattr(told, name) for name in there} | {"clouds": clouds})


def gateway_of(data_dir: Path) -> str | None:
    """Give the URL of the gateway running in `data_dir`, if one says so."""
    running = _running_in(data_dir)
    return running.gateway if running else None


def admin_of(data_dir: Path) -> str | None:
    """Give the URL of that gateway's /readyz and /metrics."""
    running = _running_in(data_dir)
    return running.admin if running else None


def _running_in(data_dir: Path) -> Running | None:
    running = _read(data_dir / FILE)
    return running if _is_alive(running, data_dir) else None


def _read(path: Path) -> Running | None:
    try:
        return Running.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _is_alive(running: Running | None, folder: Path) -> bool:
    """Tell whether what a file in `folder` tells of still runs, be it in another container, whose processes we can't see."""
    if running is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        with contextlib.suppress(PermissionError):
            os.kill(running.pid, 0)
        return True
    lock = LockFile(folder / "lock")
    if not lock.path.exists():
        return False
    is_free = lock.acquire()
    lock.release()
    return not is_free
