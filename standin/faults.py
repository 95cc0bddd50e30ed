"""What goes wrong on demand: with notifications by chance, with API calls as ordered."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

_WINDOW = 100  # notifications among which one is reordered, unless told otherwise


class Kind(StrEnum):
    """What becomes of a call."""

    ANSWER = "answer"  # it is not carried out, and answered all the same
    REFUSE = "refuse"  # the connection ends before anything happens
    LOSE_ANSWER = "lose_answer"  # it is carried out, and the connection ends without an answer
    BREAK_OFF = "break_off"  # it is carried out, and the connection ends in the middle of the answer
    SLOW = "slow"  # it is carried out, and answered late


@dataclass(frozen=True, slots=True)
class ApiFault:
    """What happens to one call."""

    kind: Kind
    status: int = 500
    body: Mapping[str, Any] | str = ""  # of an ANSWER: JSON, or text that is none
    seconds: float = 0.0  # until the answer, or the end of the connection
    resets_in: float | None = None  # seconds; with a 420 or 429, when its headers say that calls are served again


@dataclass(slots=True)
class _Order:
    """A fault that was ordered for the calls that match."""

    match: str
    fault: ApiFault
    times: int | None  # how often it happens yet; None: always
    after: int  # how many matching calls go well first

    def applies(self, call: str) -> bool:
        if not fnmatchcase(call, self.match):
            return False
        if self.after:
            self.after -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Faults:
    """Set the attributes at any time; they hold for notifications sent from then on, each on its own.

    A `match` is a shell pattern over method and path, with `*` standing for slashes too: `POST */destroy`, `GET */resources/*`.
    Of orders that match the same call, the oldest goes first. `times=None` is for ever; `after` calls go well first.
    When a connection breaks, the SDK's urllib3 does a GET, PUT or DELETE up to three times more by itself, so only what breaks
    four times reaches its caller. It does not do so with a POST.
    """

    def __init__(self, seed: int | None = None, clock: Callable[[], float] = time.time) -> None:
        self.clear()
        self.clock = clock
        self.random = random.Random(seed)  # noqa: S311  # which notification is lost is no secret

    def clear(self) -> None:
        """Let all go well from now on."""
        self.lose = 0.0  # share of the notifications, 0 to 1
        self.double = 0.0  # share of the notifications, 0 to 1
        self.delay = 0.0  # seconds, at most
        self.reorder: bool | int = False  # among how many notifications one may change its place; True: 100
        self.refuse_connections = False  # every call's connection ends before anything happens
        self._orders: list[_Order] = []

    def fail(
        self,
        match: str,
        status: int = 500,
        times: int | None = 1,
        *,
        after: int = 0,
        message: str = "",
        resets_in: float = 1.0,
    ) -> None:
        """Refuse calls without carrying them out: 400, 401, 403, 404, 409, 420, 423, 429, 500, 502, 503…

        A 420 or 429 tells in its headers that calls are served again in `resets_in` seconds.
        """
        body = {"error": {"message": message or f"Ordered to fail with {status}"}}
        self._add(match, ApiFault(Kind.ANSWER, status, body, resets_in=resets_in if status in {420, 429} else None), times, after)

    def answer(
        self, match: str, body: Mapping[str, Any] | str, times: int | None = 1, *, status: int = 200, after: int = 0
    ) -> None:
        """Give an answer of your own without carrying the call out: JSON, or text (a proxy's page, say)."""
        self._add(match, ApiFault(Kind.ANSWER, status, body), times, after)

    def time_out_after_effect(self, match: str, times: int | None = 1, *, after: int = 0, seconds: float = 0.0) -> None:
        """Carry calls out and never answer: the connection ends after `seconds`, which may be more than the caller waits."""
        self._add(match, ApiFault(Kind.LOSE_ANSWER, seconds=seconds), times, after)

    def break_off(self, match: str, times: int | None = 1, *, after: int = 0) -> None:
        """Carry calls out and end the connection in the middle of the answer."""
        self._add(match, ApiFault(Kind.BREAK_OFF), times, after)

    def refuse(self, match: str, times: int | None = 1, *, after: int = 0) -> None:
        """End the connection before anything happens."""
        self._add(match, ApiFault(Kind.REFUSE), times, after)

    def slow(self, match: str, seconds: float, times: int | None = 1, *, after: int = 0) -> None:
        """Carry calls out at once and answer `seconds` later."""
        self._add(match, ApiFault(Kind.SLOW, seconds=seconds), times, after)

    def for_call(self, method: str, path: str) -> ApiFault | None:
        """Give what goes wrong with a call that has come in, if anything; it counts as having happened."""
        if self.refuse_connections:
            return ApiFault(Kind.REFUSE)
        call = f"{method} {path}"
        for order in self._orders:
            if order.applies(call):
                if order.times == 0:
                    self._orders.remove(order)
                return order.fault
        return None

    def copies(self) -> int:
        """Draw how often a notification is to be sent: 0 when it is lost."""
        if self.random.random() < self.lose:
            return 0
        return 2 if self.random.random() < self.double else 1

    def lateness(self) -> float:
        """Draw how many seconds a notification is to be late."""
        return self.random.uniform(0, self.delay)

    def displacement(self) -> float:
        """Draw behind how many later notifications one is to be sent."""
        window = _WINDOW if self.reorder is True else int(self.reorder)
        return self.random.uniform(0, window)

    @property
    def ordered(self) -> int:
        """How many orders for calls wait to happen, those for ever included."""
        return len(self._orders)

    def _add(self, match: str, fault: ApiFault, times: int | None, after: int) -> None:
        if times is None or times > 0:
            self._orders.append(_Order(match, fault, times, after))
