"""`mediamirror-bench`: runs benchmarks and keeps their results."""

import importlib
import importlib.util
import os
import shutil
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Protocol, cast

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.machine import Circumstances, circumstances
from bench.processes import ROOT
from bench.report import number_text, write
from bench.result import Ratio, Result
from bench.site import Site, site
from service import supervisor
from service.errors import MediamirrorError
from service.telemetry import configure_logging


class Name(StrEnum):
    """The benchmarks, in the order they run in."""

    INGEST = "ingest"
    APPLY = "apply"
    ENDTOEND = "endtoend"
    REPLAY = "replay"
    SCALE = "scale"
    FOOTPRINT = "footprint"


class Peer(StrEnum):
    """What we are compared with, where it takes another runtime."""

    DEBEZIUM = "debezium"
    STRIPE = "stripe"


class _Benchmark(Protocol):
    def run(self, site: Site, *, quick: bool, progress: Callable[[str], None]) -> Awaitable[Result]: ...


class NoPayloadsError(MediamirrorError):
    """The benchmarks need the source tree: {missing} is not there. Clone the repository and run `make bench`."""


class NoPlotsError(MediamirrorError):
    """matplotlib is missing, which draws the plots. `make bench` installs it, and so does
    `.venv/bin/pip install --require-hashes --requirement requirements-bench.txt`.
    """


@dataclass(frozen=True)
class _Options:
    names: Sequence[Name]
    quick: bool
    results: Path
    data_dir: Path
    json: bool
    without: frozenset[str]


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})


def main() -> None:
    """Run the command line."""
    # what is measured has settings of its own
    for variable in [one for one in os.environ if one.startswith(("MEDIAMIRROR_", "CLOUDINARY_"))]:
        del os.environ[variable]
    try:
        app(prog_name="mediamirror-bench")
    except MediamirrorError as error:
        sys.stderr.write(f"mediamirror-bench: {error}\n")
        sys.exit(error.exit_code)


@app.command()
def bench(
    names: Annotated[
        list[Name] | None, typer.Argument(metavar="[NAME]…", help=f"{', '.join(Name)}; all without any.", show_default=False)
    ] = None,
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="A tenth of the load or less, to see that it works: no figures to quote.")
    ] = False,
    results: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Where results go; otherwise bench/results/DATE, or …/quick.", show_default=False),
    ] = None,
    without: Annotated[
        list[Peer] | None, typer.Option(help="Leave a peer out; may be repeated. Its ratios stay unmeasured.", show_default=False)
    ] = None,
    data_dir: Annotated[
        Path, typer.Option(file_okay=False, help="Where Kafka and PostgreSQL run meanwhile; emptied before and after.")
    ] = ROOT / ".mediamirror" / "bench",
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line on standard output, for machines.")] = False,
) -> None:
    """Measure mediamirror beside its peers and beside the limit, on a Kafka and a PostgreSQL of its own.

    Each benchmark leaves a page NAME.md with its tables, ratios and the machine, a picture NAME.png, the same as NAME.json, and a
    line for each ratio in the folder's README.md. An earlier run of the same day is replaced. Exits with 1 when a benchmark
    fails, or a peer can't be had that was not left out; a goal that is not met is a finding, no failure.
    """
    _require_tree()
    configure_logging("error", "auto")
    today = datetime.now(UTC).astimezone().strftime("%Y-%m-%d")
    options = _Options(
        names=list(dict.fromkeys(names or Name)),
        quick=quick,
        results=results or ROOT / "bench" / "results" / ("quick" if quick else today),
        data_dir=data_dir,
        json=json,
        without=frozenset(without or ()),
    )
    codes: list[int] = []
    supervisor.run(_run_all(options, codes))
    if codes != [0]:
        sys.exit(1)  # nothing said: told to stop


def _require_tree() -> None:
    for needed in (ROOT / "tests" / "payloads", ROOT / "deploy" / "kafka"):
        if not needed.exists():
            raise NoPayloadsError(missing=needed)
    if importlib.util.find_spec("matplotlib") is None:
        raise NoPlotsError


