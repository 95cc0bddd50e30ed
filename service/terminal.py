"""What reaches a terminal: text that others have written, made harmless.

Names, tags, folders, reasons come from outside. Raw, their control characters move the cursor, forge lines or links, and turn the
direction of writing. Every command prints through here or through `service/printing.py`, which does; a test holds it so.
"""

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, TextIO

import orjson
from rich.console import Console

_WIDE = 200

# Controls (C0, DEL, C1), what is invisible or turns the direction of writing (Unicode's format characters and those that it calls
# ignorable, without the variation selectors, which only choose a picture), separators of lines, and halves of surrogate pairs.
_HARMFUL = (
    "\x00-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\U000110bd\U000110cd"
    "\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
)
_ANY = re.compile(f"[{_HARMFUL}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    r"""Give text for one line of a terminal: each harmful character as an escape that can be read, \\x1b or \\u202e."""
    return _ANY.sub(_escaped, text)


def printable_json(data: bytes) -> bytes:
    r"""Give JSON that says the same, with each harmful character in its strings as an escape: \\u009b."""
    if data.isascii() and b"\x7f" not in data:
        return data  # JSON escapes the others itself
    body = data.rstrip(b"\n")
    return _ANY.sub(_escaped_in_json, body.decode()).encode() + data[len(body) :]


def dump_json(value: object, default: Callable[[Any], object] | None = None) -> bytes:
    """Give a value as JSON for a terminal or a log. A half of a surrogate pair, which has no place in it, becomes an escape."""
    try:
        return printable_json(orjson.dumps(value, default))
    except TypeError as error:
        if "surrogates" not in str(error):
            raise
        return printable_json(orjson.dumps(_without_surrogates(value), default))


def printable_traceback(error: BaseException) -> str:
    """Give a traceback in which what an error says is on one line, so that it can't pass for another."""
    return "".join(map(_harmless_part, traceback.format_exception(error)))


def say(*lines: str) -> None:
    """Print lines of text on standard output."""
    sys.stdout.write("".join(f"{printable(line)}\n" for line in lines))


def write_bytes(data: bytes) -> None:
    """Write what was asked for byte for byte: nothing is made of it, and a terminal is the wrong place for it."""
    sys.stdout.buffer.write(data)


def complain(line: str) -> None:
    """Print a line of text on standard error, at once."""
    sys.stderr.write(f"{printable(line)}\n")
    sys.stderr.flush()


def console(*, stderr: bool = False) -> Console:
    """Give a console on standard output; wide where nobody looks, so that nothing is cut off in a pipe.

    What is printed there must be `printable` before: rich lets escape sequences through.
    """
    return Console(width=None if stderr or sys.stdout.isatty() else _WIDE, stderr=stderr)


def nobody_listens() -> None:
    """Let what is still written to standard output vanish: whoever read along has gone, and that is no error of ours."""
    _to_nobody(sys.stdout)


@contextmanager
def heard_or_not() -> Iterator[None]:
    """Print something that is not worth an error when standard output is gone."""
    try:
        yield
        sys.stdout.flush()
    except (OSError, ValueError):
        nobody_listens()


def prepare() -> None:
    """Let no character that a terminal lacks, nor a bug, print anything but harmless text."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.excepthook = _excepthook


class Unfailing:
    """A stream that takes what it is told whether or not anybody is there to read: a log must not end what it tells of."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str | bytes) -> int:
        """Write, if that can be done."""
        try:
            if isinstance(text, bytes):
                self._stream.buffer.write(text)
            else:
                self._stream.write(text)
        except (OSError, ValueError):  # gone, or closed
            _to_nobody(self._stream)
        return len(text)

    def flush(self) -> None:
        """Flush, if that can be done."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            _to_nobody(self._stream)


def _to_nobody(stream: TextIO) -> None:
    """Let what is still held for a stream vanish; else Python would try to write it at exit, and end with 120 when that fails."""
    with suppress(OSError, ValueError):  # it may be closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    return _SHORT.get(character) or character.encode("unicode-escape").decode()


def _escaped_in_json(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _without_surrogates(value: object) -> object:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_without_surrogates(name): _without_surrogates(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(one) for one in value]
    return value


def _harmless_part(part: str) -> str:
    if part.lstrip(" |").startswith("File "):  # a frame, and its line of our own code
        return "\n".join(map(printable, part.split("\n")))
    said = part.strip("\n")
    before, _, after = part.partition(said)
    return f"{before}{printable(said)}{after}"


def _excepthook(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    sys.stderr.write(printable_traceback(error))
