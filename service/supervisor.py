"""Start, watch, drain: runs a command to its end or to a signal, and makes one line of every error that a user can cause."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine

import asyncpg
import structlog

from service import garbage
from service.database import in_words
from service.errors import MediamirrorError
from service.reloading import KeyReload
from service.terminal import complain

new_event_loop: Callable[[], asyncio.AbstractEventLoop]
try:
    from uvloop import new_event_loop
except ImportError:  # the extra `uvloop` is not installed
    from asyncio import new_event_loop

log = structlog.get_logger(__name__)


def run(main: Coroutine[object, object, None], keys: KeyReload | None = None) -> None:
    """Run `main`; SIGTERM and SIGINT cancel it, so whatever it entered is left in order, and end the process with 0.

    SIGHUP has the `keys` reloaded, and ends what has none, or what has lost its terminal. Raises the error that a person must act
    on, in words, and freed of the task groups it passed through.
    """
    garbage.settle()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_until_told(main, keys))


async def _until_told(main: Coroutine[object, object, None], keys: KeyReload | None) -> None:
    task = asyncio.ensure_future(main)
    told = False

    def stop(name: str) -> None:
        nonlocal told
        if not told:
            log.debug("told to stop", signal=name)
            told = True
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number.name)
    _on_hangup(stop, keys)
    watching = asyncio.ensure_future(keys.watch()) if keys else None
    try:
        await task
    except asyncio.CancelledError:
        if not told:
            raise
    except BaseExceptionGroup as group:
        errors = [in_words(error) or error for error in _leaves(group)]
        raise next((error for error in errors if isinstance(error, MediamirrorError)), errors[0]) from None
    except asyncpg.PostgresError as error:
        raise in_words(error) or error from None
    finally:
        if watching:
            watching.cancel()


def _on_hangup(stop: Callable[[str], None], keys: KeyReload | None) -> None:
    """Let SIGHUP reload what there is to reload, and stop what nobody can see any more."""
    terminals = _terminals()

    def hang_up() -> None:
        if keys is None or terminals - _terminals():
            stop("SIGHUP")
        else:
            keys.reload()

    if keys or signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` has it
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hang_up)


def _terminals() -> set[int]:
    """Give which of our standard streams lead to a terminal that is there: one that was closed is none any more."""
    return {stream for stream in range(3) if os.isatty(stream)}


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves


def fail(error: MediamirrorError) -> None:
    """End the process with an error's one line and its exit code."""
    complain(f"mediamirror: {error}")
    sys.exit(error.exit_code)