async def _run_all(options: _Options, codes: list[int]) -> None:
    """Run them all, whatever becomes of one; the exit code is appended to `codes`."""
    told = Console(stderr=True)
    failed: list[str] = []
    results: list[Result] = []
    for name in options.names:
        try:
            result = await _run_one(name, options, told)
        except Exception as error:  # noqa: BLE001  # the others may still tell something
            _tell_failure(name, error, told)
            failed.append(name)
            continue
        results.append(result)
        if missing := unmeasured(result.ratios, options.without):
            told.print(f"[red]{name}: not measured:[/] {escape('; '.join(missing))}")
            failed.append(name)
    ratios = [ratio for result in results for ratio in result.ratios]
    met = sum(ratio.met is True for ratio in ratios)
    told.print(f"{met} of {len(ratios)} goals met  ·  {_shown(options.results / 'README.md')}", soft_wrap=True, highlight=False)
    if failed:
        told.print(f"[red]failed: {', '.join(dict.fromkeys(failed))}[/]")
    codes.append(1 if failed else 0)


def unmeasured(ratios: Iterable[Ratio], without: Iterable[str]) -> list[str]:
    """Give the claims without a value, but for those that name a peer which was left out."""
    return [
        ratio.claim
        for ratio in ratios
        if ratio.value is None and not any(peer in f"{ratio.claim} {ratio.note}".lower() for peer in without)
    ]


async def _run_one(name: Name, options: _Options, told: Console) -> Result:
    """Run a benchmark on servers that nothing else has used, and keep its result."""
    benchmark = cast("_Benchmark", importlib.import_module(f"bench.{name}"))
    folder = options.data_dir / name
    shutil.rmtree(folder, ignore_errors=True)
    started = time.monotonic()
    with _progress(name, told) as progress:
        progress("Kafka and PostgreSQL start")
        async with site(folder, without=options.without) as place:
            result = await benchmark.run(place, quick=options.quick, progress=progress)
            where = await circumstances(place, _command(), seconds=time.monotonic() - started, quick=options.quick)
    # left there after a failure, with its logs
    shutil.rmtree(folder, ignore_errors=True)
    page = _keep(result, where, options.results)
    _tell(result, page, where, told)
    if options.json:
        sys.stdout.buffer.write(orjson.dumps(asdict(result) | {"circumstances": asdict(where)}, option=orjson.OPT_APPEND_NEWLINE))
        sys.stdout.flush()
    return result


def _keep(result: Result, where: Circumstances, folder: Path) -> Path:
    page = write(result, where, folder)
    if result.plots:
        from bench.plot import draw  # noqa: PLC0415  # heavy, and drawn last

        draw(result.plots, f"{where.date[:10]}, {where.machine}", folder / f"{result.name}.png")
    return page


@contextmanager
def _progress(name: str, told: Console) -> Iterator[Callable[[str], None]]:
    """Show what a benchmark is at: on a terminal in one line that changes, elsewhere a line for each step."""
    started = time.monotonic()
    if not told.is_terminal:

        def say(text: str) -> None:
            told.print(f"{name} {time.monotonic() - started:6.1f} s  {escape(text)}", highlight=False, soft_wrap=True)

        yield say
        return
    with told.status(f"[bold]{name}[/]") as status:

        def show(text: str) -> None:
            status.update(f"[bold]{name}[/] {time.monotonic() - started:.0f} s  {escape(text)}")

        yield show


def _tell(result: Result, page: Path, where: Circumstances, told: Console) -> None:
    told.print(f"[bold]{result.title}[/]  ·  {where.seconds:.0f} s  ·  {_shown(page)}", soft_wrap=True, highlight=False)
    if not result.ratios:
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("ratio", "goal", "reached", ""):
        table.add_column(heading, overflow="fold")
    for ratio in result.ratios:
        bound = f"{'≤' if ratio.at_most else '≥'} {number_text(ratio.goal)}"
        verdict = {True: "[green]met[/]", False: "[yellow]not met[/]", None: "[red]not measured[/]"}[ratio.met]
        table.add_row(escape(ratio.claim), bound, number_text(ratio.value), verdict)
    told.print(table)


def _tell_failure(name: str, error: Exception, told: Console) -> None:
    if isinstance(error, MediamirrorError):
        told.print(f"[red]{name} failed:[/] {escape(str(error))}", soft_wrap=True, highlight=False)
    else:
        told.print(escape("".join(traceback.format_exception(error))), soft_wrap=True, highlight=False)


def _shown(path: Path) -> str:
    return os.path.relpath(path)


def _command() -> list[str]:
    return ["mediamirror-bench", *sys.argv[1:]]
