"""A Kafka that asks who is there, and lets nobody do what no ACL allows."""

import base64
import secrets
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import CreateAclsRequest

from service.embedded.artefacts import java, kafka_jars
from service.embedded.command import Command, Log
from service.embedded.ports import accepts, remembered_port
from service.embedded.process import ServerProcess
from service.kafka import let_go, start
from service.resources import resource

ADMIN = "admin"
_LITERAL, _ALLOW = 3, 3
_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=SASL_PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=SASL_PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=SASL_PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required username="{admin}" password="{admin}" {users};
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:{admin};User:ANONYMOUS
log.dirs=data
auto.create.topics.enable=true
message.max.bytes=11534336
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=8388608
num.network.threads=2
num.io.threads=2
background.threads=2
"""


class Resource(IntEnum):
    """By the numbers of the protocol."""

    TOPIC = 2
    GROUP = 3


class Operation(IntEnum):
    """By the numbers of the protocol."""

    READ = 3
    WRITE = 4
    CREATE = 5
    DESCRIBE = 8


class GuardedKafka:
    """Each of its users has its name for a password; `admin` may do everything, the others what `allow` says."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def options(self, user: str) -> dict[str, Any]:
        """Our settings, for that user."""
        return {
            "kafka_bootstrap": self.bootstrap,
            "kafka_security_protocol": "SASL_PLAINTEXT",
            "kafka_sasl_mechanism": "PLAIN",
            "kafka_sasl_username": user,
            "kafka_sasl_password": user,
        }

    async def allow(self, user: str, resource_type: Resource, name: str, *operations: Operation) -> None:
        admin = _client(self.bootstrap)
        try:
            await start(admin)
            for operation in operations:
                request = CreateAclsRequest(resource_type, name, _LITERAL, f"User:{user}", "*", operation, _ALLOW)
                answer = await admin._send_request(request)
                assert [code for code, _ in answer.creation_responses] == [0]
        finally:
            await let_go(admin)


def _client(bootstrap: str) -> AIOKafkaAdminClient:
    return AIOKafkaAdminClient(
        bootstrap_servers=bootstrap,
        request_timeout_ms=5_000,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username=ADMIN,
        sasl_plain_password=ADMIN,
    )


@asynccontextmanager
async def guarded_kafka(folder: Path, *users: str) -> AsyncIterator[GuardedKafka]:
    program, jars = java(), await kafka_jars(print)
    log = Log("Kafka", folder / "kafka.log")
    process = ServerProcess(log=log, pid_file=folder / "pid")
    async with process.claim(signal.SIGTERM):
        port = remembered_port(folder / "port")
        values: Mapping[str, object] = {
            "port": port,
            "controller": remembered_port(folder / "controller-port"),
            "admin": ADMIN,
            "users": " ".join(f'user_{user}="{user}"' for user in (ADMIN, *users)),
        }
        (folder / "server.properties").write_text(_PROPERTIES.format(**values))

        def run(options: list[str], *main: str) -> Command:
            argv = [program, "-XX:+UseSerialGC", "-XX:-UsePerfData", *options, "-cp", str(jars / "*"), *main]
            return Command(argv, cwd=folder, stop_signal=signal.SIGTERM)

        cluster = base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode()
        formatting = ("kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--config", "server.properties")
        await run(["-XX:TieredStopAtLevel=1"], *formatting).run(log)
        logging = f"-Dlog4j2.configurationFile={resource('deploy/kafka/log4j2.properties').as_uri()}"
        bootstrap = f"127.0.0.1:{port}"

        async def is_ready() -> bool:
            if not await accepts(port):
                return False
            admin = _client(bootstrap)
            try:
                await start(admin)
                return bool((await admin.describe_cluster())["brokers"])
            except (KafkaError, OSError):
                return False
            finally:
                await let_go(admin)

        await process.start(run(["-Xms64m", "-Xmx256m", logging], "kafka.Kafka", "server.properties"), ready=is_ready)
    try:
        yield GuardedKafka(bootstrap)
    finally:
        await process.stop()
