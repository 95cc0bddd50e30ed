"""What a running `mediamirror up` says of itself, so that scripts and the other commands find it."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError

from service.settings import Cloud, Settings

FILE = "up.json"


class Running(BaseModel):
    """Where everything is. Holds secrets: the file is its owner's alone."""

    gateway: str
    database: str
    kafka: str
    clouds: dict[str, Any]  # as in MEDIAMIRROR_CLOUDS


def describe(gateway: str, settings: Settings) -> Running:
    """Describe a stack that runs with these settings."""
    assert settings.database_url is not None  # noqa: S101  # `up` has set both
    assert settings.kafka_bootstrap is not None  # noqa: S101
    return Running(
        gateway=gateway,
        database=settings.database_url.get_secret_value(),
        kafka=settings.kafka_bootstrap,
        clouds={
            name: {
                "keys": {key: secret.get_secret_value() for key, secret in cloud.keys.items()},
                "retired_keys": {key: secret.get_secret_value() for key, secret in cloud.retired_keys.items()},
                "upload_prefix": cloud.upload_prefix,
            }
            for name, cloud in settings.clouds.items()
        },
    )


@contextmanager
def announced(running: Running, *paths: Path) -> Iterator[None]:
    """Write the files, whole or not at all, and remove them at the end."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.touch(mode=0o600)
        partial.write_text(running.model_dump_json() + "\n")
        partial.replace(path)
    try:
        yield
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def joined(settings: Settings, data_dir: Path) -> Settings:
    """Give settings that speak to the stack running in `data_dir`, where they name nothing themselves."""
    running = None
    with contextlib.suppress(OSError, ValidationError):
        running = Running.model_validate_json((data_dir / FILE).read_bytes())
    if running is None or settings.database_url or settings.kafka_bootstrap:
        return settings
    clouds: Mapping[str, Cloud] = settings.clouds or {name: Cloud.model_validate(cloud) for name, cloud in running.clouds.items()}
    return settings.model_copy(
        update={"database_url": SecretStr(running.database), "kafka_bootstrap": running.kafka, "clouds": clouds}
    )


def gateway_of(data_dir: Path) -> str | None:
    """Give the URL of the gateway running in `data_dir`, if one says so."""
    try:
        return Running.model_validate_json((data_dir / FILE).read_bytes()).gateway
    except (OSError, ValidationError):
        return None
