"""A real Apache Kafka of one node, on loopback."""

import base64
import secrets
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from pydantic import SecretStr

from service.embedded.artefacts import java, kafka_jars
from service.embedded.command import Command, Log
from service.embedded.ports import accepts, remembered_port
from service.embedded.private import kept_secret, make_private, write_private
from service.embedded.process import ServerProcess
from service.kafka import let_go, start
from service.resources import resource

_REQUEST_MS: Final = 2_000
_CONFIGURATION: Final = "server.properties"
_CLIENT: Final = "client.properties"
_DATA: Final = "data"
_USER: Final = "mediamirror"


class EmbeddedKafka:
    """Kafka in `data_dir`/kafka, its log in `data_dir`/logs/kafka.log.

    Stopped or killed, it can be started again on the same data: by the same object on the same port, and by the next run, too,
    if that is still free. `port` asks for a certain one. A second object on the same folder ends the server of the first.
    """

    def __init__(self, data_dir: Path, *, port: int = 0, progress: Callable[[str], None] = lambda _: None) -> None:
        self._folder = data_dir / "kafka"
        self._log = Log("Kafka", data_dir / "logs" / "kafka.log")
        self._process = ServerProcess(log=self._log, pid_file=self._folder / "pid")
        self._progress = progress
        self._port = port
        self._password = ""

    @property
    def bootstrap(self) -> str:
        """What clients connect to, "127.0.0.1:PORT"; known once it was started."""
        return f"127.0.0.1:{self._port}"

    @property
    def access(self) -> dict[str, Any]:
        """The settings of whoever uses it, by their names in `Settings`; known once it was started."""
        return {
            "kafka_bootstrap": self.bootstrap,
            "kafka_security_protocol": "SASL_PLAINTEXT",  # on loopback, nobody but the kernel sees what passes
            "kafka_sasl_mechanism": "PLAIN",
            "kafka_sasl_username": _USER,
            "kafka_sasl_password": SecretStr(self._password),
        }

    @property
    def client_file(self) -> Path:
        """What other clients than ours need to know, as Java reads it."""
        return self._folder / _CLIENT

    async def start(self) -> None:
        """Return when the broker serves requests; raises EmbeddedProgramError or MissingProgramError."""
        make_private(self._folder)
        self._password = kept_secret(self._folder / "password")
        program = java()
        jars = await kafka_jars(self._progress)
        async with self._process.claim(signal.SIGTERM):
            self._port = self._port or remembered_port(self._folder / "port")
            if not (self._folder / _DATA).exists():
                await self._format(program, jars)
            self._configure(_DATA)
            logging = f"-Dlog4j2.configurationFile={resource('deploy/kafka/log4j2.properties').as_uri()}"
            options = ["-Xms128m", "-Xmx512m", "-XX:+ExitOnOutOfMemoryError", logging]
            broker = self._java(program, jars, options, ["kafka.Kafka", _CONFIGURATION])
            await self._process.start(broker, ready=self._is_ready)

    async def stop(self) -> None:
        """Shut down in good order."""
        await self._process.stop()

    async def kill(self) -> None:
        """Crash it."""
        self._process.kill()

    async def _format(self, program: str, jars: Path) -> None:
        """Make an empty log with a cluster id, in a folder that gets its name only when all is done."""
        unfinished = self._folder / f"{_DATA}.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._configure(unfinished.name)
        cluster = base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode()
        main = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--config", _CONFIGURATION]
        await self._java(program, jars, ["-XX:TieredStopAtLevel=1"], main).run(self._log)
        unfinished.rename(self._folder / _DATA)

    def _java(self, program: str, jars: Path, options: Sequence[str], main: Sequence[str]) -> Command:
        argv = [program, "-XX:+UseSerialGC", "-XX:-UsePerfData", *options, "-cp", str(jars / "*"), *main]
        return Command(argv, cwd=self._folder, stop_signal=signal.SIGTERM)

    def _configure(self, data: str) -> None:
        """Write the broker's configuration. Its data are named relative to it: in a path, commas and umlauts would need care."""
        controller = remembered_port(self._folder / "controller-port")
        values = {"@PORT@": self._port, "@CONTROLLER_PORT@": controller, "@DATA@": data, "@PASSWORD@": self._password}
        for name in (_CONFIGURATION, _CLIENT):
            text = resource(f"deploy/kafka/{name}.in").read_text()
            for placeholder, value in values.items():
                text = text.replace(placeholder, str(value))
            write_private(self._folder / name, text)

    async def _is_ready(self) -> bool:
        """Whether the cluster lists its broker: a fenced one, not yet let in by the controller, is left out."""
        if not await accepts(self._port):
            return False
        admin = AIOKafkaAdminClient(
            bootstrap_servers=self.bootstrap,
            request_timeout_ms=_REQUEST_MS,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            sasl_plain_username=_USER,
            sasl_plain_password=self._password,
        )
        try:
            await start(admin)
            return bool((await admin.describe_cluster())["brokers"])
        except (KafkaError, OSError):
            return False
        finally:
            await let_go(admin)
