"""Which content an asset has: the only groups of which an older state may come back.

A statement about content speaks of one version, as of an epoch (`content_clock_of`). The newest one decides which version there
is; all others of that version complete it, back to the last that spoke of another version. What was said before that is of no
use: an older version that comes back may have been changed, and is told anew.

So it is a register like the others, in which any order leaves the same, and two histories of one asset, each folded, unite.
"""

from collections.abc import Mapping
from typing import NamedTuple

from schemas.clock import NEVER, Clock, version_of

Values = Mapping[str, object]
_NO_CLOCKS: Mapping[str, Clock] = {}


class Told(NamedTuple):
    """What is known of one group of the content."""

    newest: Clock  # of all statements about the content
    whole: Clock  # nothing is left of what was said before
    values: Values
    own: Mapping[str, Clock] = _NO_CLOCKS  # of the elements that were told of later than `whole`


def told_whole(values: Values, clock: Clock) -> Told:
    """Give what a statement of a whole group tells."""
    return Told(clock, clock, values)


def told_in_part(values: Values, clock: Clock) -> Told:
    """Give what a statement of some elements tells."""
    return Told(clock, NEVER, values, dict.fromkeys(values, clock))


def united(one: Told, other: Told) -> Told:
    """Give what is known after both."""
    newest = max(one.newest, other.newest)
    version = version_of(newest)
    current = [told for told in (one, other) if version_of(told.newest) == version]
    others = [told.newest for told in (one, other) if version_of(told.newest) != version]
    whole = max(one.whole, other.whole, *others)
    values: dict[str, object] = {}
    own: dict[str, Clock] = {}
    for told in current:
        if told.whole == whole:
            values |= {name: value for name, value in told.values.items() if name not in told.own}
    for told in current:
        for name, clock in told.own.items():
            if clock > max(whole, own.get(name, NEVER)):
                own[name] = clock
                values[name] = told.values.get(name)
    return Told(newest, whole, values, own)
