"""Bodies that tell of something that did not happen, or not yet."""

import re

from schemas.json import JSON, JSONObject

_LONGEST = 200  # characters of what an error says
# What such words may be is not documented.
_NOT_DONE = re.compile(
    r"err|fail|abort|cancel|denied|refused|reject|forbid|unauthori|invalid|conflict|exists|not.?found|unsuccess|time.?out|timed.?out"
    r"|pending|progress|queue|processing|waiting|scheduled|started|incomplete|not.?(done|moved|ready)"
)
_TELLING = frozenset({"error", "status", "result", "success"})
_LOWEST_FAILURE = 300  # of HTTP's status codes


def failure_of(body: JSONObject) -> str | None:
    """Say what a body tells of an error, or of work that isn't done; None when it tells of neither."""
    if _TELLING.isdisjoint(body):
        return None
    if error := body.get("error"):
        return f"it tells of an error{_said(error)}"
    for name in ("status", "result"):
        said = body.get(name)
        if _is_not_done(said):
            return f"its {name} is {str(said)[:_LONGEST]}"
    return "it was no success" if body.get("success") is False else None


def _is_not_done(said: JSON) -> bool:
    if isinstance(said, str):
        return _NOT_DONE.search(said[:_LONGEST].lower()) is not None or (said.isdecimal() and float(said) >= _LOWEST_FAILURE)
    return said is False or (isinstance(said, (int, float)) and said >= _LOWEST_FAILURE)


def _said(error: JSON) -> str:
    message = error.get("message") if isinstance(error, dict) else error
    return f": {message[:_LONGEST]}" if isinstance(message, str) and message else ""
