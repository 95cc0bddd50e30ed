"""Memory that is not needed any more, as a process wants it that serves for months."""

import ctypes
import gc

# Objects made and not yet freed before the youngest are looked at. What is on its way holds many, none of them garbage.
_YOUNGEST = 200_000

# Blocks of this size and more are mapped each by itself, and go back to the system when they are freed.
_LARGE = 64 * 1024
_M_MMAP_THRESHOLD = -3

# glibc's alone
_option = getattr(ctypes.CDLL(None), "mallopt", None)
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


def settle() -> None:
    """Leave out of all later collections what importing has made: it stays, and to walk it stops the process for 50 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNGEST, *gc.get_threshold()[1:])


def keep_large_apart() -> None:
    """Let large blocks that come and go leave no holes between those that stay: by itself, glibc soon maps but the largest."""
    if _option is not None:
        _option(_M_MMAP_THRESHOLD, _LARGE)


def give_back() -> None:
    """Give the system the pages that nothing lies on any more; glibc keeps them by itself for what may come."""
    if _trim is not None:
        _trim(0)
