"""What a benchmark has found: tables for people, ratios for claims, plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

Cell: TypeAlias = str | int | float | None


@dataclass(frozen=True)
class Table:
    """Figures, a row each; a cell without one is None."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Ratio:
    """A claim in one number, and what it should be: `goal` at least, or at most. `value` is None if it was not measured.

    If that is for want of a peer, claim or note names it as `--without` does: who left it out has no failed run.
    """

    claim: str
    value: float | None
    goal: float
    at_most: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None when nobody can tell."""
        if self.value is None:
            return None
        return self.value <= self.goal if self.at_most else self.value >= self.goal


@dataclass(frozen=True)
class Bars:
    """A plot of one figure for several contestants.

    Who a bar is about decides its colour: what begins with "mediamirror" is ours, with "limit" or "floor" a limit; the rest are
    peers.
    """

    title: str
    unit: str
    bars: Sequence[tuple[str, float]]


@dataclass(frozen=True)
class Lines:
    """A plot of figures over x, a line for each contestant, coloured as bars are. `log`: both axes are logarithmic."""

    title: str
    x: str
    y: str
    log: bool
    lines: Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Result:
    """All that a benchmark has to say."""

    name: str  # of its module and its files
    title: str
    about: str  # what was measured and how, in a paragraph or two of Markdown
    tables: Sequence[Table]
    ratios: Sequence[Ratio]
    plots: Sequence[Bars | Lines]
    notes: Sequence[str] = field(default=())
