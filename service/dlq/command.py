"""`mediamirror dlq`: look at dead letters, and send them again."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from typing import Annotated

import typer

from service import supervisor
from service.database import connect, require_schema
from service.dlq.letter import DeadLetter, LetterId, parse_id
from service.dlq.reader import read_letters
from service.dlq.redrive import letters_called, letters_waiting, redrive
from service.dlq.redrives import Redrives
from service.errors import MediamirrorError
from service.options import DATA_DIR, DataDir, Json, Limit, command_settings
from service.printing import print_json, print_rows
from service.settings import Settings
from service.terminal import say, write_bytes

app = typer.Typer(help="Dead letters: notifications that could not be processed.", no_args_is_help=True)

COLUMNS = ("id", "failed_at", "origin", "notification_type", "key", "exception", "message", "redriven_at")
Everything = Annotated[bool, typer.Option("--all", help="Also those that were sent again.")]


class WhichLettersError(MediamirrorError):
    """Say which dead letters to send again: their ids, as `mediamirror dlq list` prints them, or --all for all that were not sent
    again yet.
    """

    exit_code = 2


@app.command(name="list")
def list_command(*, everything: Everything = False, limit: Limit = 50, data_dir: DataDir = DATA_DIR, json: Json = False) -> None:
    """Print those that were not sent again yet, newest first."""
    supervisor.run(_list(command_settings(data_dir), limit, everything=everything, as_json=json))


async def _list(settings: Settings, limit: int, *, everything: bool, as_json: bool) -> None:
    newest: deque[dict[str, object]] = deque(maxlen=limit)
    async with _redrives(settings) as redrives, aclosing(read_letters(settings)) as letters:
        async for letter in letters:
            redriven_at = redrives.when(letter)
            if everything or redriven_at is None:
                newest.append(_row(letter, redriven_at))
    if newest or as_json:
        print_rows(reversed(newest), COLUMNS, as_json=as_json)
    else:
        say("no dead letters")


@app.command()
def show(
    letter: Annotated[str, typer.Argument(metavar="ID", help="PARTITION:OFFSET, as `list` prints it.")],
    *,
    body: Annotated[bool, typer.Option("--body", help="Only its body, byte for byte, for a file or another program.")] = False,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Print one with its headers and its body."""
    letter_id = parse_id(letter)
    supervisor.run(_show(command_settings(data_dir), letter_id, body_alone=body, as_json=json))


async def _show(settings: Settings, letter_id: LetterId, *, body_alone: bool, as_json: bool) -> None:
    async with _redrives(settings) as redrives:
        (letter,) = await letters_called([letter_id], settings)
        row = _row(letter, redrives.when(letter))
    if body_alone:
        write_bytes(letter.value or b"")
        return
    headers = [(name, _text(value)) for name, value in letter.headers]
    if as_json:
        print_json(row | {"headers": headers, "body": _text(letter.value)})
        return
    for name, value in [*row.items(), ("", ""), *headers]:
        say(f"{name}: {'' if value is None else value}" if name else "")
    say("", _text(letter.value) or "")


@app.command(name="redrive")
def redrive_command(
    letters: Annotated[list[str] | None, typer.Argument(metavar="ID…", help="Which, as `list` prints them.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that were not sent again yet.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="With --all: at most so many, the oldest first.")] = 10_000,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Send some again, as they were: the mirror, which may know better by now, gets each as a new notification."""
    if bool(letters) == everything:
        raise WhichLettersError
    ids = [parse_id(letter) for letter in letters or ()]
    supervisor.run(_redrive(command_settings(data_dir), ids, limit, dry_run=dry_run, as_json=json))


async def _redrive(settings: Settings, ids: list[LetterId], limit: int, *, dry_run: bool, as_json: bool) -> None:
    async with _redrives(settings) as redrives:
        if ids:
            letters = await letters_called(ids, settings)
        else:
            letters = await letters_waiting(redrives, limit, settings)
        if dry_run:
            for letter in letters:
                _say(letter, to=None, as_json=as_json)
        else:
            async with aclosing(redrive(letters, redrives, settings)) as sent:
                async for each in sent:
                    _say(each.letter, to=f"{each.partition}:{each.offset}", as_json=as_json)
    if not as_json:
        verb = "would be sent again" if dry_run else "sent again"
        say(f"{len(letters):,} {verb}" if letters else "nothing to send again")


def _say(letter: DeadLetter, *, to: str | None, as_json: bool) -> None:
    if as_json:
        print_json(_row(letter, None) | {"redriven": to is not None, "to": to})
    else:
        where = f" as {to}" if to else ""
        say(f"{letter.id}  {letter.header('notification-type') or '?'}  {_text(letter.key) or '-'}{where}")


@asynccontextmanager
async def _redrives(settings: Settings) -> AsyncIterator[Redrives]:
    async with connect(settings, size=1) as pool:
        await require_schema(pool)
        redrives = Redrives(pool, settings.dead_letter_topic)
        await redrives.load()
        yield redrives


def _row(letter: DeadLetter, redriven_at: datetime | None) -> dict[str, object]:
    origin, failure = letter.origin, letter.failure
    return {
        "id": letter.id,
        "failed_at": letter.failed_at,
        "origin": f"{origin.partition}:{origin.offset}",
        "cloud": letter.header("cloud"),
        "notification_type": letter.header("notification-type"),
        "key": _text(letter.key),
        "exception": failure.exception,
        "message": failure.message,
        "attempts": failure.attempts,
        "redriven_at": redriven_at,
    }


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="backslashreplace")
