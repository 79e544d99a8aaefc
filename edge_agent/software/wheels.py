"""Unpacks a wheel: the files of a zip archive, as the wheel format says (PyPA: binary distribution format).

The archive was verified by its digest before. Nothing in it is executed. Scripts and headers are left out: the agent is
started as a module.
"""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

from edge_agent.disk import Disk
from edge_agent.errors import UpdateError

_PIECE_BYTES: Final = 1_000_000
MAX_UNPACKED_BYTES: Final = 2_000_000_000


def unpack(wheel: Path, folder: Path, disk: Disk, min_free_bytes: int = 0) -> None:
    """Unpack a wheel into a folder that is empty; all of it is durable when this returns.

    Raises:
        UpdateError: `bad-wheel`: it is no wheel, or a name in it leads out of the folder. `disk-full`, transient: less
            than `min_free_bytes` would stay free.
        OSError: the disk cannot be written.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [(info, place) for info in archive.infolist() if (place := _place(info)) is not None]
            size = sum(info.file_size for info, _ in members)
            if size > MAX_UNPACKED_BYTES:
                raise UpdateError("bad-wheel", f"{wheel.name} unpacks to more than {MAX_UNPACKED_BYTES:,} bytes")
            free = disk.free_bytes(folder)
            if free - size < min_free_bytes:
                message = (
                    f"{wheel.name} unpacks to {size:,} bytes, {free:,} are free, {min_free_bytes:,} must stay free"
                )
                raise UpdateError("disk-full", f"{message}; free some disk", transient=True)
            made = {folder}
            for info, place in members:
                target = folder / place
                for parent in reversed(target.relative_to(folder).parents):
                    if folder / parent not in made:
                        disk.make_folder(folder / parent)
                        made.add(folder / parent)
                disk.append(target, b"")
                with archive.open(info) as content:
                    while piece := content.read(_PIECE_BYTES):
                        disk.append(target, piece)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as e:
        raise UpdateError("bad-wheel", f"{wheel.name} is no wheel: {e}") from e
    disk.sync_tree(folder)


def _place(info: zipfile.ZipInfo) -> PurePosixPath | None:
    """Where a member of the archive goes; None where it is left out."""
    name = PurePosixPath(info.filename)
    mode = info.external_attr >> 16
    if info.is_dir():
        return None
    if name.is_absolute() or ".." in name.parts or "\\" in info.filename or not name.parts or stat.S_ISLNK(mode):
        raise UpdateError("bad-wheel", f"a name in it leads out of its folder: {info.filename[:80]!r}")
    if not name.parts[0].endswith(".data"):
        return name
    # `<name>-<version>.data/<scheme>/…`: the two schemes of packages go beside the others.
    return PurePosixPath(*name.parts[2:]) if name.parts[1] in ("purelib", "platlib") and len(name.parts) > 2 else None
