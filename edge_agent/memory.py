"""Keeps the memory of a process that runs for years from growing."""

from __future__ import annotations

import ctypes
import logging
from typing import Final

_log = logging.getLogger(__name__)

# <malloc.h> of glibc.
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_MAPPED_FROM_BYTES: Final = 128 * 1024
_ARENAS: Final = 2


def keep_heap_flat() -> bool:
    """Have glibc place every image in a memory mapping of its own, which is returned when the image is freed.

    By default glibc raises the size from which it maps to that of the largest image so far. Images then lie in the
    heaps of all threads, between small objects that stay, and resident memory grows. Call this before threads start.

    Returns:
        False where there is no glibc, or it refuses.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    kept = [mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM_BYTES), mallopt(_M_ARENA_MAX, _ARENAS)]
    if not all(kept):
        _log.debug("the heap keeps its defaults: mallopt answered %s", kept)
    return all(kept)
