"""What the C library does with memory that a process frees."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
LARGEST = 2**31 - 1  # bytes, the largest value that it takes


def keep_freed_memory() -> None:
    """From now on this process keeps the memory of freed tensors for the next ones, instead of giving it back to the system.

    glibc maps blocks of 32 MiB and more anew each time, and the system clears every page of them: on a CPU that takes a
    quarter of a training step where the maps of a batch are so large, as at 96 pixels. With another C library nothing changes.
    """
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # musl has no mallopt
            library = ctypes.CDLL(None)
            library.mallopt(MMAP_THRESHOLD, LARGEST)
            library.mallopt(TRIM_THRESHOLD, LARGEST)
