"""What is fetched once, into a cache that all clones share."""

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from service.embedded.command import Command, Log
from service.embedded.lock import LockFile

_FETCH_SECONDS: Final = 600  # that another process may take


async def cached(name: str, sources: Sequence[Path], fetch: Callable[[Path], Command], progress: Callable[[str], None]) -> Path:
    """Give the folder that `fetch` has filled from `sources`, whose contents are part of its name.

    `progress` is told when it is not there yet. Raises EmbeddedProgramError when fetching fails.
    """
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:8]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mediamirror" / f"{name}-{digest}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = LockFile(folder.with_name(f"{folder.name}.lock"))
    log = Log(name, folder.with_name(f"{folder.name}.log"), telling=slice(1))  # the rest is how to get help
    progress(f"fetching {name}, once")
    try:
        if not await lock.acquire_within(_FETCH_SECONDS):
            raise log.failure(f"{lock.path} is held by another process")
        if not folder.exists():
            partial = folder.with_name(f"{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            await fetch(partial).run(log)
            partial.rename(folder)
    finally:
        lock.release()
    return folder
