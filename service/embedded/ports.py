"""Ports on loopback for servers of ours."""

import asyncio
import random
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from service.embedded.private import write_private

# Below the range from which the kernel picks the local port of an outgoing connection. Inside it, a client that keeps trying to
# reach a stopped server on this machine will sooner or later be given that very port, connect to itself, and block the restart.
_CANDIDATES: Final = range(20_000, 32_768)


def remembered_port(file: Path) -> int:
    """The port in `file` if it is free, else another free one, which is written there for the next run."""
    port = _read(file)
    if port is None or not is_free(port):
        port = next(candidate for candidate in random.sample(_CANDIDATES, len(_CANDIDATES)) if is_free(candidate))
        write_private(file, f"{port}\n")
    return port


def _read(file: Path) -> int | None:
    content = file.read_text().strip() if file.exists() else ""
    return int(content) if content.isdecimal() else None


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there."""
    with socket.socket() as probe:
        # As servers do: connections of the previous run that linger in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


async def accepts(port: int) -> bool:
    """Whether somebody listens there. No proof that it is ready, but a question that clients' libraries don't log as an error."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True
