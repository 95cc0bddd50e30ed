"""Results as Markdown: a file for each benchmark, and a summary of all that are beside it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import orjson

from bench.machine import Circumstances
from bench.result import Cell, Ratio, Result

_LARGE: Final = 1000
_MANY_DIGITS: Final = 100


def write(result: Result, where: Circumstances, folder: Path) -> Path:
    """Write a benchmark's Markdown and JSON into `folder`, in place of an earlier run's, and the summary; gives the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{result.name}.md"
    page.write_text(markdown(result, where))
    kept = {"result": asdict(result), "circumstances": asdict(where)}
    (folder / f"{result.name}.json").write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2) + b"\n")
    (folder / "README.md").write_text(summary(_kept(folder)))
    return page


def _kept(folder: Path) -> list[dict[str, Any]]:
    return [orjson.loads(file.read_bytes()) for file in sorted(folder.glob("*.json"))]


def markdown(result: Result, where: Circumstances) -> str:
    """Give a benchmark's page."""
    parts = [f"# {result.title}", result.about, _ratio_table((result.name, ratio) for ratio in result.ratios)]
    if result.plots:
        parts.append(f"![{result.title}]({result.name}.png)")
    parts += [f"## {table.title}\n\n{_table(table.columns, table.rows)}" for table in result.tables]
    if result.notes:
        parts.append("## Notes\n\n" + "\n".join(f"* {note}" for note in result.notes))
    parts.append("## Where and when\n\n" + _circumstances(where))
    return "\n\n".join(part for part in parts if part) + "\n"


def summary(kept: Sequence[dict[str, Any]]) -> str:
    """Give the page with the ratios of all benchmarks, from what their JSON files hold."""
    ratios = [(one["result"]["name"], Ratio(**ratio)) for one in kept for ratio in one["result"]["ratios"]]
    told = [ratio for _, ratio in ratios]
    met = sum(ratio.met is True for ratio in told)
    links = "\n".join(f"* [{one['result']['title']}]({one['result']['name']}.md){_warning(one)}" for one in kept)
    places = sorted({Circumstances(**one["circumstances"]).machine for one in kept})
    runs = "\n".join(_run_line(one) for one in kept)
    return (
        "# Speed, as ratios\n\n"
        "Machines differ by a factor of two from day to day: only ratios within one run count. "
        f"{met} of {len(told)} goals are met.\n\n"
        f"{_ratio_table(ratios, named=True)}\n\n{links}\n\n## Where and when\n\n"
        f"{chr(10).join(f'* {place}' for place in places)}\n\n{runs}\n"
    )


def _warning(one: dict[str, Any]) -> str:
    return " (a quick run: no figures to quote)" if one["circumstances"]["quick"] else ""


def _run_line(one: dict[str, Any]) -> str:
    where = Circumstances(**one["circumstances"])
    return f"* {one['result']['name']}: {where.date}, commit {where.commit}, `{where.command}`"


def _circumstances(where: Circumstances) -> str:
    rows: list[list[Cell]] = [
        ["date", where.date],
        ["machine", where.machine],
        ["versions", ", ".join(f"{name} {version}" for name, version in where.versions.items())],
        ["commit", where.commit],
        ["command", f"`{where.command}`"],
        ["took", f"{where.seconds:.0f} s"],
    ]
    warning = "\n\nA quick run, to try the benchmark out: no figures to quote." if where.quick else ""
    return _table(["", ""], rows) + warning


def _ratio_table(ratios: Iterable[tuple[str, Ratio]], *, named: bool = False) -> str:
    rows: list[list[Cell]] = [
        [
            *([f"[{name}]({name}.md)"] if named else []),
            ratio.claim,
            f"{'≤' if ratio.at_most else '≥'} {number_text(ratio.goal)}",
            number_text(ratio.value),
            {True: "met", False: "**not met**", None: "**not measured**"}[ratio.met],
            ratio.note,
        ]
        for name, ratio in ratios
    ]
    columns = [*(["benchmark"] if named else []), "ratio", "goal", "reached", "", "note"]
    return _table(columns, rows) if rows else ""


def _table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [
        all(isinstance(row[index], int | float | None) for row in rows if index < len(row)) for index in range(len(columns))
    ]
    lines = [
        _row(columns),
        "|" + "|".join("---:" if right else "---" for right in numeric) + "|",
        *(_row([text for text, _ in zip_longest(row, columns, fillvalue="")]) for row in cells),
    ]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Cell) -> str:
    if isinstance(value, str):
        return value.replace("|", "\\|").replace("\n", " ")
    return number_text(value)


def number_text(value: float | None) -> str:
    """Give a number with as many digits as mean something: three or four."""
    if value is None:
        return "–"
    if isinstance(value, int) or abs(value) >= _LARGE:
        return f"{value:,.0f}"
    if abs(value) >= _MANY_DIGITS:
        return f"{value:.0f}"
    return f"{value:.3g}"
