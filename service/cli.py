"""The verbs."""

import asyncio
import importlib.metadata
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress
from typer.core import TyperGroup

from service import supervisor
from service.database import connect, migrate, pending_migrations, reachable, require_schema
from service.dlq import command as dlq
from service.doctor import command as doctor
from service.errors import MediamirrorError
from service.events import command as media_events
from service.events import outbox_command
from service.events.app import run_relay
from service.follow import Filters, Follower
from service.gateway.app import run_gateway
from service.mirror.app import run_mirror
from service.mirror.entry import Outcome
from service.mirror.gap import Gap
from service.options import DATA_DIR, DataDir, Json, Limit, command_settings
from service.poller import command as poller
from service.printing import print_answers, print_log_line, print_rows, print_settings, print_site
from service.reconcile import command as reconciliation
from service.reconcile import drift_command
from service.reloading import KeyReload
from service.replay import command as log_again
from service.replay import proof
from service.rights import PREFIX
from service.roles import check_prefix, make_roles, roles_script
from service.running import gateway_of
from service.sender import Answer, given_secret, order, read_bodies
from service.sender import send as send_webhooks
from service.settings import Settings, load_settings
from service.sql import query
from service.telemetry import Metrics, configure_logging
from service.terminal import console, heard_or_not, nobody_listens, prepare, printable, say
from service.up import run_site
from service.watch import Watch
from service.writeback import op_command, ops_command
from service.writeback.app import run_writeback


class _Verbs(TyperGroup):
    """Commands whose complaints about how they are called are harmless to a terminal, whatever they are called with."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # as typer's own
        """Read the command line."""
        with _harmless():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  # as typer's own
        """Run the command."""
        with _harmless():
            return super().invoke(ctx)


@contextmanager
def _harmless() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if hasattr(error, "format_message"):
            said = printable(error.format_message())
            error.format_message = lambda: said
        raise


app = typer.Typer(
    cls=_Verbs,
    help="Cloudinary, mirrored: every asset a row in your PostgreSQL, every change an event on your Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

# The panels of the help.
BEGIN = "Begin"
LOOK = "Look"
PROVE = "Prove and repair"
WRITE = "Write back"
ROLES = "Roles, a process each"

Cloud = Annotated[str | None, typer.Option(help="Only this cloud.")]
Gaps = Annotated[
    list[str] | None,
    typer.Option(metavar="PARTITION:OFFSET", help="Read a partition from there, accepting that what came before is gone."),
]
VERSION = importlib.metadata.version("mediamirror")


def main() -> None:
    """Run the command line."""
    prepare()
    try:
        app()
    except MediamirrorError as error:
        supervisor.fail(error)


@app.command(rich_help_panel=BEGIN)
def up(
    *,
    data_dir: DataDir = DATA_DIR,
    gateway_port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 picks a free one.")] = None,
    ready_file: Annotated[Path | None, typer.Option(help="Written as one JSON object when everything is ready.")] = None,
    with_demo: Annotated[
        bool,
        typer.Option("--demo/--no-demo", help="Without an account: run a Cloudinary stand-in, whose library changes by itself."),
    ] = True,
    accept_gap: Gaps = None,
) -> None:
    """Run everything in one process, on a Kafka and a PostgreSQL of its own unless others are configured."""
    settings = load_settings(gateway_port=gateway_port)
    # at info, a person's terminal belongs to the table
    configure_logging("warning" if settings.log_level == "info" else settings.log_level, settings.log_format)
    gaps = [Gap.parse(text) for text in accept_gap or ()]
    keys = KeyReload(settings)
    supervisor.run(_up(settings, keys, data_dir, ready_file, gaps, demo=with_demo and not settings.clouds), keys)


async def _up(
    settings: Settings, keys: KeyReload, data_dir: Path, ready_file: Path | None, gaps: list[Gap], *, demo: bool
) -> None:
    def progress(line: str) -> None:
        with heard_or_not():
            say(line)

    async with run_site(settings, data_dir, demo=demo, ready_file=ready_file, gaps=gaps, progress=progress, keys=keys) as site:
        with heard_or_not():
            print_site(site, data_dir, VERSION)
        await Watch(site.pool, console()).run()


@app.command(rich_help_panel=ROLES)
def gateway() -> None:
    """Receive webhooks: verify, put on Kafka, answer."""
    settings = _role_settings()
    supervisor.run(_gateway(settings), KeyReload(settings))


async def _gateway(settings: Settings) -> None:
    async with run_gateway(settings, Metrics()):
        await asyncio.Event().wait()


@app.command(rich_help_panel=ROLES)
def mirror(*, accept_gap: Gaps = None) -> None:
    """Fold notifications from Kafka into PostgreSQL."""
    settings = _role_settings()
    gaps = [Gap.parse(text) for text in accept_gap or ()]
    supervisor.run(run_mirror(settings, Metrics(), gaps), KeyReload(settings))


@app.command(rich_help_panel=ROLES)
def relay() -> None:
    """Publish media events: from the outbox in PostgreSQL to Kafka."""
    settings = _role_settings()
    supervisor.run(run_relay(settings, Metrics()), KeyReload(settings))


@app.command(rich_help_panel=ROLES)
def writeback() -> None:
    """Carry out at Cloudinary what was asked of it: operations, and deletions by SQL."""
    settings = _role_settings()
    supervisor.run(run_writeback(settings, Metrics()), KeyReload(settings))


@app.command(
    add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, rich_help_panel=BEGIN
)
def standin(context: typer.Context) -> None:
    """Run a Cloudinary stand-in, to try things on: the API that the official SDK speaks, and signed webhooks."""
    # a program of its own, so that what runs for real can't come to depend on it
    os.execv(sys.executable, [sys.executable, "-m", "standin", *context.args])  # noqa: S606  # no shell is wanted


@app.command(name="migrate", rich_help_panel=BEGIN)
def migrate_command(
    *,
    with_roles: Annotated[bool, typer.Option("--with-roles", help="Make a database role for each, with what it needs.")] = False,
    role_prefix: Annotated[str, typer.Option(metavar="NAME", help="What the names of these begin with.")] = PREFIX,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the SQL of the roles, and name the migrations.")] = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Bring the database's schema up to date. As its owner; with --with-roles, the roles' rights, too."""
    prefix = check_prefix(role_prefix) if with_roles else None
    supervisor.run(_migrate(command_settings(data_dir), prefix, dry_run=dry_run))


