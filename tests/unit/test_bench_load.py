import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.load import Generator, Load, LoadError, answer_end, percentile, request, schedule
from bench.notifications import SECRET, upload
from service.gateway.signature import Claim, verify

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_REFUSAL = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def server(*, answer: bytes = _ANSWER, pause_at: int = -1, pause: float = 0) -> Iterator[int]:
    """Answers one connection, and before request number `pause_at` does nothing for `pause` seconds; gives its port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            number, unanswered = 0, b""
            while data := connection.recv(65536):
                unanswered += data
                while end := answer_end(unanswered):  # requests have a length, too
                    unanswered = unanswered[end:]
                    if number == pause_at:
                        time.sleep(pause)  # the stall itself, which the latencies must tell of
                    connection.sendall(answer)
                    number += 1

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        thread.join(10)
        listening.close()


def test_a_percentile_is_a_value_that_so_many_do_not_exceed() -> None:
    values = list(map(float, range(1, 101)))
    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    assert percentile([7.0], 0.99) == 7


def test_requests_are_due_at_the_rate_asked_for_and_alike_in_each_run() -> None:
    due = list(schedule(1000, 10, seed=1))
    assert len(due) == pytest.approx(10_000, rel=0.05)
    assert due == sorted(due) == list(schedule(1000, 10, seed=1))
    assert due[-1] < 10


def test_whoever_was_due_during_a_pause_is_late_too() -> None:
    with server(pause_at=40, pause=0.5) as port:
        outcome = Generator(Load([port], connections=1, rate=200, seconds=1, warm_up=0, assets=10)).run()
    # A tenth of all or more: with latencies from the moment of sending, one of them would have been slow.
    assert outcome.longest == pytest.approx(500, rel=0.2)
    assert outcome.p99 > 400
    assert outcome.p50 < outcome.p99


def test_a_closed_loop_sends_as_fast_as_it_is_answered() -> None:
    with server() as port:
        outcome = Generator(Load([port], connections=1, seconds=0.3, warm_up=0.1, assets=10)).run()
    assert outcome.rate > 500
    assert outcome.answered >= outcome.rate * 0.3


def test_an_answer_that_is_not_200_ends_the_run() -> None:
    with server(answer=_REFUSAL) as port, pytest.raises(LoadError, match="401"):
        Generator(Load([port], connections=1, seconds=0.3, assets=10)).run()


@pytest.mark.parametrize(("data", "end"), [(_ANSWER, len(_ANSWER)), (_ANSWER[:-1], 0), (b"HTTP/1.1 200", 0), (b"", 0)])
def test_an_answer_is_whole_or_is_waited_for(data: bytes, end: int) -> None:
    assert answer_end(data) == end


def test_what_is_sent_is_signed() -> None:
    head, _, body = request(upload(3), 1_700_000_000).partition(b"\r\n\r\n")
    headers = dict(line.split(": ") for line in head.decode().split("\r\n")[1:])
    assert int(headers["Content-Length"]) == len(body)
    claim = Claim(headers["X-Cld-Signature"], headers["X-Cld-Timestamp"], "sha1")
    assert verify(body, claim, {"key": SECRET}) == "key"
