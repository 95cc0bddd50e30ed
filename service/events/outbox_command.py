"""`mediamirror outbox`: events that could not be sent, and what becomes of them."""

import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from service import supervisor
from service.database import Pool, connect, reachable, require_schema
from service.errors import MediamirrorError
from service.events.aside import drop, retry
from service.options import DATA_DIR, DataDir, Json, Limit, command_settings
from service.printing import print_json, print_rows
from service.settings import Settings
from service.sql import query
from service.terminal import say

app = typer.Typer(help="Media events that can't be sent, and those of their assets that wait behind them.", no_args_is_help=True)

_BIGINT_MAX = 2**63 - 1
_MOST = 10_000
COLUMNS = ("id", "set_aside_at", "cloud", "subject", "type", "revision", "behind", "reason")

Ids = Annotated[list[int] | None, typer.Argument(max=_BIGINT_MAX, metavar="ID…", help="Which, as `list` prints them.")]
Cloud = Annotated[str | None, typer.Option(help="Only this cloud.")]


class WhichEventsError(MediamirrorError):
    """Say which events: their ids, as `mediamirror outbox list` prints them, or --all."""

    exit_code = 2


class NoSuchEventError(MediamirrorError):
    """No event {ids} is set aside. `mediamirror outbox list` prints those that are."""


class UnconfirmedError(MediamirrorError):
    """Nothing was dropped: what is dropped is never sent. --yes says that you mean it, --dry-run prints what it would be."""

    exit_code = 2


@app.command(name="list")
def list_command(
    *,
    cloud: Cloud = None,
    subject: Annotated[str | None, typer.Option("--asset", metavar="ID", help="Only of this asset id or folder.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that only wait behind another.")] = False,
    limit: Limit = 50,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Print the events that can't be sent, oldest first: why, and how many of their assets wait behind them."""

    async def look(pool: Pool) -> None:
        rows = await pool.fetch(query("outbox", "aside"), None, cloud, subject, everything, limit)
        _print(map(dict, rows), "nothing is set aside", as_json=json)

    supervisor.run(_with_pool(command_settings(data_dir), look))


@app.command()
def show(
    event: Annotated[int, typer.Argument(max=_BIGINT_MAX, metavar="ID", help="As `list` prints it.")],
    *,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Print one with all that it would tell."""

    async def look(pool: Pool) -> None:
        (row,) = await _called(pool, [event])
        contents = await pool.fetchrow(query("outbox", "contents"), row["shard"], row["id"])
        told = row | {name: _text(value) for name, value in (contents or {}).items()}
        if json:
            print_json(told)
            return
        for name, value in told.items():
            say(f"{name}: {'' if value is None else value}")

    supervisor.run(_with_pool(command_settings(data_dir), look))


@app.command(name="retry")
def retry_command(
    ids: Ids = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that are set aside.")] = False,
    cloud: Cloud = None,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Have events sent after all, with those of their assets, each in its place. What still can't be is set aside again."""
    if bool(ids) == everything:
        raise WhichEventsError

    async def again(pool: Pool) -> None:
        rows = await _called(pool, ids, cloud)
        returned = await retry(pool, _subjects(rows))
        if json:
            print_json({"retried": len(rows), "returned": returned})
        else:
            say(f"{len(rows):,} to be sent, {returned - len(rows):,} behind them" if rows else "nothing is set aside")

    supervisor.run(_with_pool(command_settings(data_dir), again))


@app.command(name="drop")
def drop_command(
    ids: Ids = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that can't be sent.")] = False,
    cloud: Cloud = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be dropped.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Give events up, so that those behind them are sent: subscribers see a gap in the asset's revisions.

    Where an event is the last of its asset, the state that it tells still goes to `media.assets`.
    """
    if bool(ids) == everything:
        raise WhichEventsError

    async def give_up(pool: Pool) -> None:
        rows = await _called(pool, ids, cloud)
        if dry_run or not rows:
            _print(rows, "nothing is set aside", as_json=json)
            return
        if not yes and not (sys.stdin.isatty() and typer.confirm(f"Drop {len(rows):,}, for good?")):
            raise UnconfirmedError
        kept, returned = await drop(pool, [row["id"] for row in rows], _subjects(rows))
        if json:
            print_json({"dropped": len(rows), "states_kept": len(kept), "returned": returned})
        else:
            say(f"{len(rows):,} dropped, {len(kept):,} of their states still go to the compacted topic, {returned:,} to be sent")

    supervisor.run(_with_pool(command_settings(data_dir), give_up))


async def _called(pool: Pool, ids: Sequence[int] | None, cloud: str | None = None) -> list[dict[str, Any]]:
    """Give what is set aside of these ids; without any, all that can't be sent."""
    rows = await pool.fetch(query("outbox", "aside"), ids or None, cloud, None, bool(ids), _MOST)
    if ids and (unknown := sorted(set(ids) - {row["id"] for row in rows})):
        raise NoSuchEventError(ids=", ".join(map(str, unknown)))
    return [dict(row) for row in rows]


def _subjects(rows: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    return {(row["cloud"], row["subject"]) for row in rows}


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="backslashreplace")


async def _with_pool(settings: Settings, act: Callable[[Pool], Awaitable[None]]) -> None:
    async with connect(settings, size=1) as pool:
        with reachable():
            await require_schema(pool)
            await act(pool)


def _print(rows: Iterable[Mapping[str, Any]], nothing: str, *, as_json: bool) -> None:
    rows = list(rows)
    if rows or as_json:
        print_rows(rows, COLUMNS, as_json=as_json)
    else:
        say(nothing)
