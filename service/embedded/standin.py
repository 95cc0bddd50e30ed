"""The Cloudinary stand-in as a process of its own, for a site without an account."""

import signal
import sys
from pathlib import Path
from typing import Final

from pydantic import BaseModel, SecretStr

from service.embedded.command import Command, Log
from service.embedded.ports import remembered_port
from service.embedded.private import kept_secret, make_private
from service.embedded.process import ServerProcess
from service.settings import Cloud

_KEPT: Final = "secret"
_READY: Final = "ready.json"


class _Ready(BaseModel):
    """What it writes once it listens."""

    url: str
    cloud: str
    key: str
    secret: str


class EmbeddedStandin:
    """The stand-in in `data_dir`/standin, with a small library that changes by itself; its log in `data_dir`/logs/standin.log."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir.resolve() / "standin"
        self._log = Log("The Cloudinary stand-in", data_dir.resolve() / "logs" / "standin.log")
        self._process = ServerProcess(log=self._log, pid_file=self._folder / "pid")
        self._ready_file = self._folder / _READY

    async def start(self) -> dict[str, Cloud]:
        """Give its account once it serves requests, the same from run to run; raises EmbeddedProgramError."""
        make_private(self._folder)
        async with self._process.claim(signal.SIGTERM):
            self._ready_file.unlink(missing_ok=True)
            port = remembered_port(self._folder / "port")
            kept_secret(self._folder / _KEPT)
            options = {"data-dir": ".", "port": str(port), "secret-file": _KEPT, "ready-file": _READY}
            named = [part for name, value in options.items() for part in (f"--{name}", value)]
            argv = [sys.executable, "-m", "standin", *named, "--demo"]
            await self._process.start(Command(argv, cwd=self._folder, stop_signal=signal.SIGTERM), ready=self._is_ready)
        ready = _Ready.model_validate_json(self._ready_file.read_bytes())
        return {ready.cloud: Cloud(keys={ready.key: SecretStr(ready.secret)}, upload_prefix=ready.url)}

    async def stop(self) -> None:
        """Shut down in good order."""
        await self._process.stop()

    async def _is_ready(self) -> bool:
        return self._ready_file.exists()
