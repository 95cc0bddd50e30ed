"""Every setting, in one place.

Each is an environment variable, `MEDIAMIRROR_` and its name in capitals. `MEDIAMIRROR_<NAME>_FILE` names a file that holds the
value instead, as Docker and Kubernetes mount secrets.
"""

import os
import re
import socket
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BaseModel, ByteSize, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from service.database_url import FORM, is_database_url
from service.errors import MediamirrorError
from service.keyring import Keyring

PREFIX = "MEDIAMIRROR_"
_CLOUD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_NO_CLOUD_NAME = "a cloud's name is empty, or has other characters than letters, digits, - and _"
_BOOTSTRAP = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")  # one server of several

Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[float, Field(gt=0)]


class InvalidSettingsError(MediamirrorError):
    """The settings can't be used: {problems}. `mediamirror settings` lists them all with their meaning."""

    exit_code = 2


class NoCloudError(MediamirrorError):
    """No Cloudinary account is configured, so no signature could be checked. Set CLOUDINARY_URL=cloudinary://KEY:SECRET@CLOUD,
    or MEDIAMIRROR_CLOUDS='{{"CLOUD": {{"keys": {{"KEY": "SECRET"}}}}}}' for several keys or clouds.
    """

    exit_code = 2


class UnknownCloudError(MediamirrorError):
    """Say which cloud with --cloud, and sign with a configured key or --secret-file: {reason}. Configured: {known}."""

    exit_code = 2


class WhichCloudError(MediamirrorError):
    """Say for which cloud it is, with --cloud: {reason}. Configured: {known}."""

    exit_code = 2


class Cloud(BaseModel):
    """One Cloudinary account (product environment)."""

    model_config = ConfigDict(extra="forbid")

    keys: Annotated[dict[str, SecretStr], Field(min_length=1)]  # API key -> API secret; the first signs what we send
    retired_keys: dict[
        str, SecretStr
    ] = {}  # rotated away: no webhook is accepted by them, but what the log has of them is proven
    upload_prefix: str | None = None  # where its API is, when that is not https://api.cloudinary.com

    @field_validator("keys", "retired_keys")
    @classmethod
    def _whole(cls, keys: dict[str, SecretStr]) -> dict[str, SecretStr]:
        # A signature made with an empty secret is one that anybody can make.
        for what, text in [("key", key) for key in keys] + [("secret", secret.get_secret_value()) for secret in keys.values()]:
            if not text.strip():
                msg = f"an API {what} is empty"
                raise ValueError(msg)
            if re.search(r"\s", text):
                msg = f"an API {what} has white space in it"
                raise ValueError(msg)
        return keys

    @cached_property
    def keyring(self) -> Keyring:
        """The keys as they are now: they may be replaced while we run, which `keys` follows."""
        return Keyring({key: secret.get_secret_value() for key, secret in self.keys.items()})

    def replace_keys(self, keys: Mapping[str, SecretStr]) -> bool:
        """Use these keys from now on, wherever this cloud is in use; tells whether they are others."""
        is_new = self.keyring.replace({key: secret.get_secret_value() for key, secret in keys.items()})
        self.keys = dict(keys)
        return is_new


