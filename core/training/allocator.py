"""Freed memory is kept for the next tensor instead of being handed back to the system and asked for again.

glibc gives every block above 128 kB to 32 MB (it adapts) a mapping of its own, and unmaps it when it is freed; a
network on a CPU frees and takes blocks of this size all the time, and each time the system clears the pages anew. With
higher thresholds a layer of MossFormer2 takes 8 to 14 % less time (`python -m benchmarks audio`, floor).
"""

__all__ = ["keep_freed_memory"]

import ctypes
import sys

# From malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST = 2**30


def keep_freed_memory() -> bool:
    """Raises glibc's thresholds for this process; False where there is no glibc, or where it refuses."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    # The smaller of both is the largest threshold that older versions accept.
    mapped = any(mallopt(MMAP_THRESHOLD, size) for size in (LARGEST, 2**25))
    return bool(mapped and mallopt(TRIM_THRESHOLD, LARGEST))
