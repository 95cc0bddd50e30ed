"""How else an account may say the same: in shapes that nobody has documented, and beside values that are hard to hold."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

Fields: TypeAlias = Mapping[str, Any]


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


# What stands beside it is about the call, so that it shows nowhere.
BESIDE: Sequence[Any] = (_nested(300), _nested(1500), 2**70, 10**400, "\ud83d", ["\0", 2**64, _nested(500)])


def beside(fields: Fields, number: int) -> Fields:
    """Beside a value that is hard to hold."""
    return {**fields, "request_id": BESIDE[number % len(BESIDE)]}


def tags_as_text(fields: Fields, _number: int) -> Fields:
    """Tags as Cloudinary's API takes them."""
    return {**fields, "tags": ",".join(fields["tags"])} if fields.get("tags") else fields


def with_nulls(fields: Fields, _number: int) -> Fields:
    """Nulls among the elements."""
    return {name: [None, *value, None] if _is_told_of(name, value) else value for name, value in fields.items()}


def _is_told_of(name: str, value: object) -> bool:
    return name in ("resources", "tags", "eager", "moderation") and type(value) is list


def at_the_top(fields: Fields, _number: int) -> Fields:
    """The only resource at the top, not in a list."""
    if type(fields.get("resources")) is not list or len(fields["resources"]) != 1:
        return fields
    return {**{name: value for name, value in fields.items() if name != "resources"}, **fields["resources"][0]}


def version_as_in_urls(fields: Fields, _number: int) -> Fields:
    """The version with a v before it."""
    return {**fields, "version": f"v{fields['version']}"} if "version" in fields else fields


def as_usual(fields: Fields, _number: int) -> Fields:
    """As documented."""
    return fields


WAYS: Sequence[Callable[[Fields, int], Fields]] = (
    as_usual, as_usual, as_usual, as_usual, beside, tags_as_text, with_nulls, at_the_top, version_as_in_urls,
)  # fmt: skip
