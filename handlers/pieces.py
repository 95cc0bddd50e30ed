"""What a notification says, in pieces of bounded size, and within a piece of each asset once.

Whatever one notification says of one asset has one clock, so nothing of it is newer than the rest, and it can be joined before it
is merged: the row comes out the same, with one revision, one event and one line in the sync log. Merged one by one, a thousand
new tags of one asset would be a thousand events, each with all the tags before it.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple, TypeAlias

from schemas.asset import AssetName
from schemas.change import Change
from schemas.folder import FolderEvent, Statement

_MOST = 1_000  # statements, once joined
_HEAVIEST = 4 * 1024**2  # bytes of what they say, roughly
_LONGEST_REASON = 1_000  # characters

# What two changes must have in common to be one, which is all but what they say.
_JOINED = frozenset({"asset_id", "name", "wholes", "parts", "refetch", "note"})
_COMMON = tuple(place for place, field in enumerate(Change._fields) if field not in _JOINED)
_Subject: TypeAlias = "tuple[object, ...] | FolderEvent"


class Piece(NamedTuple):
    """Some of a notification's statements."""

    place: int  # how many come before them
    statements: list[Statement]
    ends: bool  # whether none come after them


def joined(statements: Iterable[Statement]) -> list[Statement]:
    """Give the statements of a notification, of each asset one."""
    said = _Said()
    for statement in statements:
        said.add(statement)
    return said.statements()


def in_pieces(statements: Iterable[Statement], *, most: int = _MOST, heaviest: int = _HEAVIEST) -> Iterator[Piece]:
    """Give the statements of a notification in pieces, always cut in the same places; one at least, which may be empty.

    What `statements` raises is raised when what came before it has been given.
    """
    place, weight, said = 0, 0, _Said()
    try:
        for statement in statements:
            if weight >= heaviest or (len(said) >= most and said.is_new(statement)):
                yield (piece := Piece(place, said.statements(), ends=False))
                place, weight, said = place + len(piece.statements), 0, _Said()
            said.add(statement)
            weight += _weight(statement)
    except Exception:
        if len(said):
            yield Piece(place, said.statements(), ends=False)
        raise
    yield Piece(place, said.statements(), ends=True)


class _Said:
    """Statements, in the order in which their assets were first spoken of."""

    def __init__(self) -> None:
        self._by_subject: dict[_Subject, Statement | _Joint] = {}

    def __len__(self) -> int:
        return len(self._by_subject)

    def is_new(self, statement: Statement) -> bool:
        return _subject_of(statement) not in self._by_subject

    def add(self, statement: Statement) -> None:
        subject = _subject_of(statement)
        before = self._by_subject.setdefault(subject, statement)
        if before is statement or isinstance(before, FolderEvent) or isinstance(statement, FolderEvent):
            return
        if isinstance(before, Change):
            before = self._by_subject[subject] = _Joint(before)
        before.add(statement)

    def statements(self) -> list[Statement]:
        return [one.change() if isinstance(one, _Joint) else one for one in self._by_subject.values()]


class _Joint:
    """Changes of one asset, all as of one clock, that become one.

    As `handlers.merge` has it: of what is said twice the first counts, and a group that is told as a whole needs no parts.
    """

    def __init__(self, first: Change) -> None:
        self._first = first
        self._name = first.name
        self._wholes = dict(first.wholes)
        self._parts = {group: dict(told) for group, told in first.parts.items()}
        self._questions = _Reasons(first.refetch)
        self._notes = _Reasons(first.note)

    def add(self, change: Change) -> None:
        for group, whole in change.wholes.items():
            self._wholes.setdefault(group, whole)
        for group, told in change.parts.items():
            if group in self._wholes:
                continue
            known = self._parts.setdefault(group, {})
            for name, value in told.items():
                known.setdefault(name, value)
        self._questions.add(change.refetch)
        self._notes.add(change.note)
        if self._name is None:
            self._name = change.name
        elif change.name not in (None, self._name):
            self._questions.add("one notification calls it by several names")

    def change(self) -> Change:
        return self._first._replace(
            name=self._name, wholes=self._wholes, parts=self._parts, refetch=self._questions.text(), note=self._notes.text()
        )


class _Reasons:
    """Reasons, each once, and not without end."""

    def __init__(self, first: str | None) -> None:
        self._told = {first: None} if first else {}
        self._length = len(first or "")

    def add(self, reason: str | None) -> None:
        if reason and reason not in self._told and self._length < _LONGEST_REASON:
            self._told[reason] = None
            self._length += len(reason)

    def text(self) -> str | None:
        return "; ".join(self._told) or None


def _subject_of(statement: Statement) -> _Subject:
    """Give what is equal for statements that can be joined."""
    if isinstance(statement, FolderEvent):
        return statement
    asset: str | AssetName | None = statement.name if statement.asset_id is None else statement.asset_id
    return asset, *(statement[place] for place in _COMMON)


def _weight(statement: Statement) -> int:
    """Give about how many bytes a statement says."""
    if isinstance(statement, FolderEvent):
        return len(statement.path)
    told: Iterable[Mapping[str, object]] = chain(statement.wholes.values(), statement.parts.values())
    return sum(len(name) + _length(value) for values in told for name, value in values.items())


def _length(value: object) -> int:
    return len(value) if isinstance(value, (str, list, dict)) else 1
