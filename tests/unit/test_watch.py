"""What only shows ends nothing, whatever becomes of what it looks at or of who looks at it."""

import asyncio
import io
import os
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from rich.console import Console
from rich.text import Text

from service import screen as screen_module
from service import watch as watch_module
from service.screen import Screen
from service.watch import Watch

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOLDS = {"alive": 3, "bytes": 10, "deleted": 1}


def line(name: str) -> dict[str, Any]:
    told = {"applied_at": NOW, "received_at": NOW, "notification_type": "upload", "asset_id": "a" * 32, "public_id": name}
    return told | {"outcome": "applied", "reason": None, "changed": ["tags"]}


class FakePool:
    """Answers in turn, or fails; the last answer is for good."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.sums = 0

    async def fetch(self, _query: str, _since: datetime) -> Sequence[Any]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        if answer is None:
            await asyncio.Event().wait()
        return list(answer)

    async def fetchrow(self, _query: str) -> Any:
        self.sums += 1
        return HOLDS


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_SECONDS", "_BLIND_SECONDS", "_TIMEOUT_SECONDS"):
        monkeypatch.setattr(watch_module, name, 0.01)


class Out(io.StringIO):
    """A stream that remembers, though nobody knows when a thread writes to it."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = False

    def write(self, text: str) -> int:
        if self.fails:
            raise BrokenPipeError
        return super().write(text)


async def watching(pool: Any, out: Any, until: Callable[[Watch], bool], *, terminal: bool = False) -> str:
    """Watch until something is so; gives what was shown."""
    watch = Watch(pool, Console(file=out, force_terminal=terminal, width=200))
    task = asyncio.create_task(watch.run())
    async with asyncio.timeout(10):
        while not until(watch):
            await asyncio.sleep(0.01)
            assert not task.done(), task.exception()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return str(out.getvalue())


ERRORS = [
    OSError("gone"),
    asyncpg.QueryCanceledError("canceling statement due to user request"),
    asyncpg.LockNotAvailableError("locked"),
    asyncpg.UndefinedTableError("no such table"),
    asyncpg.InterfaceError("the pool is closed"),
    asyncpg.AdminShutdownError("terminating connection"),
    ValueError("year 20000 is out of range"),
    None,  # no answer at all
]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("terminal", [True, False])
async def test_whatever_goes_wrong_is_shown_and_the_lines_that_come_afterwards_too(error: Any, *, terminal: bool) -> None:
    out = Out()
    pool = FakePool([line("before")], error, error, [line("after")], [])
    shown = await watching(pool, out, lambda _: "after" in out.getvalue(), terminal=terminal)
    assert shown.index("before") < shown.index("PostgreSQL can't be asked") < shown.rindex("after")


async def test_a_reader_who_has_gone_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # as rich does, but for what it does to the process's own standard output
    monkeypatch.setattr(Console, "on_broken_pipe", lambda _: sys.exit(1))
    monkeypatch.setattr(screen_module, "nobody_listens", lambda: None)
    out = Out()
    pool = FakePool([line("before")], [line("more")])

    def gone(watch: Watch) -> bool:
        out.fails = out.fails or "before" in out.getvalue()
        return watch.seen > 20

    assert "before" in await watching(pool, out, gone)


async def test_a_terminal_that_was_stopped_holds_nobody_up() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", buffering=1) as out:
        os.set_blocking(writing, True)
        pool = FakePool([line("x" * 400)] * 50)
        watch = Watch(pool, Console(file=out, width=2000))  # type: ignore[arg-type]  # what it asks of a pool is there
        task = asyncio.create_task(watch.run())
        async with asyncio.timeout(10):
            while watch.seen < 5000:  # noqa: ASYNC110  # far more than a pipe holds, and nobody reads
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        threading.Thread(target=drain, args=(reading,), daemon=True).start()
        (screen,) = [thread for thread in threading.enumerate() if thread.name == "screen"]
        screen.join(10)
    assert not screen.is_alive()


def drain(reading: int) -> None:
    while os.read(reading, 65536):
        pass


async def test_what_the_mirror_holds_is_summed_up_seldom() -> None:
    pool = FakePool([])
    turns = 0

    def many(_: Watch) -> bool:
        nonlocal turns
        turns += 1
        return turns > 50

    await watching(pool, Out(), many)
    assert pool.sums == 1


async def test_names_are_shown_harmless() -> None:
    out = Out()
    shown = await watching(FakePool([line("a\x1b[2J\nforged\u202e")], []), out, lambda _: "forged" in out.getvalue())
    assert "a\\x1b[2J\\nforged\\u202e" in shown


def test_a_screen_shows_what_it_was_given_last_before_it_ends() -> None:
    out = Out()
    with Screen(Console(file=out, force_terminal=False)) as screen:
        for number in range(50):
            screen.show(Text(str(number)))
    assert out.getvalue().split() == [str(number) for number in range(50)]
