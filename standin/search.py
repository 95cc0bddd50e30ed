"""Search: expressions, sorting, pages. Of the language only what a mirror has a use for: conditions joined by AND, and NOT."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from standin.asset import Asset
from standin.errors import BadRequestError
from standin.ledger import Ledger
from standin.listing import MOST

_TOKEN = re.compile(r"""\s*(?:(AND|NOT)\b|(-?)([a-z_.]+)\s*(>=|<=|:|=|>|<)\s*("(?:[^"\\]|\\.)*"|[^\s()"]+))""")
_AGE = re.compile(r"(\d+)(h|d|w|m|y)\Z")
_UNITS = {"h": 3600, "d": 86400, "w": 7 * 86400, "m": 30 * 86400, "y": 365 * 86400}
_TIMES = frozenset({"uploaded_at", "created_at"})
_COLUMNS = {
    "asset_id": "asset_id",
    "public_id": "public_id",
    "resource_type": "resource_type",
    "type": "type",
    "asset_folder": "asset_folder",
    "folder": "asset_folder",
    "created_at": "created_at",
    "uploaded_at": "uploaded_at",
    "display_name": "data ->> '$.display_name'",
    "format": "data ->> '$.content.format'",
    "bytes": "data ->> '$.content.bytes'",
    "width": "data ->> '$.content.width'",
    "height": "data ->> '$.content.height'",
    "version": "data ->> '$.content.version'",
}
_NUMBERS = frozenset({"bytes", "width", "height", "version"})
_EXTRAS = frozenset({"tags", "context", "metadata", "moderation"})


class Condition(NamedTuple):
    """One condition as SQL, and its values."""

    sql: str
    values: tuple[str | int, ...]


class Search(Ledger):
    """What `POST /resources/search` does."""

    def search(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """Give a page of what the expression finds: newest first unless sorted. Raises `BadRequestError`.

        What was deleted is not found. (Cloudinary's index lags a few seconds; this one doesn't.)
        """
        conditions = parse(str(query.get("expression") or ""), self.options.clock())
        where = " AND ".join(["alive", *(condition.sql for condition in conditions)])
        values = [value for condition in conditions for value in condition.values]
        (total,) = self.store.connection.execute(f"SELECT count(*) FROM assets WHERE {where}", values).fetchone()  # noqa: S608
        column, way = _order(query.get("sort_by") or [])
        if query.get("next_cursor"):
            where += f" AND ({column}, seq) {'>' if way == 'ASC' else '<'} (?, ?)"
            values += [value for value in self._place(str(query["next_cursor"])) if isinstance(value, str | int)]
        size = min(max(int(query.get("max_results") or 50), 1), MOST)
        rows = self.store.connection.execute(
            f"SELECT *, {column} AS place FROM assets WHERE {where} ORDER BY {column} {way}, seq {way} LIMIT ?",  # noqa: S608
            (*values, size + 1),
        ).fetchall()
        fields = frozenset(query.get("fields") or ())
        extras = _EXTRAS & frozenset(query.get("with_field") or ())
        found = [self._found(Asset.from_row(row), fields, extras) for row in rows[:size]]
        answer: dict[str, Any] = {"total_count": total, "time": 1, "resources": found}
        if len(rows) > size:
            answer["next_cursor"] = self._cursor(rows[size - 1]["place"], rows[size - 1]["seq"])
        return answer

    def _found(self, asset: Asset, fields: frozenset[str], extras: frozenset[str]) -> dict[str, Any]:
        more = {"status": "active", "filename": asset.public_id.rpartition("/")[2]}
        described = asset.read(self.cloud, self.options.dialect) | more
        if fields:
            return asset.identity | {name: value for name, value in described.items() if name in fields}
        return {name: value for name, value in described.items() if name not in _EXTRAS or name in extras}


def parse(expression: str, now: float) -> list[Condition]:
    """Read an expression; `now`, in seconds since 1970, is what ages are counted from. Raises `BadRequestError`."""
    conditions: list[Condition] = []
    at, expected, negated = 0, True, False
    expression = expression.strip()
    while at < len(expression):
        token = _TOKEN.match(expression, at)
        if token is None or (token[1] == "AND") == expected or (not expected and token[1] != "AND"):
            raise BadRequestError(f"Invalid search expression, at position {at}: {expression}")
        at = token.end()
        if token[1] == "NOT":
            negated = not negated
            continue
        expected = token[1] == "AND"
        if not expected:
            condition = _condition(token[3], token[4], _unquoted(token[5]), now)
            is_negated = negated != bool(token[2])
            conditions.append(condition._replace(sql=f"NOT ({condition.sql})") if is_negated else condition)
            negated = False
    if (conditions and expected) or negated:
        raise BadRequestError(f"Invalid search expression, it breaks off: {expression}")
    return conditions


def _condition(name: str, operator: str, value: str, now: float) -> Condition:
    if name == "tags":
        return Condition("seq IN (SELECT seq FROM asset_tags WHERE tag = ?)", (value,))
    if name.startswith(("context.", "metadata.")):
        group, _, key = name.partition(".")
        return Condition("EXISTS (SELECT 1 FROM json_each(data, '$.' || ?) WHERE key = ? AND value = ?)", (group, key, value))
    column = _COLUMNS.get(name)
    if column is None:
        raise BadRequestError(f"Invalid search expression: there is no field {name}")
    if value.endswith("*") and operator == ":":
        return Condition(f"({column} >= ? AND {column} < ? || char(1114111))", (value[:-1], value[:-1]))
    read: Callable[[str], str | int] = str
    if name in _TIMES:
        read = lambda text: _moment(text, now)  # noqa: E731
    elif name in _NUMBERS:
        read = int
    try:
        return Condition(f"{column} {'=' if operator == ':' else operator} ?", (read(value),))
    except ValueError as error:
        raise BadRequestError(f"Invalid search expression: {value} is no value of {name}") from error


def _moment(text: str, now: float) -> int:
    if age := _AGE.match(text):
        return int(now) - int(age[1]) * _UNITS[age[2]]
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _order(sort_by: Sequence[Mapping[str, str]]) -> tuple[str, str]:
    """Give the column and the way of the first field; seq decides the rest."""
    name, way = next(iter((sort_by[0] if sort_by else {"created_at": "desc"}).items()))
    if name not in _COLUMNS or way not in ("asc", "desc"):
        raise BadRequestError(f"Invalid sort_by: {name} {way}")
    return _COLUMNS[name], way.upper()
