"""The embedded Kafka and PostgreSQL, in folders of their own."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from service.embedded.kafka import EmbeddedKafka
from service.embedded.lock import LockFile
from service.embedded.ports import remembered_port
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.stack import EmbeddedStack
from service.errors import DataFolderInUseError, EmbeddedProgramError
from service.settings import load_settings
from tests.integration.conftest import kafka_client

TOPIC = TopicPartition("survivors", 0)

PARENT = """
import asyncio, pathlib, sys
from service.embedded.postgres import EmbeddedPostgres

async def main():
    await EmbeddedPostgres(pathlib.Path(sys.argv[1])).start()
    print("ready", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def silent(_: str) -> None:
    pass


def client_of(kafka: EmbeddedKafka) -> dict[str, Any]:
    return kafka_client(load_settings(**kafka.access))


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedStack]:
    folder = tmp_path_factory.mktemp("stack")
    async with EmbeddedStack(folder, kafka_bootstrap=None, database_url=None, progress=silent) as stack:
        admin = AIOKafkaAdminClient(**client_of(stack.kafka))
        await admin.start()
        await admin.create_topics([NewTopic(TOPIC.topic, num_partitions=1, replication_factor=1)])
        await admin.close()
        yield stack


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener.getsockname()[1]


async def write_row(postgres: EmbeddedPostgres, row: str) -> None:
    connection = await asyncpg.connect(postgres.dsn)
    await connection.execute("CREATE TABLE IF NOT EXISTS survivors (row text)")
    await connection.execute("INSERT INTO survivors VALUES ($1)", row)
    await connection.close()


async def rows(postgres: EmbeddedPostgres) -> list[str]:
    connection = await asyncpg.connect(postgres.dsn)
    found = await connection.fetch("SELECT row FROM survivors")
    await connection.close()
    return [record["row"] for record in found]


async def write_record(kafka: EmbeddedKafka, value: bytes) -> None:
    async with AIOKafkaProducer(**client_of(kafka), enable_idempotence=True) as producer:
        await producer.send_and_wait(TOPIC.topic, value)


async def records(kafka: EmbeddedKafka) -> list[bytes]:
    async with AIOKafkaConsumer(**client_of(kafka), auto_offset_reset="earliest") as consumer:
        consumer.assign([TOPIC])
        end = (await consumer.end_offsets([TOPIC]))[TOPIC]
        found: list[bytes] = []
        while await consumer.position(TOPIC) < end:
            found.append((await consumer.getone()).value)
        return found


@pytest.mark.parametrize("end", [EmbeddedPostgres.stop, EmbeddedPostgres.kill])
async def test_rows_survive_a_restart_of_postgresql(
    stack: EmbeddedStack, end: Callable[[EmbeddedPostgres], Awaitable[None]]
) -> None:
    written = end.__name__
    await write_row(stack.postgres, written)
    address = stack.database_url

    await end(stack.postgres)
    await stack.postgres.start()

    assert stack.database_url == address
    assert written in await rows(stack.postgres)


@pytest.mark.parametrize("end", [EmbeddedKafka.stop, EmbeddedKafka.kill])
async def test_records_survive_a_restart_of_kafka(stack: EmbeddedStack, end: Callable[[EmbeddedKafka], Awaitable[None]]) -> None:
    written = end.__name__.encode()
    await write_record(stack.kafka, written)
    address = stack.kafka_bootstrap

    await end(stack.kafka)
    await stack.kafka.start()

    assert stack.kafka_bootstrap == address
    assert written in await records(stack.kafka)


async def test_a_folder_serves_one_stack_at_a_time(stack: EmbeddedStack) -> None:
    folder = stack.data_dir
    with pytest.raises(DataFolderInUseError, match=f"{folder} .* process {os.getpid()}"):
        await EmbeddedStack(folder, kafka_bootstrap=None, database_url=None, progress=silent).__aenter__()


async def test_servers_that_are_given_are_not_started(tmp_path: Path) -> None:
    external = EmbeddedStack(tmp_path, kafka_bootstrap="kafka:9092", database_url="postgresql://db", progress=silent)
    async with external as stack:
        assert (stack.kafka_bootstrap, stack.database_url) == ("kafka:9092", "postgresql://db")
    assert not (tmp_path / "logs").exists()


async def test_a_server_that_fails_names_its_log_and_the_other_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "kafka" / "data").mkdir(parents=True)  # looks formatted, and is not

    with pytest.raises(EmbeddedProgramError, match=r"Kafka failed: .* exit code 1\. .*logs/kafka\.log.*meta\.properties"):
        await EmbeddedStack(tmp_path, kafka_bootstrap=None, database_url=None, progress=silent).__aenter__()

    postgres_lives = LockFile(tmp_path / "postgres" / "pid")
    assert await postgres_lives.acquire_within(1)  # its children may follow a moment later
    postgres_lives.release()


async def test_a_port_that_is_taken_fails_the_start_at_once(tmp_path: Path, busy_port: int) -> None:
    with pytest.raises(EmbeddedProgramError, match="Address already in use"):
        await EmbeddedPostgres(tmp_path, port=busy_port).start()


async def test_servers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, tmp_path, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"ready\n"
    parent.kill()
    await parent.wait()

    server_lives = LockFile(tmp_path / "postgres" / "pid")
    assert await server_lives.acquire_within(10)
    server_lives.release()


async def test_an_orphan_on_the_same_data_is_ended_by_the_next_start(tmp_path: Path) -> None:
    orphan, successor = EmbeddedPostgres(tmp_path), EmbeddedPostgres(tmp_path)
    await orphan.start()
    await write_row(orphan, "of the orphan")

    await successor.start()

    assert await rows(successor) == ["of the orphan"]
    await successor.stop()
    await orphan.stop()


async def test_a_start_that_was_cut_off_is_begun_anew(tmp_path: Path) -> None:
    unfinished = tmp_path / "postgres" / "data.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("1")

    postgres = EmbeddedPostgres(tmp_path)
    await postgres.start()
    await postgres.stop()


def test_a_port_is_remembered_unless_it_was_taken(tmp_path: Path, busy_port: int) -> None:
    file = tmp_path / "port"
    port = remembered_port(file)
    assert remembered_port(file) == port

    file.write_text(str(busy_port))
    other = remembered_port(file)
    assert other != busy_port
    assert remembered_port(file) == other
