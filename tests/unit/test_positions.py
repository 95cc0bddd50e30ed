"""How far each partition has been applied."""

import asyncio
from typing import Any, cast

from service.mirror.positions import Positions
from service.mirror.store import Advance, Position


def test_a_partition_that_was_revoked_or_set_elsewhere_meanwhile_is_not_moved() -> None:
    nothing = cast("Any", None)
    positions = Positions(nothing, nothing, "topic", "cluster", asyncio.Event())
    positions.next = {0: Position(10), 1: Position(7), 3: Position(4, 1000)}
    moves = [
        Advance(0, Position(10), Position(15)),
        Advance(1, Position(3), Position(9)),
        Advance(2, Position(0), Position(4)),
        Advance(3, Position(4), Position(4, 1000)),  # of the same record, but behind it already
    ]
    positions.advance(moves)
    assert positions.next == {0: Position(15), 1: Position(7), 3: Position(4, 1000)}
    assert [positions.hold([move]) for move in moves] == [True, False, False, True]
