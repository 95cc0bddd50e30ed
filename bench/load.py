"""The load generator: signed webhooks over keep-alive connections, from a process of its own.

One thread, one epoll, requests made beforehand and answers barely looked at, so that it takes little of the cores it shares.

Closed loop: each connection sends its next request when the last was answered, which shows how much goes through. Open loop:
requests are due at moments fixed beforehand, as many independent senders' are (exponential gaps), and a latency counts from the
moment a request was due. Whatever makes the server, or us, send later is thereby in the figures: no coordinated omission.
"""

import ctypes
import math
import os
import random
import select
import socket
import struct
import sys
import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import orjson

from bench.notifications import CLOUD, signed, upload
from bench.processes import Program, running

_PATH: Final = f"/webhooks/cloudinary/{CLOUD}"
_ACCEPTED: Final = b"200"
_PATIENCE_SECONDS: Final = 30.0  # for an answer after the last request was due
_READ_BYTES: Final = 65536


class LoadError(Exception):
    """The server did not answer as it should."""


@dataclass(frozen=True)
class Load:
    """What to send: for `seconds`, after `warm_up` seconds whose latencies don't count."""

    ports: Sequence[int]  # connections are spread over them
    connections: int
    seconds: float
    rate: float | None = None  # requests a second, open loop; None: closed loop
    warm_up: float = 1.0
    first: int = 0  # number of the first asset
    assets: int = 20_000  # how many different ones, over and over again; their signatures are made before the first is sent
    times: str | None = None  # a file for `read_times`
    seed: int = 1


@dataclass(frozen=True)
class Outcome:
    """How the server did. Latencies in milliseconds, of what counts."""

    answered: int  # warm-up included: what the server's CPU seconds are for
    rate: float  # a second, warm-up excluded
    cpu_seconds: float  # of the generator from the first request on
    p50: float
    p99: float
    longest: float
    late_p99: float  # how late the generator itself was when it had a connection free


async def generate(load: Load, folder: Path) -> Outcome:
    """Run the generator as a process, its files in `folder`; raises EmbeddedProgramError unless all is answered with 200."""
    plan, outcome = folder / "load.json", folder / "load-outcome.json"
    folder.mkdir(parents=True, exist_ok=True)
    plan.write_bytes(orjson.dumps(asdict(load)))
    outcome.unlink(missing_ok=True)
    async with running("load", [sys.executable, "-m", "bench.load", str(plan), str(outcome)], {}, folder) as program:
        return await _outcome(program, outcome)


async def _outcome(program: Program, file: Path) -> Outcome:
    if await program.finished():
        program.check()
    return Outcome(**orjson.loads(file.read_bytes()))


def read_times(file: Path) -> list[tuple[float, float]]:
    """Give when each request was due and when it was answered (unix seconds), in the order of their numbers."""
    flat = array("d", file.read_bytes())
    return list(zip(flat[::2], flat[1::2], strict=True))


def percentile(ordered: Sequence[float], share: float) -> float:
    """Give the smallest of the ordered values that at least `share` of them don't exceed; nan of none."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else math.nan


def schedule(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Give the moments, in seconds from now, at which requests of independent senders are due."""
    gaps = random.Random(seed)
    at = gaps.expovariate(rate)
    while at < seconds:
        yield at
        at += gaps.expovariate(rate)


def request(body: bytes, at: int, port: int = 0) -> bytes:
    """Give a webhook's bytes on the wire, signed at `at`, with the headers that Cloudinary sends."""
    headers = {
        "Host": f"127.0.0.1:{port}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "User-Agent": "Cloudinary",
        "Accept": "*/*",
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers | signed(body, at)).items())
    return f"POST {_PATH} HTTP/1.1\r\n{lines}\r\n".encode() + body


def answer_end(data: bytes) -> int:
    """Give the length of the answer that `data` begins with, 0 while it isn't whole."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return 0
    at = data.lower().find(b"content-length:", 0, head)
    if at < 0:
        raise LoadError(f"an answer without a length: {data[:200]!r}")
    end = head + 4 + int(data[at + 15 : data.find(b"\r\n", at)])
    return end if len(data) >= end else 0


class _Timer:
    """An alarm that epoll sees, exact to microseconds: epoll's own timeout is in milliseconds."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def set(self, at: float) -> None:
        """Ring at `at`, by time.monotonic()."""
        seconds, rest = divmod(at, 1)
        new = struct.pack("qqqq", 0, 0, int(seconds), max(int(rest * 1e9), 1))
        absolute = 1
        self._libc.timerfd_settime(self.fd, absolute, new, None)


@dataclass
class _Records:
    """When each request was due, begun and answered, by time.monotonic(); 0 while it wasn't."""

    due: "array[float]" = field(default_factory=lambda: array("d"))
    answered: "array[float]" = field(default_factory=lambda: array("d"))
    late: list[float] = field(default_factory=list)


