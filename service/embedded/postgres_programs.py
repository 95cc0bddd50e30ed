"""Where PostgreSQL's server programs are."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from service.errors import MissingProgramError, ServerVersionError

_OLDEST: Final = 15
_USUAL_FOLDERS: Final = (
    "usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "usr/pgsql-*/bin",  # PostgreSQL's own RPMs
    "opt/homebrew/opt/postgresql@*/bin",
)


def server_programs(data: Path) -> Path:
    """The folder with `initdb` and `postgres`: of the version that made `data`, or the newest if that is not there yet.

    Raises ServerVersionError or MissingProgramError.
    """
    installed = {version: folder for folder in _folders() if (version := _version(folder)) >= _OLDEST}
    if not installed:
        raise MissingProgramError(what=f"PostgreSQL's server, {_OLDEST} or newer,", packages="postgresql")
    version_file = data / "PG_VERSION"
    if not version_file.exists():
        return installed[max(installed)]
    version = int(version_file.read_text())
    if version not in installed:
        raise ServerVersionError(folder=data, version=version)
    return installed[version]


def _folders() -> Iterator[Path]:
    """Candidates; where two are of one version, the later wins."""
    for pattern in _USUAL_FOLDERS:
        yield from Path("/").glob(pattern)
    if config := shutil.which("pg_config"):
        yield Path(_output([config, "--bindir"]).strip())
    if server := shutil.which("postgres"):
        yield Path(server).parent


def _version(folder: Path) -> int:
    """The major version of the server in `folder`, 0 if there is none."""
    programs = (folder / "postgres", folder / "initdb")
    if not all(os.access(program, os.X_OK) for program in programs):
        return 0
    version = re.search(r"\d+", _output([str(programs[0]), "--version"]))
    return int(version[0]) if version else 0


def _output(argv: list[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
