"""Files and folders that nobody else on the machine may read."""

import os
import secrets
import stat
from pathlib import Path
from typing import Final

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def make_private(folder: Path) -> None:
    """Make a folder that is its owner's alone; one that is there already is closed to others, with all that is in it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _close(folder)
    for path, folders, files in os.walk(folder):
        for name in (*folders, *files):
            _close(Path(path, name))


def _close(path: Path) -> None:
    mode = path.lstat().st_mode
    if mode & _OTHERS and not stat.S_ISLNK(mode):
        path.chmod(stat.S_IMODE(mode) & ~_OTHERS)


def write_private(path: Path, text: str, *, owner: tuple[int, int] | None = None) -> None:
    """Write a file that is its owner's alone, whole or not at all; `owner`: user and group, if not ours."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    # never one that somebody else has put there, nor where a link of theirs leads
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        if owner:
            os.fchown(descriptor, *owner)
    partial.replace(path)


def kept_secret(file: Path) -> str:
    """Give the secret in a file; one is made up when there is none."""
    if not (file.exists() and file.read_text().strip()):
        write_private(file, secrets.token_urlsafe(24))
    return file.read_text().strip()
