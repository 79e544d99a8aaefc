"""Keep the memory of a process that runs for years flat."""

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
    """Have glibc map every picture by itself and give it back when it is freed; False where there is no glibc.

    Left alone it raises the size from which it maps to that of the largest picture it saw. Pictures then lie in the
    heaps of as many threads as there are, between small things that stay, and resident memory wanders upwards.
    Call it before threads begin.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    kept = [mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM_BYTES), mallopt(_M_ARENA_MAX, _ARENAS)]
    if not all(kept):
        _log.debug("the heap is left as it is: mallopt answered %s", kept)
    return all(kept)
