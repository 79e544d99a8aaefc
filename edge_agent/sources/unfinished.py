"""Whether a file is still being written though its size is final: some programs create it full of zeros and fill it."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path
from typing import Final

from inspection import ImageError, image_format
from inspection.image_headers import is_truncated

_TAIL_BYTES: Final = 4096


def why_unfinished(path: Path, data: bytes) -> str:
    """What says that a file is not complete; empty where nothing does.

    A jpeg or a png tells its end, and what follows the end is only room that was reserved. Other formats do not: half a
    BMP is a picture that is half black. There the file system is asked for parts that were never written, and a file
    that ends in zeros is taken for one that is not complete.

    Args:
        data: the bytes of the file.
    """
    if not data:
        return ""
    try:
        kind = image_format(data)
        if kind in ("jpeg", "png") and not is_truncated(kind, data):
            return ""
    except (ImageError, struct.error, IndexError):
        pass  # the header may not be written yet
    try:
        with path.open("rb") as file:
            hole = os.lseek(file.fileno(), 0, os.SEEK_HOLE)
    except OSError as e:
        if e.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENXIO, errno.ENOENT):
            raise
        hole = len(data)
    if hole < len(data):
        return f"nothing was written yet from byte {hole} of {len(data)} on"
    tail = max(1, min(_TAIL_BYTES, len(data) // 16))
    return f"its last {tail} bytes are zeros" if not any(data[-tail:]) else ""
