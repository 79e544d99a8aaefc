"""State files that a power cut or a worn flash has damaged: set aside, counted, and never in the way of inspection."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

from edge_agent.disk import Disk, RealDisk
from inspection.codec import Document, DocumentError

_log = logging.getLogger(__name__)

DocumentT = TypeVar("DocumentT", bound=Document)
FOLDER: Final = "damaged"
"""The folder inside the state folder."""
_KEPT: Final = 3
_NAME: Final = re.compile(r"(\d{4,})\.(\d{8}T\d{6}Z)\.([a-z-]+)\.(.+)")


class DamagedFiles:
    """The folder of damaged state files: `<number>.<time>.<reason>.<name>`. The newest ones are kept, all are counted.

    Args:
        now: the time of day, for people; order and count follow the numbers.
    """

    def __init__(
        self, folder: Path, disk: Disk | None = None, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._folder = folder
        self._disk = disk or RealDisk()
        self._now = now

    def count(self) -> int:
        """How many files were ever set aside."""
        return max((int(match[1]) for match in self._found()), default=0)

    def names(self) -> tuple[str, ...]:
        """The files that are kept, oldest first."""
        return tuple(sorted(match[0] for match in self._found()))

    def newest(self, name: str) -> Path | None:
        """The file of this name that was set aside last."""
        found = [match for match in self._found() if match[4] == name]
        return self._folder / max(found, key=lambda match: int(match[1]))[0] if found else None

    def keep_copy(self, data: bytes, name: str, reason: str) -> Path:
        """Write the bytes of a damaged file beside the others; the file itself is replaced by whoever owns it.

        Raises:
            OSError: the disk cannot be written.
        """
        last = self.newest(name)
        if last is not None and last.read_bytes() == data:
            return last  # a crash came between this copy and the new file
        path = self._next(reason, name)
        self._disk.write(path, data)
        self._forget_old()
        return path

    def move(self, path: Path, reason: str, *, with_it: tuple[str, ...] = ()) -> Path:
        """Move a damaged file here, with the files beside it whose names have one of these endings in addition.

        Raises:
            OSError: the disk cannot be written.
        """
        target = self._next(reason, path.name)
        for ending in ("", *with_it):
            source = path.with_name(path.name + ending)
            if source.exists():
                self._disk.move(source, target.with_name(target.name + ending))
        self._forget_old()
        return target

    def read(self, path: Path, kind: type[DocumentT]) -> DocumentT | None:
        """The document in a state file; None where there is none, or a damaged one, which is set aside.

        A file that cannot be set aside either is said in the log: whoever owns it replaces it with the next one.
        """
        data: bytes | None = None
        try:
            data = path.read_bytes()
            return kind.from_json(data)
        except FileNotFoundError:
            return None
        except (DocumentError, OSError) as e:
            _log.error("%s: %s", path, e)
        try:
            self.move(path, "unreadable" if data is None else "wrong-form" if data else "empty")
        except OSError as e:
            _log.error("cannot set %s aside: %s", path, e)
        return None

    def _next(self, reason: str, name: str) -> Path:
        self._disk.make_folder(self._folder)
        stamp = self._now().strftime("%Y%m%dT%H%M%SZ")
        target = self._folder / f"{self.count() + 1:04d}.{stamp}.{reason}.{name}"
        _log.error("%s is damaged (%s); it is set aside as %s, and a new one begins", name, reason, target)
        return target

    def _found(self) -> list[re.Match[str]]:
        try:
            names = [path.name for path in self._folder.iterdir()]
        except OSError:
            return []
        return [match for name in names if (match := _NAME.fullmatch(name))]

    def _forget_old(self) -> None:
        last = self.count() - _KEPT
        for match in self._found():
            if int(match[1]) <= last:
                self._disk.remove(self._folder / match[0])
