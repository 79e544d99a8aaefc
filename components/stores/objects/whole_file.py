"""A file on this machine's disk that is whole or not there, whenever its writer ends."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o600
"""The mode of what only its owner may read."""


def write_whole(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Replace a file at once; of two who write it at once the later one's stays. mode: as far as the umask lets it.

    Raises:
        OSError: it could not be written; what was there is there still.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
