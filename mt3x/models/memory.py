"""How this process takes memory from the system: settings of glibc's malloc.

A compiled program on a CPU takes its intermediates from malloc. Call these functions
before JAX computes; elsewhere than on Linux with glibc they do nothing.
"""

import ctypes
import sys

# Of malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_AT_ONCE = 2**26


def share_heap() -> None:
    """Let all threads take memory from one heap.

    By default each thread that computes has a heap of its own, and memory that one of
    them freed does not serve the others.
    """
    _set(_ARENA_MAX, 1)
    # Giving the heap's end back would gain nothing. Any setting also stops glibc from
    # raising the size from which on arrays lie outside of the heap, without gaps.
    _set(_TRIM_THRESHOLD, 2**31 - 1)


def keep_memory() -> None:
    """Keep all memory that was freed: faster where the same program runs again.

    Mapping it again takes a quarter of a training step; gaps in the heap take memory.
    """
    share_heap()
    _set(_MMAP_MAX, 0)
    _set(_TOP_PAD, _AT_ONCE)


def _set(parameter: int, value: int) -> None:
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(parameter, value)
