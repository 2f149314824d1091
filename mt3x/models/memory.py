"""How this process takes memory from the system: settings of glibc's malloc.

A compiled program on a CPU takes its intermediates from malloc. Call these functions
before JAX computes; elsewhere than on Linux with glibc they do nothing.
"""

import ctypes
import sys

# Of malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -2, -3, -4, -8
_AT_ONCE = 2**26


def reuse_memory() -> None:
    """Let the process use again what it has freed, except for its largest arrays.

    By default arrays of some megabytes go back to the system at once, and each thread
    that computes has a heap of its own.
    """
    _set(_ARENA_MAX, 1)
    _set(_TRIM_THRESHOLD, 2**31 - 1)
    # The highest there is; larger arrays would leave gaps in the heap.
    _set(_MMAP_THRESHOLD, 2**25)


def keep_memory() -> None:
    """Let the process keep all that it has freed: faster, but the heap gets gaps.

    Mapping memory again and again takes a quarter of a training step.
    """
    reuse_memory()
    _set(_MMAP_MAX, 0)
    _set(_TOP_PAD, _AT_ONCE)


def _set(parameter: int, value: int) -> None:
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(parameter, value)
