"""`mediamirror ops`: the queue of operations at Cloudinary."""

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from service import supervisor
from service.cloudinary.client import accounts
from service.database import Pool, connect, require_schema
from service.errors import MediamirrorError
from service.kafka import require_kafka
from service.options import DATA_DIR, DataDir, Json, Limit, command_settings
from service.printing import print_rows
from service.publisher import Publisher
from service.settings import Settings
from service.sql import query
from service.telemetry import Metrics
from service.terminal import say
from service.writeback.op_arguments import BIGINT_MAX
from service.writeback.operations import Kind, Origin, Settled, Status
from service.writeback.store import cancel
from service.writeback.writeback import Writeback

app = typer.Typer(help="The queue of what is to be done at Cloudinary.", no_args_is_help=True)

Ids = Annotated[list[int] | None, typer.Argument(max=BIGINT_MAX, metavar="ID…", help="Which, as `list` prints them.")]
Cloud = Annotated[str | None, typer.Option(help="Only this cloud.")]
COLUMNS = ("id", "created_at", "cloud", "kind", "public_id", "asset_id", "origin", "status", "attempts", "confirmed_at", "error")


class WhichOperationsError(MediamirrorError):
    """Say which operations: their ids, as `mediamirror ops list` prints them, or {instead}."""

    exit_code = 2


class NoneOfThemError(MediamirrorError):
    """None of these operations could be {done}: {reason}. `mediamirror ops list` tells what became of them."""


@app.command(name="list")
def list_command(
    ids: Ids = None,
    *,
    status: Annotated[Status | None, typer.Option(help="Only of this status.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="Only of this kind.")] = None,
    asset: Annotated[str | None, typer.Option(help="Only of this asset id or public id.")] = None,
    cloud: Cloud = None,
    limit: Limit = 50,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Print operations, newest first."""
    arguments = (cloud, status, kind, asset, ids or None, limit)

    async def look(pool: Pool) -> None:
        rows = [dict(row) for row in await pool.fetch(query("operations", "list"), *arguments)]
        _print(rows, COLUMNS, "no operations", as_json=json)

    supervisor.run(_with_pool(command_settings(data_dir), look))


@app.command()
def stats(*, cloud: Cloud = None, data_dir: DataDir = DATA_DIR, json: Json = False) -> None:
    """Print how many operations there are of each kind and status."""

    async def look(pool: Pool) -> None:
        rows = [dict(row) for row in await pool.fetch(query("operations", "stats"), cloud)]
        columns = ("cloud", "kind", "status", "operations", "confirmed", "most_attempts", "oldest")
        _print(rows, columns, "no operations", as_json=json)

    supervisor.run(_with_pool(command_settings(data_dir), look))


@app.command()
def retry(
    ids: Ids = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that have failed.")] = False,
    cloud: Cloud = None,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Have failed operations tried again, from the beginning."""
    if bool(ids) == everything:
        raise WhichOperationsError(instead="--all for all that have failed")

    async def again(pool: Pool) -> None:
        rows = await pool.fetch(query("operations", "retry"), ids or None, cloud)
        if ids and not rows:
            raise NoneOfThemError(done="retried", reason="only failed ones can be")
        _print([{"id": row["id"], "status": Status.PENDING} for row in rows], ("id", "status"), "nothing to retry", as_json=json)

    supervisor.run(_with_pool(command_settings(data_dir), again))


@app.command(name="cancel")
def cancel_command(
    ids: Ids = None,
    *,
    asset: Annotated[str | None, typer.Option(help="All that wait of this asset id or public id.")] = None,
    by_sql: Annotated[bool, typer.Option("--sql", help="All deletions by SQL that wait.")] = False,
    cloud: Cloud = None,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Cancel operations that wait. A row that was deleted by SQL comes back: the account is asked about it."""
    if sum(map(bool, (ids, asset, by_sql))) != 1:
        raise WhichOperationsError(instead="those of an asset with --asset, or all deletions by SQL with --sql")

    async def undo(pool: Pool) -> None:
        rows = await cancel(pool, ids or None, asset, cloud, Origin.SQL if by_sql else None)
        if not rows:
            raise NoneOfThemError(done="cancelled", reason="only those can be that wait")
        told = [dict(row) | {"status": Status.CANCELLED} for row in rows]
        _print(told, ("id", "cloud", "kind", "public_id", "asset_id", "status"), "", as_json=json)

    supervisor.run(_with_pool(command_settings(data_dir), undo))


@app.command()
def process(
    *,
    batch_size: Annotated[int, typer.Option(min=1, max=100, help="At most so many operations.")] = 100,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Do a batch right now, and print what became of each. Exits with 1 if some failed."""
    settled: list[Settled] = []
    supervisor.run(_process(command_settings(data_dir), batch_size, settled))
    rows = [
        {"id": one.operation.id, "cloud": one.operation.cloud, "kind": one.operation.kind, "asset_id": one.operation.asset_id}
        | {"status": one.status, "attempts": one.operation.attempts, "error": one.error}
        for one in settled
    ]
    _print(rows, ("id", "cloud", "kind", "asset_id", "status", "attempts", "error"), "nothing is due", as_json=json)
    if any(one.status is Status.FAILED for one in settled):
        sys.exit(1)


async def _process(settings: Settings, batch_size: int, settled: list[Settled]) -> None:
    require_kafka(settings)
    metrics = Metrics()
    async with connect(settings) as pool:
        await require_schema(pool)
        async with accounts(settings, pool) as opened, Publisher(settings, metrics) as publisher:
            settled += await Writeback(settings, pool, opened, publisher, metrics).process(batch_size)


async def _with_pool(settings: Settings, act: Callable[[Pool], Awaitable[None]]) -> None:
    async with connect(settings, size=1) as pool:
        await require_schema(pool)
        await act(pool)


def _print(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], nothing: str, *, as_json: bool) -> None:
    if rows or as_json:
        print_rows(rows, columns, as_json=as_json)
    else:
        say(nothing)
