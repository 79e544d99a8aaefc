"""Keeps the memory of a process that runs for years from growing, and knows how much of it is free."""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
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


def resident_bytes(pid: int) -> int | None:
    """The memory that a process really uses; None where there is no such process, or no `/proc`."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def free_memory_bytes(root: Path = Path("/")) -> int | None:
    """How much memory this process and its children may still take: of the machine, and of their control groups.

    Args:
        root: below which `proc` and `sys` lie.
    """
    found = []
    with suppress(OSError, ValueError, IndexError, StopIteration):
        lines = (root / "proc/meminfo").read_text().splitlines()
        found.append(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")))
    with suppress(OSError, ValueError, IndexError, StopIteration):
        lines = (root / "proc/self/cgroup").read_text().splitlines()
        group = next(line.split("::", 1)[1].lstrip("/") for line in lines if line.startswith("0::"))
        base = root / "sys/fs/cgroup"
        folder = base / group
        while True:  # each group above has a limit of its own
            with suppress(OSError, ValueError):
                most = (folder / "memory.max").read_text().strip()
                if most != "max":
                    found.append(max(0, int(most) - int((folder / "memory.current").read_text()) + _cache(folder)))
            if folder == base or base not in folder.parents:
                break
            folder = folder.parent
    return min(found, default=None)


def _cache(folder: Path) -> int:
    """The file cache of a control group that the kernel drops before memory runs out, in bytes."""
    lines = (folder / "memory.stat").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)


class TooMuchMemory(Exception):
    """A child process uses more memory than it may. The message is a sentence."""


def share_of(free: int | None) -> int | None:
    """What a trial may use of the memory that is free at its start: nine tenths, in bytes; None where nobody knows."""
    return None if free is None else free * 9 // 10


def within_memory(limit: int | None, resident: Callable[[int], int | None] = resident_bytes) -> Callable[[int], None]:
    """Make a look at a child process, by its id, that raises TooMuchMemory where it really uses more than `limit`.

    onnxruntime and BLAS reserve far more addresses than they use, so RLIMIT_AS would end good children, and a control
    group of its own needs rights that a container does not have. Where memory runs out between two looks, the kernel
    ends the child first, which asks for that itself (`end_first_without_memory`).

    Args:
        limit: in bytes; None for no limit.
        resident: the memory that a process uses, in bytes; None where the system does not say.
    """

    def look(pid: int) -> None:
        used = resident(pid)
        if limit is not None and used is not None and used > limit:
            raise TooMuchMemory(f"its trial used {used // 2**20} MiB, over the limit of {limit // 2**20} MiB")

    return look


def end_first_without_memory() -> None:
    """Ask the kernel to end this process before others where memory runs out. Any process may ask that of itself."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
