"""Start, watch, drain: runs a command to its end or to a signal, and makes one line of every error that a user can cause."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine

import asyncpg
import structlog

from service import garbage
from service.database import in_words
from service.errors import MediamirrorError

new_event_loop: Callable[[], asyncio.AbstractEventLoop]
try:
    from uvloop import new_event_loop
except ImportError:  # the extra `uvloop` is not installed
    from asyncio import new_event_loop

log = structlog.get_logger(__name__)


def run(main: Coroutine[object, object, None]) -> None:
    """Run `main`; SIGTERM and SIGINT cancel it, so whatever it entered is left in order, and end the process with 0.

    Raises the error that a person must act on, in words, and freed of the task groups it passed through.
    """
    garbage.settle()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_until_told(main))


async def _until_told(main: Coroutine[object, object, None]) -> None:
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


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves


def fail(error: MediamirrorError) -> None:
    """End the process with an error's one line and its exit code."""
    sys.stderr.write(f"mediamirror: {error}\n")
    sys.exit(error.exit_code)
