"""Keeping the process small: what was freed goes back to the system.

Activations are smaller than the blocks that glibc asks the system for one by one, so they come from one heap, and what
is free in the middle of it stays with the process: after a learning step 0.8 GB of 1.9 (docs/LOG.md). Sampling then
takes other sizes, and the peaks of both add up: long runs were seen to hold 2.5 GB of heap.
"""

import ctypes
from contextlib import suppress


def trim() -> bool:
    """Give back what is free now, also in the middle of the heap; return whether there was anything.

    It takes milliseconds. Where the system has another C library than glibc nothing happens.
    """
    with suppress(OSError, AttributeError):
        return bool(ctypes.CDLL("libc.so.6").malloc_trim(0))
    return False
