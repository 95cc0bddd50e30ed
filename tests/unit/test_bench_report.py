from pathlib import Path

import pytest

from bench.cli import unmeasured
from bench.machine import Circumstances
from bench.report import number_text, write
from bench.result import Ratio, Result, Table

_WHERE = Circumstances("2026-11-21 10:00", "two cores", {"Python": "3"}, "abc + changes", "mediamirror-bench", 1.0, quick=False)


def result(name: str, *ratios: Ratio) -> Result:
    table = Table("Rates", ["", "a second"], [["mediamirror", 12345.6], ["a peer | not run: no node", None]])
    return Result(name, name.title(), "About it.", [table], ratios, [])


@pytest.mark.parametrize(
    ("ratio", "met"),
    [
        (Ratio("at least", 0.9, 0.85), True),
        (Ratio("at least", 0.8, 0.85), False),
        (Ratio("at most", 0.2, 0.25, at_most=True), True),
        (Ratio("at most", 0.3, 0.25, at_most=True), False),
        (Ratio("unknown", None, 1), None),
    ],
)
def test_a_goal_is_met_or_not_or_nobody_knows(ratio: Ratio, met: bool | None) -> None:
    assert ratio.met is met


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.123456, "0.123"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346"), (7, "7"), (0, "0")],
)
def test_numbers_have_the_digits_that_mean_something(value: float | None, text: str) -> None:
    assert number_text(value) == text


def test_a_page_has_tables_ratios_and_where_it_ran(tmp_path: Path) -> None:
    page = write(result("apply", Ratio("beside the limit", 0.5, 0.6)), _WHERE, tmp_path).read_text()
    assert "| mediamirror | 12,346 |" in page
    assert "| a peer \\| not run: no node | – |" in page
    assert "| beside the limit | ≥ 0.6 | 0.5 | **not met** |" in page
    assert "abc + changes" in page


def test_the_summary_tells_the_ratios_of_all_that_ran_and_the_last_of_each(tmp_path: Path) -> None:
    write(result("apply", Ratio("first try", 0.5, 0.6)), _WHERE, tmp_path)
    write(result("ingest", Ratio("kept", None, 0.85, note="no node")), _WHERE, tmp_path)
    write(result("apply", Ratio("second try", 0.7, 0.6)), _WHERE, tmp_path)
    summary = (tmp_path / "README.md").read_text()
    assert "first try" not in summary
    assert "| [apply](apply.md) | second try | ≥ 0.6 | 0.7 | met |" in summary
    assert "| [ingest](ingest.md) | kept | ≥ 0.85 | – | **not measured** | no node |" in summary
    assert "1 of 2 goals are met" in summary


def test_only_a_peer_that_was_left_out_may_be_unmeasured() -> None:
    ratios = [Ratio("rate beside Debezium", None, 1), Ratio("rate beside stripe-sync-engine", None, 2), Ratio("memory", 1, 1)]
    assert unmeasured(ratios, []) == ["rate beside Debezium", "rate beside stripe-sync-engine"]
    assert unmeasured(ratios, ["debezium"]) == ["rate beside stripe-sync-engine"]
    assert unmeasured(ratios, ["debezium", "stripe"]) == []
