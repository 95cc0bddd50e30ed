"""Python's garbage collector, as a process wants it that serves for months."""

import gc

# Objects made and not yet freed before the youngest are looked at. What is on its way holds many, none of them garbage.
_YOUNGEST = 200_000


def settle() -> None:
    """Leave out of all later collections what importing has made: it stays, and to walk it stops the process for 50 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNGEST, *gc.get_threshold()[1:])
