"""How this process asks the system for memory."""

import ctypes
import sys

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_AT_ONCE = 2**26


def keep_memory() -> None:
    """Keep memory that was freed, on Linux with glibc; call it before JAX computes.

    A compiled program on a CPU takes its intermediates from malloc, which would map
    them from the system and give them back in each run: a quarter of a training step.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TOP_PAD, _AT_ONCE)
    mallopt(_M_TRIM_THRESHOLD, -1)  # never