class Settings(BaseSettings):
    """The settings of every role; each role reads those it needs."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="ignore", validate_default=True)

    clouds: dict[str, Cloud] = Field({}, description="Cloudinary accounts: cloud name -> {keys: {API key: API secret}}.")

    kafka_bootstrap: str | None = Field(None, description="Kafka's bootstrap servers, host:port,… Unset: `up` runs its own.")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to talk to Kafka."
    )
    kafka_ssl_ca_file: Path | None = Field(None, description="Certificate authorities for SSL; unset: the system's.")
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field("PLAIN", description="For SASL.")
    kafka_sasl_username: str | None = Field(None, description="For SASL.")
    kafka_sasl_password: SecretStr | None = Field(None, description="For SASL.")
    kafka_compression: Literal["none", "gzip", "lz4", "zstd"] = Field("lz4", description="Of what we produce.")

    notifications_topic: str = Field("cloudinary.notifications", description="The log of all that Cloudinary said.")
    notifications_partitions: int = Field(12, ge=1, description="Of a topic that we create.")
    notifications_replication: int = Field(1, ge=1, description="Of a topic that we create; 3 in production.")
    notifications_retention: int = Field(
        -1, ge=-1, description="Days, of a topic that we create; -1 keeps all, so that the mirror can be rebuilt."
    )

    events_topic: str = Field("media.events", description="Each change, as a CloudEvent.")
    assets_topic: str = Field("media.assets", description="Each asset's current state; compacted.")
    events_partitions: int = Field(12, ge=1, description="Of these topics, when we create them.")
    events_retention: int = Field(7, ge=-1, description="Days that events stay, of a topic that we create; -1 keeps all.")
    relay_host: str = Field("127.0.0.1", description="Where the relay's /livez, /readyz and /metrics listen.")
    relay_port: Port = Field(8082, description="Where the relay's /livez, /readyz and /metrics listen; 0 picks a free port.")

    database_url: SecretStr | None = Field(None, description="PostgreSQL, postgresql://user:password@host/database.")
    database_timeout: Positive = Field(30, description="Seconds for one statement.")

    gateway_host: str = Field("127.0.0.1", description="Where the gateway listens; 0.0.0.0 in a container.")
    gateway_port: Port = Field(8080, description="Where the gateway listens; 0 picks a free port.")
    admin_host: str = Field("127.0.0.1", description="Where the gateway's /livez, /readyz and /metrics listen.")
    admin_port: Port = Field(8086, description="Where the gateway's /livez, /readyz and /metrics listen; 0 picks a free port.")
    gateway_max_body: ByteSize = Field(
        ByteSize(10 * 1024**2), le=10 * 1024**2, description="Largest webhook, in bytes; 413 beyond."
    )
    gateway_max_unverified: ByteSize = Field(
        ByteSize(64 * 1024**2), ge=1, description="Bytes of bodies on their way in, of all senders together; 503 beyond."
    )
    gateway_max_connections: int = Field(512, ge=1, description="Connections at a time; the idle make room, then 503.")
    gateway_header_timeout: Positive = Field(10, description="Seconds for the head of a request.")
    gateway_body_timeout: Positive = Field(20, description="Seconds for a body; 408 then. Cloudinary gives up at 20.")
    gateway_max_pending: ByteSize = Field(
        ByteSize(256 * 1024**2), description="Bytes of webhooks that may wait for Kafka; 503 beyond."
    )
    gateway_ack_timeout: Positive = Field(10, le=19, description="Seconds for Kafka to ack; 503 then. Cloudinary gives up at 20.")
    gateway_shutdown_timeout: Positive = Field(20, description="Seconds for what is in flight when told to stop.")
    signature_max_age: int = Field(7200, ge=1, description="Seconds that a signature stays good.")
    signature_max_future: int = Field(300, ge=0, description="Seconds that a signature may lie ahead of our clock.")
    signature_algorithms: frozenset[Literal["sha1", "sha256"]] = Field(
        frozenset({"sha1", "sha256"}), min_length=1, description="Digests accepted; an account can be set to SHA-256 alone."
    )

    mirror_group: str = Field("mediamirror", description="The mirror's consumer group.")
    mirror_instance_id: str = Field(
        default_factory=socket.gethostname,
        description="This mirror's name in its group (static membership). Default: host name.",
    )
    mirror_batch: int = Field(400, ge=1, description="Most notifications in one transaction.")
    mirror_verifies_signatures: bool = Field(
        False,  # a default
        description="Whether the mirror, too, refuses what no key of its cloud has signed; needs the clouds' keys then.",
    )
    sync_log_retention: int = Field(30, ge=1, description="Days that the sync log is kept.")
    mirror_host: str = Field("127.0.0.1", description="Where the mirror's /livez, /readyz and /metrics listen.")
    mirror_port: Port = Field(8081, description="Where the mirror's /livez, /readyz and /metrics listen; 0 picks a free port.")

    gateway_public_url: str | None = Field(None, description="Where Cloudinary reaches the gateway, https://host; for `doctor`.")

    cloudinary_threads: int = Field(8, ge=1, description="Calls of Cloudinary's APIs at a time, by cloud.")
    cloudinary_timeout: Positive = Field(60, description="Seconds for one call of Cloudinary's APIs.")

    reconcile_share: float = Field(0.5, gt=0, le=1, description="Of the Admin API's hourly calls, what reconciliation may take.")
    reconcile_every: float = Field(24, ge=0, description="Hours from sweep to sweep; 0: only by `mediamirror reconcile`.")
    reconcile_grace: float = Field(3600, ge=0, description="Seconds a row must have been at rest to be taken for gone.")
    reconcile_cap: float = Field(
        0.1, ge=0, le=1, description="Share of the rows that one sweep may take for gone, if more than ten."
    )
    reconciler_host: str = Field("127.0.0.1", description="Where the reconciler's /livez, /readyz and /metrics listen.")
    reconciler_port: Port = Field(8083, description="Where the reconciler's /livez, /readyz and /metrics listen; 0: any free.")

    operations_attempts: int = Field(5, ge=1, description="Tries of an operation at Cloudinary before it has failed.")
    operations_backoff: Positive = Field(5, description="Seconds before the second try; twice as long before each next one.")
    operations_lease: Positive = Field(300, description="Seconds after which a crashed worker's operations are taken up.")
    operations_retention: int = Field(30, ge=1, description="Days that completed operations are kept.")
    cleanup_delay: float = Field(10, ge=0, description="Seconds in which `mediamirror ops cancel` undoes a deletion by SQL.")
    writeback_host: str = Field("127.0.0.1", description="Where the write-back's /livez, /readyz and /metrics listen.")
    writeback_port: Port = Field(8084, description="Where the write-back's /livez, /readyz and /metrics listen; 0: any free.")

    poller_channel: str = Field("mediamirror", description="The poll:// channel that the poller reads.")
    poller_host: str = Field("127.0.0.1", description="Where the poller's /livez, /readyz and /metrics listen.")
    poller_port: Port = Field(8085, description="Where the poller's /livez, /readyz and /metrics listen; 0: any free.")

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["auto", "console", "json"] = Field("auto", description="auto: console on a terminal, else json.")

    @field_validator("clouds")
    @classmethod
    def _named(cls, clouds: dict[str, Cloud]) -> dict[str, Cloud]:
        if not all(_CLOUD_NAME.fullmatch(name) for name in clouds):
            raise ValueError(_NO_CLOUD_NAME)
        return clouds

    @field_validator("database_url")
    @classmethod
    def _is_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not is_database_url(url.get_secret_value()):
            msg = f"is not of the form {FORM}. In a password, write / as %2F, # as %23, ? as %3F, @ as %40 and % as %25"
            raise ValueError(msg)
        return url

    @field_validator("kafka_bootstrap")
    @classmethod
    def _is_bootstrap(cls, servers: str | None) -> str | None:
        if servers is not None and not all(_BOOTSTRAP.fullmatch(server.strip()) for server in servers.split(",")):
            msg = f"is not of the form HOST:PORT,HOST:PORT; a password goes into {PREFIX}KAFKA_SASL_PASSWORD"
            raise ValueError(msg)
        return servers

    @model_validator(mode="after")
    def _sasl_is_whole(self) -> Self:
        password = self.kafka_sasl_password.get_secret_value() if self.kafka_sasl_password else ""
        if self.kafka_security_protocol.startswith("SASL") and not (self.kafka_sasl_username and password.strip()):
            msg = f"{PREFIX}KAFKA_SASL_USERNAME and {PREFIX}KAFKA_SASL_PASSWORD are needed for {self.kafka_security_protocol}"
            raise ValueError(msg)
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment, with the `_FILE` variants resolved, and nothing else."""
        del env_settings, dotenv_settings, file_secret_settings
        return init_settings, _Environment(settings_cls)

    @property
    def dead_letter_topic(self) -> str:
        """Where notifications go that can't be processed."""
        return f"{self.notifications_topic}.dlq"

    def require_clouds(self) -> Mapping[str, Cloud]:
        """Give the clouds; raises `NoCloudError` when there are none."""
        if not self.clouds:
            raise NoCloudError
        return self.clouds

    def cloud_called(self, cloud: str | None) -> str:
        """Give a cloud by its name, or, when there is but one, that; raises `NoCloudError` and `WhichCloudError`."""
        known = ", ".join(self.require_clouds())
        if cloud is None and len(self.clouds) > 1:
            raise WhichCloudError(reason="there are several", known=known)
        name = cloud or next(iter(self.clouds))
        if name not in self.clouds:
            raise WhichCloudError(reason=f"there is no cloud {name}", known=known)
        return name

    def sender(self, cloud: str | None, key: str | None, secret: str | None) -> tuple[str, str]:
        """Give the cloud to speak for and the secret to sign with; raises `UnknownCloudError` when they can't be told."""
        known = ", ".join(f"{name} (keys {', '.join(one.keys)})" for name, one in self.clouds.items()) or "nothing"
        if cloud is None and len(self.clouds) != 1:
            raise UnknownCloudError(reason="there is not exactly one cloud", known=known)
        cloud = cloud or next(iter(self.clouds))
        if secret is not None:
            return cloud, secret
        keys = self.clouds[cloud].keys if cloud in self.clouds else {}
        signing = keys.get(key) if key else next(iter(keys.values()), None)
        if signing is None:
            raise UnknownCloudError(reason=f"no secret is known for {cloud}" + (f", key {key}" if key else ""), known=known)
        return cloud, signing.get_secret_value()


