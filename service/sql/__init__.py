"""All SQL: numbered migrations, and named queries.

A query file holds queries, each under a line `-- name: what_it_does` and a comment that says what it is for.
"""

import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
_HEADING = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def query(file: str, name: str) -> str:
    """Give the query `name` of `queries/<file>.sql`."""
    _, *parts = _HEADING.split((FOLDER / "queries" / f"{file}.sql").read_text())
    return dict(zip(parts[::2], parts[1::2], strict=True))[name].strip()
