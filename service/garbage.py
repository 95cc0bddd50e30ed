"""Memory that is not needed any more, as a process wants it that serves for months."""

import ctypes
import gc

# Objects made and not yet freed before the youngest are looked at. What is on its way holds many, none of them garbage.
_YOUNGEST = 200_000

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone


def settle() -> None:
    """Leave out of all later collections what importing has made: it stays, and to walk it stops the process for 50 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNGEST, *gc.get_threshold()[1:])


def give_back() -> None:
    """Give the system the pages that nothing lies on any more; glibc keeps them by itself for what may come."""
    if _trim is not None:
        _trim(0)