class _Environment(EnvSettingsSource):
    def _load_env_vars(self) -> Mapping[str, str | None]:
        """Give the environment with each `MEDIAMIRROR_X_FILE` read into `MEDIAMIRROR_X`."""
        environment: dict[str, str | None] = dict(super()._load_env_vars())
        for variable, file in list(os.environ.items()):
            if not (variable.startswith(PREFIX) and variable.endswith("_FILE")) or _is_a_setting(variable):
                continue
            name = variable.removesuffix("_FILE")
            if name in os.environ:
                raise InvalidSettingsError(problems=f"{name} and {variable} are both set")
            value = read_secret(variable, Path(file))
            # a path that stayed here would become a secret called "…_file", of those that are told part by part
            environment.pop(variable if self.case_sensitive else variable.lower(), None)
            environment[name if self.case_sensitive else name.lower()] = value
        return environment


def _is_a_setting(variable: str) -> bool:
    return variable.removeprefix(PREFIX).lower() in Settings.model_fields


def read_secret(variable: str, file: Path) -> str:
    """Give what is in a file that `variable` names; raises `InvalidSettingsError`.

    Its name is not repeated: who mistakes the one variable for the other has put the secret there.
    """
    try:
        return file.read_text().strip()
    except OSError as error:
        raise InvalidSettingsError(problems=f"{variable} names a file that can't be read ({error.strerror})") from None
    except ValueError:
        raise InvalidSettingsError(problems=f"{variable} names a file that is no text") from None


