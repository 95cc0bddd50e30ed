"""Parameters as the SDK writes them."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from standin.errors import BadRequestError

_PAIR_END = re.compile(r"(?<!\\)\|")
_NAME_END = re.compile(r"(?<!\\)=")


def read_list(value: Any) -> list[str] | None:  # noqa: ANN401  # JSON
    """Read a list, or a text with commas; nothing if it is not given."""
    if value is None:
        return None
    parts = value if isinstance(value, list) else str(value).split(",")
    return [str(part).strip() for part in parts if str(part).strip()]


def read_pairs(value: Any) -> dict[str, Any] | None:  # noqa: ANN401  # JSON
    r"""Read `name=value|name=value`, where `\=` and `\|` are those letters, and lists are JSON; or an object."""
    if value is None or isinstance(value, dict):
        return value
    pairs = {}
    for pair in _PAIR_END.split(str(value)):
        if not pair:
            continue
        name, *rest = _NAME_END.split(pair, maxsplit=1)
        if not rest:
            raise BadRequestError(f"Invalid key-value pair: {pair}")
        pairs[_plain(name)] = _value(_plain(rest[0]))
    return pairs


def read_rules(value: Any) -> list[dict[str, Any]] | None:  # noqa: ANN401  # JSON
    """Read access control: a list of rules, or its JSON."""
    if value is None or isinstance(value, list):
        return value
    try:
        rules = orjson.loads(str(value) or "[]")
    except ValueError as error:
        raise BadRequestError("Invalid access_control") from error
    return rules if isinstance(rules, list) else [rules]


def read_flag(value: Any, *, default: bool = False) -> bool:  # noqa: ANN401  # JSON
    """Read a truth: the SDK writes 1, 0, true, false."""
    return default if value is None else value in (True, "true", "True", "1", 1)


def changes(params: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a call attaches to an asset, by the names of `Account.apply`; only what is given."""
    context = read_pairs(params.get("context"))
    given = {
        "tags": read_list(params.get("tags")),
        "context": None if context is None else {name: str(value) for name, value in context.items()},
        "metadata": read_pairs(params.get("metadata")),
        "access_control": read_rules(params.get("access_control")),
        "asset_folder": params.get("asset_folder"),
        "display_name": params.get("display_name"),
        "notification_url": params.get("notification_url"),
        "batch_id": params.get("batch_id"),
    }
    return {name: value for name, value in given.items() if value is not None}


def _plain(text: str) -> str:
    return text.replace("\\=", "=").replace("\\|", "|")


def _value(text: str) -> Any:  # noqa: ANN401  # JSON
    if text.startswith("["):
        try:
            return orjson.loads(text)
        except ValueError:
            return text
    return text
