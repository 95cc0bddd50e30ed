"""Apache Kafka's jars, fetched once from Maven Central into a cache that all clones share."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from service.embedded.cache import cached
from service.embedded.command import Command, environment_without_secrets
from service.errors import MissingProgramError
from service.resources import resource

_OLDEST_JAVA: Final = 17
_COPY_DEPENDENCIES: Final = "org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies"  # its version is in the pom


def java() -> str:
    """The Java program to run Kafka with, new enough; raises MissingProgramError."""
    home = os.environ.get("JAVA_HOME")
    program = shutil.which("java", path=f"{home}/bin" if home else None)
    if program is None or _java_version(program) < _OLDEST_JAVA:
        raise MissingProgramError(what=f"Java {_OLDEST_JAVA} or newer", packages="default-jre-headless")
    return program


def _java_version(program: str) -> int:
    """17 for "17.0.15", 1 for "1.8.0", 0 for what is no Java."""
    output = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', output)
    return int(version[1]) if version else 0


async def kafka_jars(progress: Callable[[str], None]) -> Path:
    """The folder of Kafka's jars; fetches them when it is not there yet, which `progress` is told.

    Raises MissingProgramError without Maven, EmbeddedProgramError when Maven fails.
    """
    pom = resource("deploy/kafka/pom.xml")
    version = pom.read_text().partition("<kafka.version>")[2].partition("</")[0]

    def tell(_: str) -> None:
        progress(f"fetching Apache Kafka {version} from Maven Central, once (45 MB)")

    return await cached(f"kafka-{version}", [pom], lambda folder: _copy_dependencies(pom, folder), tell)


def _copy_dependencies(pom: Path, folder: Path) -> Command:
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingProgramError(what="Maven, to fetch Apache Kafka", packages="maven")
    options = ["--batch-mode", "--quiet", "--strict-checksums", f"--file={pom}", f"-DoutputDirectory={folder}"]
    return Command([maven, *options, _COPY_DEPENDENCIES], cwd=folder.parent, environment=environment_without_secrets())
