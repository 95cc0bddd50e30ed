"""How far each partition has been applied."""

import asyncio
from typing import Any, cast

from service.mirror.positions import Positions
from service.mirror.store import Advance


def test_a_partition_that_was_revoked_or_set_elsewhere_meanwhile_is_not_moved() -> None:
    nothing = cast("Any", None)
    positions = Positions(nothing, nothing, "topic", "cluster", asyncio.Event())
    positions.next = {0: 10, 1: 7}
    positions.advance([Advance(0, 10, 15), Advance(1, 3, 9), Advance(2, 0, 4)])
    assert positions.next == {0: 15, 1: 7}
