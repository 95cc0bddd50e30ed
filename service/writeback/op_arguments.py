"""What the commands of `mediamirror op` are told, read."""

from collections.abc import Sequence

import orjson

from service.errors import MediamirrorError

BIGINT_MAX = 2**63 - 1  # PostgreSQL's


class UnusableArgumentError(MediamirrorError):
    """{argument} can't be used: {reason}."""

    exit_code = 2


def filled(argument: str, value: str) -> str:
    """Give a text; raises `UnusableArgumentError` if it is empty."""
    if not value.strip():
        raise UnusableArgumentError(argument=argument, reason="it is empty")
    return value


def pairs_of(texts: Sequence[str]) -> dict[str, str]:
    """Read KEY=VALUE; raises `UnusableArgumentError`."""
    pairs: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (equals and key):
            raise UnusableArgumentError(argument=f"'{text}'", reason="write KEY=VALUE")
        pairs[key] = value
    return pairs


def list_or_text(value: str) -> object:
    """Read a JSON list; anything else is text."""
    try:
        read = orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
    return read if isinstance(read, list) else value


def access_control_of(text: str) -> list[object]:
    """Read Cloudinary's access_control: a list of rules. Raises `UnusableArgumentError`."""
    if text == "public":
        return []
    if text == "token":
        return [{"access_type": "token"}]
    try:
        rules = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UnusableArgumentError(argument="ACCESS", reason=f"it is neither public, token nor JSON ({error})") from None
    rules = rules if isinstance(rules, list) else [rules]
    if not all(isinstance(rule, dict) and "access_type" in rule for rule in rules):
        raise UnusableArgumentError(argument="ACCESS", reason='each rule is an object with "access_type"')
    return rules
