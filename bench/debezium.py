"""Debezium's JDBC sink in Kafka Connect standalone: rows from Kafka into PostgreSQL, in Java."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import asyncpg

from bench.contestant import failure, fresh
from bench.measured import KAFKA, OWN, POSTGRES, Measured
from bench.processes import ROOT, Meter, Program, free_port
from bench.sinktopic import MARKS, TABLE, SinkTopic
from bench.site import Site
from service.embedded.artefacts import java
from service.embedded.cache import cached
from service.embedded.command import Command
from service.errors import MissingProgramError
from service.resources import resource

NAME: Final = "Debezium"

_PEER: Final = ROOT / "bench" / "peers" / "debezium-jdbc-sink"
_COPY_DEPENDENCIES: Final = "org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies"  # its version is in the poms
_JAVA_OPTIONS: Final = (
    "-Xms256m", "-Xmx2g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35", "-XX:-UsePerfData",
)  # fmt: skip
_WARM_SHARE: Final = 0.2  # of the records, before the clock runs: Java compiles what it runs often
_POLL_SECONDS: Final = 0.03
_STALL_SECONDS: Final = 90.0
_DEAD_TASK: Final = b"Task is being killed"


@dataclass(frozen=True)
class Installation:
    """The programs of Kafka Connect and the plugin."""

    java: str
    connect: Path
    plugins: Path


@dataclass(frozen=True)
class Setting:
    """What its operators turn."""

    tasks: int
    batch: int

    def __str__(self) -> str:
        return f"{NAME}, {self.tasks} task{'s' if self.tasks > 1 else ''}, batch {self.batch}"


async def installed(progress: Callable[[str], None]) -> Installation:
    """Give the programs, fetched from Maven Central when they are not there yet.

    Raises MissingProgramError without Java or Maven, EmbeddedProgramError when Maven fails.
    """
    program = java()
    connect = await _jars("kafka-connect", "connect-pom.xml", "", progress)
    plugins = await _jars("debezium-jdbc-sink", "plugin-pom.xml", "debezium", progress)
    return Installation(program, connect, plugins)


async def _jars(name: str, pom: str, subfolder: str, progress: Callable[[str], None]) -> Path:
    def fetch(folder: Path) -> Command:
        maven = shutil.which("mvn")
        if maven is None:
            raise MissingProgramError(what=f"Maven, to fetch {name}", packages="maven")
        options = ["--batch-mode", "--quiet", "--strict-checksums", f"--file={_PEER / pom}"]
        return Command([maven, *options, f"-DoutputDirectory={folder / subfolder}", _COPY_DEPENDENCIES], cwd=folder)

    return await cached(name, [_PEER / pom], fetch, progress)


async def sink(site: Site, installation: Installation, topic: SinkTopic, setting: Setting) -> Measured:
    """Have the sink write a topic to a table of its own, and measure from the mark after the first fifth to the last.

    Raises EmbeddedProgramError when the worker or one of its tasks ends, or nothing moves.
    """
    name = f"debezium.{topic.name}.{setting.tasks}.{setting.batch}"
    folder = site.folder / "programs" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    url = await site.database("debezium")
    database = await asyncpg.connect(url)
    try:
        await topic.columns.make_table(database)
        await database.execute("CHECKPOINT")
        async with _worker(site, installation, topic, setting, name=name, database_url=url, folder=folder) as program:
            meter = Meter({OWN: program.pid, POSTGRES: site.postgres_pid, KAFKA: site.kafka_pid})
            marks = _Marks(database, program, name)
            warm, warm_at = await marks.reach(round(topic.marks * _WARM_SHARE))
            meter.start()
            _, ended_at = await marks.reach(topic.marks)
            usages = meter.stop()
    finally:
        await database.close()
    return Measured(str(setting), topic.records * (1 - warm / topic.marks), ended_at - warm_at, usages)


@asynccontextmanager
async def _worker(
    site: Site, installation: Installation, topic: SinkTopic, setting: Setting, *, name: str, database_url: str, folder: Path
) -> AsyncIterator[Program]:
    url = urlsplit(database_url)
    values = {
        "BOOTSTRAP": site.kafka_bootstrap,
        "KAFKA_USER": site.kafka_user,
        "KAFKA_PASSWORD": site.kafka_password,
        "PORT": free_port(),
        "PLUGINS": installation.plugins,
        "SCHEMA": topic.columns.schema(),
        "NAME": f"{name}.{time.time_ns()}",  # its consumer group is new
        "TASKS": setting.tasks,
        "TOPIC": topic.name,
        "JDBC_URL": f"jdbc:postgresql://{url.hostname}:{url.port}{url.path}",
        "USER": url.username,
        "PASSWORD": url.password,
        "TABLE": TABLE,
        "BATCH": setting.batch,
    }
    for file in ("worker.properties", "sink.properties"):
        text = (_PEER / f"{file}.in").read_text()
        for placeholder, value in values.items():
            text = text.replace(f"@{placeholder}@", str(value))
        (folder / file).write_text(text)
    logging = f"-Dlog4j2.configurationFile={resource('deploy/kafka/log4j2.properties').as_uri()}"
    main = ["org.apache.kafka.connect.cli.ConnectStandalone", "worker.properties", "sink.properties"]
    argv = [installation.java, *_JAVA_OPTIONS, logging, "-cp", str(installation.connect / "*"), *main]
    async with fresh("worker", argv, {}, folder) as program:
        yield program


class _Marks:
    """How many of the marks are in the table."""

    def __init__(self, database: "asyncpg.Connection[asyncpg.Record]", program: Program, name: str) -> None:
        self._database = database
        self._program = program
        self._name = name

    async def reach(self, count: int) -> tuple[int, float]:
        """Wait for `count` marks; gives how many there are, and when that was seen."""
        seen, moved_at = 0, time.perf_counter()
        while True:
            at: int = await self._database.fetchval(MARKS)
            now = time.perf_counter()
            if at >= count:
                return at, now
            if at > seen:
                seen, moved_at = at, now
            self._program.check()
            if _DEAD_TASK in self._program.log.read_bytes():
                raise failure(self._name, self._program.log, "a task of it has died")
            if now - moved_at > _STALL_SECONDS:
                reason = f"it stands still at {at} of {count} marks for {_STALL_SECONDS:.0f} seconds"
                raise failure(self._name, self._program.log, reason)
            await asyncio.sleep(_POLL_SECONDS)
