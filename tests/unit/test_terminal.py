"""Nothing that others have written reaches a terminal as it is."""

import ast
import json
import os
import subprocess
import sys
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from service.printing import Lines, print_json, print_log_line, print_rows
from service.terminal import Unfailing, dump_json, printable, printable_json, say

ROOT = Path(__file__).parents[2]
# One of each kind: a title, a link, a new line, C1's CSI, an override, an isolate, a mark, what has no width, a tag, half a pair.
POISON = (
    "\x1b]0;owned\x07\x1b[2J\x1b]8;;http://evil\x1b\\\r\n\t\x00\x7f\x85\x9b31m\xad\u034f\u061c\u115f\u200b\u200d\u200e\u2028"
    "\u202e\u2060\u2066\u2069\u3164\ufeff\uffa0\ufffb\U000e0041\U0001d173"
)


def harmful(text: str) -> set[str]:
    """What a terminal must not get, but for the ends of lines."""
    return {one for one in text if unicodedata.category(one) in {"Cc", "Cf", "Cs", "Zl", "Zp"} or one in "\u115f\u3164\uffa0"} - {
        "\n"
    }


def test_every_harmful_character_of_unicode_becomes_an_escape_and_all_others_stay() -> None:
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        shown = printable(character)
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
            assert shown.startswith("\\"), hex(code)
            assert shown.isascii()
        elif unicodedata.category(character)[0] in "PSNZ" or character.isascii():
            assert shown == character, hex(code)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x9b\x7f", "\\x9b\\x7f"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\U000e0041", "\\U000e0041"),
        ("\ud800", "\\ud800"),
        ("Süß 写真 ❤️ ¡x! \\n", "Süß 写真 ❤️ ¡x! \\n"),
    ],
)
def test_an_escape_can_be_read(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_json_for_machines_is_harmless_and_says_the_same() -> None:
    value = {"name": POISON, POISON: ["x", {"deep": POISON}], "plain": "Süß 写真"}
    data = dump_json(value)
    assert json.loads(data) == value
    assert harmful(data.decode()) == set()
    assert "Süß 写真" in data.decode()
    assert printable_json('{"a":"\x9b"}\n'.encode()) == b'{"a":"\\u009b"}\n'


def test_half_a_surrogate_pair_is_no_reason_to_say_nothing() -> None:
    assert json.loads(dump_json({"name": ["\ud800x"]})) == {"name": ["\\ud800x"]}


def test_lines_tables_and_log_lines_are_harmless(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    line: dict[str, Any] = dict.fromkeys(("cloud", "notification_type", "public_id", "asset_id", "outcome"), POISON)
    line |= {"reason": None, "changed": [POISON], "applied_at": datetime(2026, 1, 1, tzinfo=UTC)}
    say(POISON, "second")
    print_log_line(line, as_json=False)
    print_log_line(line, as_json=True)
    print_rows([{"a": POISON, "b": [POISON], "c": Lines([POISON, "d"])}], ("a", "b", "c"), as_json=False)
    print_json({"a": POISON})
    out = capsysbinary.readouterr().out.decode()
    assert harmful(out) == set()
    assert out.splitlines()[0].startswith("\\x1b]0;owned\\x07")
    assert out.splitlines()[1] == "second"


LOGGING = """
import logging, structlog
from service.telemetry import configure_logging

POISON = {poison!r}
configure_logging("info", {form!r})
structlog.get_logger().info("said " + POISON, name=POISON, names=[POISON], about={{"k": POISON}}, half="\\ud800")
logging.getLogger("a library").error("said %s", POISON)
for log in (structlog.get_logger(), logging.getLogger("a library")):
    try:
        raise ValueError(POISON)
    except ValueError:
        log.exception("failed")
"""


@pytest.mark.parametrize("form", ["console", "json"])
def test_no_log_line_is_harmful_in_either_form(form: str) -> None:
    script = LOGGING.format(poison=POISON, form=form)
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stderr.decode()
    assert harmful(said) == set()
    assert said.count("ValueError") == 2
    if form == "json":
        lines = [json.loads(line) for line in said.splitlines()]
        assert (lines[0]["event"], lines[0]["name"]) == (f"said {POISON}", POISON)
    else:
        forged = [line for line in said.splitlines() if line.startswith(("\t", "\\"))]
        assert forged == []


def test_a_log_that_nobody_reads_any_more_ends_nothing(tmp_path: Path) -> None:
    script = """
import os, structlog
from service.telemetry import configure_logging
configure_logging("info", "json")
os.close(2)
structlog.get_logger().info("to nobody")
print("still here")
"""
    # what is held back is written at exit, and where nothing is held back there is nothing to fail
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, env=environment)
    assert told.stdout == b"still here\n"
    closed = (tmp_path / "log").open("w")
    closed.close()
    stream = Unfailing(closed)
    assert stream.write("x") == 1
    stream.flush()


def test_what_a_command_line_complains_of_is_harmless() -> None:
    poison = POISON.replace("\x00", "")
    program = [sys.executable, "-c", "from service.cli import main; main()"]
    for arguments in (
        [poison],
        ["assets", f"--{poison}"],
        ["log", "--outcome", poison],
        ["dlq", "show", poison],
        ["ops", poison],
    ):
        process = subprocess.run([*program, *arguments], capture_output=True, check=False)
        assert process.returncode in (1, 2)
        said = (process.stdout + process.stderr).decode()
        assert "owned" in said
        assert harmful(said) == set(), arguments


# The only rooms with a door to the terminal; all others go through them.
DOORS = {"service/terminal.py", "service/printing.py"}
# What asks a stream something, but writes nothing; who logs wraps it.
HARMLESS = {"isatty", "flush"}


def test_no_other_module_writes_to_a_terminal_itself() -> None:
    found = []
    for path in sorted((ROOT / "service").rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if name in DOORS:
            continue
        tree = ast.parse(path.read_text())
        asked = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in HARMLESS} | {
            id(one) for node in ast.walk(tree) if isinstance(node, ast.Call) and called(node) == "Unfailing" for one in node.args
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in {"stdout", "stderr"} and is_sys(node) and id(node) not in asked:
                found.append(f"{name}:{node.lineno} sys.{node.attr}")
            if isinstance(node, ast.Call) and called(node) in {"print", "Console", "echo", "secho"}:
                found.append(f"{name}:{node.lineno} {called(node)}")
    shown = [one for one in found if not one.endswith(" print") or not one.startswith(SHOWS_WHAT_IS_PRINTABLE)]
    assert shown == []


# They print rich's objects, made of what was made printable.
SHOWS_WHAT_IS_PRINTABLE = ("service/doctor/command.py", "service/screen.py")


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""


def is_sys(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "sys"