async def _migrate(settings: Settings, role_prefix: str | None, *, dry_run: bool) -> None:
    async with connect(settings, size=1) as pool:
        if dry_run:
            pending = await pending_migrations(pool)
            say(f"-- migrations to apply: {', '.join(pending)}" if pending else "-- the schema is up to date")
            if role_prefix:
                say("BEGIN;", *(await roles_script(pool, role_prefix)).splitlines(), "COMMIT;")
            return
        applied = await migrate(pool)
        say(f"applied {', '.join(applied)}" if applied else "the schema is up to date")
        if role_prefix:
            say(f"the roles have their rights: {', '.join(await make_roles(pool, role_prefix))}")


@app.command(rich_help_panel=BEGIN)
def send(
    files: Annotated[list[Path], typer.Argument(help="Bodies, sent byte for byte; of a folder its *.json.", exists=True)],
    *,
    url: Annotated[str | None, typer.Option(help="The gateway; default: that of the `up` running here, or port 8080.")] = None,
    cloud: Annotated[str | None, typer.Option(help="The cloud to speak for; default: the only one configured.")] = None,
    key: Annotated[str | None, typer.Option(help="The API key whose configured secret signs; default: the first.")] = None,
    secret_file: Annotated[
        Path | None,
        typer.Option(help="A file with the API secret that signs, - for standard input; or set MEDIAMIRROR_SEND_SECRET."),
    ] = None,
    secret: Annotated[str | None, typer.Option(hidden=True)] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Send each so many times.")] = 1,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="In random order.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, max=1000, help="So many at a time.")] = 1,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Sign recorded webhooks and post them to a gateway, as Cloudinary does. Exits with 1 unless all were accepted."""
    webhooks = order(read_bodies(files), repeat=repeat, shuffle=shuffle)
    settings = command_settings(data_dir)
    name, signing_secret = settings.sender(cloud, key, given_secret(secret, secret_file))
    gateway_url = url or gateway_of(data_dir) or f"http://127.0.0.1:{settings.gateway_port}"
    answers: list[Answer] = []
    started = time.perf_counter()
    sending = send_webhooks(webhooks, gateway=gateway_url, cloud=name, secret=signing_secret.encode(), concurrency=concurrency)
    supervisor.run(_collect(sending, answers, len(webhooks), quiet=json))
    print_answers(answers, time.perf_counter() - started, as_json=json)
    if len(answers) < len(webhooks) or not all(answer.accepted for answer in answers):
        sys.exit(1)


async def _collect(sending: AsyncIterator[Answer], answers: list[Answer], total: int, *, quiet: bool) -> None:
    with Progress(transient=True, disable=quiet or not sys.stderr.isatty(), console=console(stderr=True)) as progress:
        task = progress.add_task("sending", total=total)
        async for answer in sending:
            answers.append(answer)
            progress.advance(task)


@app.command(rich_help_panel=LOOK)
def assets(
    name: Annotated[str | None, typer.Argument(help="Only the assets of this asset id or public id.")] = None,
    *,
    cloud: Cloud = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Deleted ones too.")] = False,
    limit: Limit = 50,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Print the mirror, newest change first."""
    columns = ("cloud", "asset_id", "public_id", "resource_type", "type", "format", "bytes", "revision", "deleted_at")
    # who asks for one asset wants to know that it is gone
    arguments = (cloud, name, deleted or name is not None, limit)
    supervisor.run(_print("assets", arguments, columns, command_settings(data_dir), as_json=json))


