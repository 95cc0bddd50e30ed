"""A pooler in front of PostgreSQL, as far as its clients can tell: it speaks the protocol's frames, and no more of it."""

import asyncio
import contextlib
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_STARTUP = 196608
_TERMINATE = b"X\0\0\0\4"


@dataclass(eq=False)
class _Server:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@dataclass
class Pooler:
    """Lends its servers, the one last given back first: for a transaction, or for as long as a client is connected."""

    host: str
    port: int
    by_transaction: bool
    idle: list[_Server] = field(default_factory=list)
    clients: list["asyncio.Task[None]"] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        self.clients.append(asyncio.create_task(self._serve(reader, writer)))

    async def close(self) -> None:
        for task in self.clients:
            task.cancel()
        await asyncio.gather(*self.clients, return_exceptions=True)
        for writer in self.writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self.writers), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass a client's words on. It shows itself to a server of its own, which others get afterwards."""
        server = await self._greet(reader, writer)
        if self.by_transaction:
            self.idle.append(server)
        client: asyncio.Queue[bytes] = asyncio.Queue()
        hearing = asyncio.create_task(_hear(reader, client))
        try:
            while (first := await client.get()) != _TERMINATE:
                if self.by_transaction:
                    server = self.idle.pop()
                await self._transact(first, server, client, writer)
                if self.by_transaction:
                    self.idle.append(server)
        finally:
            hearing.cancel()
            writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Server:
        server = _Server(*await asyncio.open_connection(self.host, self.port))
        self.writers.append(server.writer)
        while True:
            size, code = struct.unpack("!ii", head := await reader.readexactly(8))
            rest = await reader.readexactly(size - 8)
            if code == _STARTUP:
                break
            writer.write(b"N")  # no TLS here
        server.writer.write(head + rest)
        while (frame := await _frame(server.reader))[:1] != b"Z":
            if frame[:1] == b"K":  # its process id and key are the pooler's own
                frame = frame[:5] + os.urandom(8)
            writer.write(frame)
            if frame[:1] == b"R" and struct.unpack("!i", frame[5:9])[0] in (3, 5, 10, 11):
                server.writer.write(await _frame(reader))  # a password, or a part of proving one
        writer.write(frame)
        return server

    async def _transact(
        self, frame: bytes, server: _Server, client: "asyncio.Queue[bytes]", writer: asyncio.StreamWriter
    ) -> None:
        """Pass on to the end of a transaction, or of what stands alone."""
        server.writer.write(frame)
        said = asyncio.create_task(client.get())
        try:
            while True:
                answer = asyncio.create_task(_frame(server.reader))
                while not answer.done():
                    await asyncio.wait([said, answer], return_when=asyncio.FIRST_COMPLETED)
                    if said.done():
                        server.writer.write(said.result())
                        said = asyncio.create_task(client.get())
                writer.write(answer.result())
                if answer.result()[:1] == b"Z" and answer.result()[5:6] == b"I":
                    return
        finally:
            said.cancel()


async def _hear(reader: asyncio.StreamReader, client: "asyncio.Queue[bytes]") -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            client.put_nowait(await _frame(reader))
    client.put_nowait(_TERMINATE)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)


@asynccontextmanager
async def pooler(url: str, *, by_transaction: bool) -> AsyncIterator[str]:
    """Give the URL of a pooler in front of `url`."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    pooler = Pooler(parts.hostname, parts.port, by_transaction)
    server = await asyncio.start_server(pooler.accept, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}").geturl()
    finally:
        server.close()
        await pooler.close()