def load_settings(**overrides: Any) -> Settings:  # noqa: ANN401  # whatever the settings are; pydantic checks them
    """Read the settings; raises `InvalidSettingsError`, which never repeats a value, since it may be a secret."""
    try:
        settings = Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise InvalidSettingsError(
            problems="; ".join(map(_problem, error.errors(include_input=False, include_url=False)))
        ) from None
    except SettingsError as error:
        name = str(error).partition('"')[2].partition('"')[0]
        raise InvalidSettingsError(problems=f"{PREFIX}{name.upper()} is not JSON") from None
    url = os.environ.get("CLOUDINARY_URL")
    if url and not settings.clouds:
        name, cloud = _cloud_of(url)
        settings = settings.model_copy(update={"clouds": {name: cloud}})
    return settings


def _problem(problem: ErrorDetails) -> str:
    """Put one into words. Of what a user has named, only the fields that we know: what else stands there may be a secret."""
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    known = Settings.model_fields.keys() | Cloud.model_fields.keys()
    path = [str(part) if index == 0 or part in known else "…" for index, part in enumerate(problem["loc"])]
    return f"{PREFIX}{'__'.join(path).upper()}: {message}"


def _cloud_of(cloudinary_url: str) -> tuple[str, Cloud]:
    form = "cloudinary://API_KEY:API_SECRET@CLOUD_NAME"
    try:
        parts = urlsplit(cloudinary_url)
    except ValueError:  # brackets without an address between them
        parts = urlsplit("")
    if parts.scheme != "cloudinary" or not (parts.hostname and parts.username and parts.password):
        raise InvalidSettingsError(problems=f"CLOUDINARY_URL is not of the form {form}")
    # `hostname` folds case, and cloud names are case-sensitive
    name = parts.netloc.rpartition("@")[2]
    if not _CLOUD_NAME.fullmatch(name):
        raise InvalidSettingsError(problems=f"CLOUDINARY_URL is not of the form {form}: {_NO_CLOUD_NAME}")
    prefix = dict(parse_qsl(parts.query)).get("upload_prefix")  # as the SDK reads it
    try:
        cloud = Cloud(keys={unquote(parts.username): SecretStr(unquote(parts.password))}, upload_prefix=prefix)
    except ValidationError as error:
        said = "; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors(include_input=False))
        raise InvalidSettingsError(problems=f"CLOUDINARY_URL is not of the form {form}: {said}") from None
    return name, cloud