@app.command(name="log", rich_help_panel=LOOK)
def log_command(
    asset: Annotated[str | None, typer.Option(help="Only this asset id or public id.")] = None,
    *,
    cloud: Cloud = None,
    outcome: Annotated[Outcome | None, typer.Option(help="Only this outcome.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="New lines as they come, until Ctrl-C.")] = False,
    limit: Limit = 50,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Print the sync log, newest first: what became of each notification."""
    settings = command_settings(data_dir)
    if follow:
        supervisor.run(_follow(Filters(asset, cloud, outcome), settings, as_json=json))
        return
    columns = ("applied_at", "cloud", "notification_type", "asset_id", "outcome", "changed", "reason", "triggered_by")
    supervisor.run(_print("log", (cloud, asset, outcome, limit), columns, settings, as_json=json))


async def _follow(filters: Filters, settings: Settings, *, as_json: bool) -> None:
    async with connect(settings, size=1) as pool:
        try:
            with reachable():
                await require_schema(pool)
            async for line in Follower(pool, filters).lines():
                print_log_line(dict(line), as_json=as_json)
        except BrokenPipeError:
            # whoever read along has had enough; without this, Python would try to write the rest at exit
            nobody_listens()


async def _print(
    name: str, arguments: tuple[object, ...], columns: tuple[str, ...], settings: Settings, *, as_json: bool
) -> None:
    async with connect(settings, size=1) as pool:
        with reachable():
            await require_schema(pool)
            rows = await pool.fetch(query("reading", name), *arguments)
    print_rows(map(dict, rows), columns, as_json=as_json)


@app.command(name="settings", rich_help_panel=BEGIN)
def settings_command(*, json: Json = False) -> None:
    """Print every setting with its meaning; secrets are masked."""
    print_settings(load_settings(), as_json=json)


@app.command(rich_help_panel=BEGIN)
def version() -> None:
    """Print the version."""
    say(VERSION)


def _role_settings() -> Settings:
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    return settings


app.command(rich_help_panel=BEGIN)(doctor.doctor)
app.command(rich_help_panel=LOOK)(media_events.events)
app.command(rich_help_panel=LOOK)(log_again.history)
app.command(rich_help_panel=LOOK)(drift_command.drift)
app.command(rich_help_panel=PROVE)(proof.verify)
app.command(rich_help_panel=PROVE)(log_again.replay)
app.command(rich_help_panel=PROVE)(proof.rebuild)
app.command(rich_help_panel=PROVE)(reconciliation.reconcile)
app.add_typer(dlq.app, name="dlq", rich_help_panel=PROVE)
app.add_typer(outbox_command.app, name="outbox", rich_help_panel=PROVE)
app.add_typer(op_command.app, name="op", rich_help_panel=WRITE)
app.add_typer(ops_command.app, name="ops", rich_help_panel=WRITE)
app.command(rich_help_panel=ROLES)(reconciliation.reconciler)
app.command(rich_help_panel=ROLES)(poller.poller)