class Generator:
    """Sends what a `Load` says; see the module."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._due = [*schedule(load.rate, load.warm_up + load.seconds, load.seed)] if load.rate else []
        now = int(time.time())
        # open loop with fewer requests than assets: no more than there will be
        assets = min(load.assets, len(self._due) or load.assets)
        bodies = (upload(number) for number in range(load.first, load.first + assets))
        self._requests = [request(body, now, load.ports[0]) for body in bodies]
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._busy: dict[int, int] = {}  # what each connection waits for: the number of a request
        self._partial: dict[int, bytes] = {}
        self._records = _Records()
        self._started_at = self._cpu_before = 0.0

    def run(self) -> Outcome:
        """Send, and wait for every answer; raises `LoadError`."""
        try:
            self._connect()
            self._started_at, self._cpu_before = time.monotonic(), time.process_time()
            if self._load.rate is None:
                self._closed_loop()
            else:
                self._open_loop()
        finally:
            self._close()
        return self._outcome()

    def _close(self) -> None:
        for each in self._sockets.values():
            each.close()
        self._epoll.close()

    def _connect(self) -> None:
        for number in range(self._load.connections):
            port = self._load.ports[number % len(self._load.ports)]
            connection = socket.create_connection(("127.0.0.1", port), timeout=10)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            self._sockets[connection.fileno()] = connection
            self._epoll.register(connection.fileno(), select.EPOLLIN)

    def _closed_loop(self) -> None:
        end = self._started_at + self._load.warm_up + self._load.seconds
        due, answered = self._records.due, self._records.answered

        def send(fd: int) -> None:
            due.append(time.monotonic())
            answered.append(0.0)
            self._send(fd, len(due) - 1)

        for fd in self._sockets:
            send(fd)
        while self._busy:
            for fd in self._poll(end):
                if self._read(fd) and time.monotonic() < end:
                    send(fd)

    def _open_loop(self) -> None:
        timer = _Timer()
        self._epoll.register(timer.fd, select.EPOLLIN)
        due = self._records.due = array("d", [self._started_at + at for at in self._due])
        self._records.answered = array("d", bytes(8 * len(due)))
        idle, waiting = deque(self._sockets), deque[int]()
        next_due, late = 0, self._records.late
        while next_due < len(due) or waiting or self._busy:
            now = time.monotonic()
            was_free = bool(idle) and not waiting
            while next_due < len(due) and due[next_due] <= now:
                waiting.append(next_due)
                next_due += 1
            while waiting and idle:
                if was_free:
                    late.append(time.monotonic() - due[waiting[0]])
                self._send(idle.popleft(), waiting.popleft())
            if next_due < len(due):
                timer.set(due[next_due])
            for fd in self._poll(due[-1]):
                if fd == timer.fd:
                    os.read(fd, 8)
                elif self._read(fd):
                    idle.append(fd)
        os.close(timer.fd)

    def _poll(self, last: float) -> list[int]:
        ready = self._epoll.poll(1)
        if not ready and time.monotonic() > last + _PATIENCE_SECONDS:
            raise LoadError(f"{len(self._busy)} requests were not answered in {_PATIENCE_SECONDS:.0f} seconds")
        return [fd for fd, _ in ready]

    def _send(self, fd: int, number: int) -> None:
        data = self._requests[number % len(self._requests)]
        self._busy[fd] = number
        if self._sockets[fd].send(data) < len(data):
            raise LoadError("a connection takes no whole request")  # never: its buffer is empty, and larger

    def _read(self, fd: int) -> bool:
        """Give whether the answer is whole."""
        data = self._sockets[fd].recv(_READ_BYTES)
        if not data:
            raise LoadError("the server has closed a connection")
        if fd in self._partial:
            data = self._partial.pop(fd) + data
        end = answer_end(data)
        if not end:
            self._partial[fd] = data
            return False
        if data[9:12] != _ACCEPTED or end != len(data):
            raise LoadError(f"not accepted: {data[:500]!r}")
        self._records.answered[self._busy.pop(fd)] = time.monotonic()
        return True

    def _outcome(self) -> Outcome:
        due, answered = self._records.due, self._records.answered
        begin = self._started_at + self._load.warm_up
        pairs = [(one, other) for one, other in zip(due, answered, strict=True) if one >= begin]
        latencies = sorted((other - one) * 1000 for one, other in pairs)
        if self._load.times:
            to_unix = time.time() - time.monotonic()
            times = array("d", [moment + to_unix for pair in zip(due, answered, strict=True) for moment in pair])
            Path(self._load.times).write_bytes(times.tobytes())
        return Outcome(
            answered=len(due),
            rate=len(pairs) / (max(answered) - begin) if pairs else 0.0,
            cpu_seconds=time.process_time() - self._cpu_before,
            p50=percentile(latencies, 0.5),
            p99=percentile(latencies, 0.99),
            longest=percentile(latencies, 1),
            late_p99=percentile(sorted(self._records.late), 0.99) * 1000,
        )


def main() -> None:
    """Do what the file named by the first argument says; the outcome goes to the second."""
    load = Load(**orjson.loads(Path(sys.argv[1]).read_bytes()))
    try:
        outcome = Generator(load).run()
    except (LoadError, OSError) as error:
        sys.exit(f"load: {error}")
    Path(sys.argv[2]).write_bytes(orjson.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()
