"""A camera whose frames are image files that another program writes into a folder."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from edge_agent.camera_config import FolderCamera
from edge_agent.disk import Disk, RealDisk, shortened
from edge_agent.errors import EdgeError, SourceError
from edge_agent.result import Result
from edge_agent.sources.kept_files import NOTE, KeptFiles
from edge_agent.sources.metadata import MAX_JSON_BYTES, MetadataError, checked_text, read_metadata
from edge_agent.sources.port import Frame, readable_name
from edge_agent.sources.resting import RestingFiles, Seen
from edge_agent.sources.unfinished import why_unfinished

_log = logging.getLogger(__name__)

REJECTED_FOLDER: Final = "rejected"
MAX_FILE_BYTES: Final = 256_000_000
UNFINISHED: Final = "unfinished"
_NOT_FRAMES: Final = (".json", ".tmp", ".part", ".partial", ".crdownload")
_LOOKED_AT: Final = 10_000
"""How many files and folders a start looks at to find such a folder."""
_MAX_NAME_BYTES: Final = 240
"""Of a name in `done` or `rejected`; the file systems of devices take 255."""
_TRY_AGAIN_S: Final = 5.0
_LAST_NS: Final = 253_402_214_400 * 10**9
"""The last day that `datetime` can tell: a camera without a clock may write any time."""


class FolderSource:
    """`FrameSource` over a folder: every complete file in it, in the order of names.

    A file is complete when its size and time have not changed for `poll_interval_s`. A program that moves finished
    files into the folder is safe. For other programs, a file that does not decode is tried again until it has not
    changed for `settle_s`. A file that was created at its full size and is filled later, or that never rests, is waited
    for until `unfinished_s`, and then set aside. Names that begin with a dot and names with an unfinished ending (.tmp,
    .part) are ignored. A file `a.jpg.json` beside `a.jpg`, with `{"part_id": "…"}` and written first, names the part.
    In the mode `latest` only the newest complete file is a frame; the others are put away without inspection, and
    counted.

    Args:
        done_folder: where processed files go.
        clock: the time of day, in seconds since 1970, to compare with times of files.
        max_file_bytes: larger files are set aside without being read.
        retry_s: after which a file that could not be put away is tried again.
        forgot: called with the number of files that were removed from `rejected/` to keep to its limits.
    """

    def __init__(
        self,
        camera: FolderCamera,
        done_folder: Path,
        *,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.time,
        max_file_bytes: int = MAX_FILE_BYTES,
        forgot: Callable[[int], None] = lambda _: None,
        retry_s: float = _TRY_AGAIN_S,
    ) -> None:
        self.name = camera.name
        self._max_file_bytes = min(max_file_bytes, MAX_FILE_BYTES)
        self._folder = camera.path
        self._poll_interval_s = camera.poll_interval_s
        self._settle_s = camera.settle_s
        self._unfinished_s = camera.unfinished_s
        self._may_end_black = camera.may_end_black
        self._keep = camera.processed_keep if camera.processed == "move" else 0
        self._done_folder = done_folder
        self._latest = camera.mode == "latest"
        self._skipped = 0
        self._disk = disk or RealDisk()
        self._files = RestingFiles(camera.poll_interval_s, camera.unfinished_s, clock)
        self._ready: deque[tuple[str, Seen]] = deque()
        self._unable: dict[str, Seen] = {}
        """Files that could not be put away. They wait, and the first of them is tried again from time to time."""
        self._try_again_at = 0.0
        self._retry_s = retry_s
        self._make_done_folder()
        self._done = KeptFiles(
            done_folder, max_files=self._keep, max_bytes=camera.processed_max_bytes, disk=self._disk, by_name=True
        )
        self._rejected = KeptFiles(
            camera.path / REJECTED_FOLDER, max_files=camera.rejected_keep, max_bytes=camera.rejected_max_bytes,
            disk=self._disk, by_name=False, removed=forgot,
        )  # fmt: skip
        if remark := subfolders_remark(self._folder):
            _log.warning("camera %s: %s", self.name, remark)

    def next(self, timeout_s: float) -> Frame | None:
        """See `FrameSource.next`."""
        deadline = time.monotonic() + timeout_s
        while True:
            while self._ready:
                frame = self._read_or_say_why(*self._ready.popleft())
                if frame is not None:
                    return frame
            self._look()
            if self._ready:
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(left, self._poll_interval_s / 4))

    def done(self, frame: Frame, result: Result | None) -> None:
        """See `FrameSource.done`."""
        self._put_away(frame.name, frame.captured_at)

    def _make_done_folder(self) -> None:
        try:
            self._disk.make_folder(self._done_folder)
        except OSError as e:  # it is made with the first file that goes there
            _log.error("cannot make %s: %s", self._done_folder, e.strerror)

    def _put_away(self, name: str, captured_at: datetime) -> None:
        path = self._folder / name
        moved = False
        try:
            if self._keep and not self._done_folder.exists():
                self._disk.make_folder(self._done_folder)
            # The sidecar goes first: left behind by a kill, it would name the part of the next file of this name.
            self._remove_sidecar(path)
            if self._keep == 0:
                self._disk.remove(path)
            else:
                stamp = captured_at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
                self._disk.move(path, self._done_folder / _kept_name(f"{stamp}-{name}"))
                moved = True
        except OSError as e:
            if path.exists():  # otherwise another program has removed it, which serves the same purpose
                self._wait_with(name)
                raise SourceError(
                    f"cannot put {path} away: {e.strerror}; the agent must be able to move files there"
                ) from e
        if moved:
            self._done.add(self._files.size(name))
        self._went_away(name)

    def _wait_with(self, name: str) -> None:
        """Keep a file out of the way of the others until it can be put away."""
        seen = self._files.seen(name)
        if seen is not None:
            self._unable[name] = seen
        self._try_again_at = time.monotonic() + self._retry_s

    def _went_away(self, name: str) -> None:
        self._files.forget(name)
        if self._unable.pop(name, None) is not None:
            self._unable.clear()  # what could not be put away can be now

    def _waits(self, name: str, seen: Seen) -> bool:
        if self._unable.get(name) != seen:
            return False
        return time.monotonic() < self._try_again_at or name != next(iter(self._unable))

    def reject(self, frame: Frame, reason: str, message: str) -> bool:
        """See `FrameSource.reject`. The file moves to `rejected/`, with its reason in `<name>.reason.txt` beside it."""
        path = self._folder / frame.name
        age = self._files.age_s(frame.name, int(frame.source_key.split("|")[-2]))
        if age < self._settle_s and reason != UNFINISHED:  # that one has been waited for
            self._files.look_again(frame.name, self._settle_s - age)
            return False
        try:
            folder = self._folder / REJECTED_FOLDER
            self._disk.make_folder(folder)
            target = folder / shortened(frame.name, _MAX_NAME_BYTES - len(NOTE))
            attempt = 1
            while target.exists() and not target.samefile(path):
                attempt += 1
                target = folder / shortened(f"{attempt}-{frame.name}", _MAX_NAME_BYTES - len(NOTE))
            text = f"{reason}: {message}\n".encode("utf-8", "backslashreplace")
            self._disk.write(target.with_name(f"{target.name}{NOTE}"), text, mode=0o644)
            self._remove_sidecar(path)
            self._disk.move(path, target)
        except FileNotFoundError:
            return True  # another program has removed it, which serves the same purpose
        except OSError as e:
            self._wait_with(frame.name)
            raise SourceError(f"cannot set {path} aside: {e.strerror}") from e
        self._rejected.add(len(text) + self._files.size(frame.name))
        self._went_away(frame.name)
        return True

    def give_back(self, frame: Frame) -> None:
        """See `FrameSource.give_back`. The file is still there; the next scan of the folder finds it in its place."""
        self._ready.clear()

    def holds(self, source_key: str) -> bool:
        """See `FrameSource.holds`."""
        try:
            return any(seen.key(name) == source_key for name, seen in self._scan().items())
        except OSError:
            return True  # the folder cannot be read now, so the frame may still be there

    def take_skipped(self) -> int:
        """See `FrameSource.take_skipped`."""
        skipped, self._skipped = self._skipped, 0
        return skipped

    def close(self) -> None:
        """See `FrameSource.close`. A folder needs no release."""

    def _look(self) -> None:
        try:
            now = self._scan()
        except OSError as e:
            raise SourceError(f"cannot read the camera's folder {self._folder}: {e.strerror}") from e
        self._unable = {name: seen for name, seen in self._unable.items() if now.get(name) == seen}
        complete = [(name, seen) for name, seen in self._files.see(now) if not self._waits(name, seen)]
        if self._latest and (newest := self._newest(complete)) is not None:
            for name, seen in complete:
                if name != newest[0]:
                    with suppress(SourceError):  # it waits, and is tried again
                        self._put_away(name, _time(seen))
                        self._skipped += 1
            complete = [newest]
        self._ready.extend(sorted(complete, key=lambda item: (item[0], item[1].mtime_ns)))

    def _newest(self, complete: list[tuple[str, Seen]]) -> tuple[str, Seen] | None:
        """The newest file that is complete, also by its content; what is newer and is not keeps waiting."""
        for name, seen in sorted(complete, key=lambda item: (item[1].mtime_ns, item[0]), reverse=True):
            try:
                if seen.size > self._max_file_bytes or not self._waits_for_content(
                    name, seen, (self._folder / name).read_bytes()
                ):
                    return name, seen
            except OSError:
                return name, seen  # it is read again, and the error is told then
            complete.remove((name, seen))
        return None

    def _waits_for_content(self, name: str, seen: Seen, data: bytes) -> bool:
        """Whether a file that rests is waited for longer, because its content is not complete."""
        if self._may_end_black or self._files.age_s(name, seen.mtime_ns) >= self._unfinished_s:
            return False
        if not why_unfinished(self._folder / name, data):
            return False
        self._files.look_again(name)
        return True

    def _scan(self) -> dict[str, Seen]:
        found: dict[str, Seen] = {}
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower().endswith(_NOT_FRAMES):
                    continue
                try:
                    if entry.is_file():
                        status = entry.stat()
                        found[entry.name] = Seen(status.st_size, status.st_mtime_ns)
                except FileNotFoundError:
                    continue  # removed between the two calls
        return found

    def _read_or_say_why(self, name: str, seen: Seen) -> Frame | None:
        try:
            return self._read(name, seen)
        except EdgeError:
            raise
        except Exception as e:  # one file that nobody foresaw must not hide all the others
            _log.exception("cannot read %s", readable_name(name))
            return Frame(seen.key(name), name, b"", _time(seen), None, ("unexpected", f"{type(e).__name__}: {e}"))

    def _read(self, name: str, seen: Seen) -> Frame | None:
        path = self._folder / name
        problem, data = None, b""
        try:
            if seen.size > self._max_file_bytes:
                problem = ("too-large", f"expected at most {self._max_file_bytes} bytes, but got {seen.size}")
            else:
                data = path.read_bytes()
            status = path.stat()
        except FileNotFoundError:
            return None
        except OSError as e:
            raise SourceError(f"cannot read {path}: {e.strerror}") from e
        never_rests = self._files.never_rests(name)
        changed = Seen(status.st_size, status.st_mtime_ns) != seen or (problem is None and len(data) != seen.size)
        if changed and not never_rests:
            return None  # it is still being written; the next scan tries again
        if never_rests:
            problem, data = (UNFINISHED, f"it was still changing after {self._unfinished_s:g} s"), b""
        elif problem is None:
            if self._waits_for_content(name, seen, data):
                return None
            if not self._may_end_black and (why := why_unfinished(path, data)):
                problem, data = (UNFINISHED, f"{why}, {self._unfinished_s:g} s after the last change"), b""
        return Frame(seen.key(name), name, data, _time(seen), self._part_id(path), problem)

    def _part_id(self, path: Path) -> str | None:
        sidecar = _sidecar(path)
        try:
            if not sidecar.is_file():  # a pipe would wait for its writer
                return None
            with sidecar.open("rb") as file:
                data = file.read(MAX_JSON_BYTES + 1)
            return checked_text(read_metadata(data).get("part_id"), "part_id")
        except FileNotFoundError:
            return None
        except (OSError, MetadataError) as e:
            if isinstance(e, OSError) and e.errno == errno.ENAMETOOLONG:
                return None  # beside a file with so long a name no sidecar can lie
            _log.warning("ignored %s: %s", readable_name(sidecar.name), e)
            return None

    def _remove_sidecar(self, path: Path) -> None:
        sidecar = _sidecar(path)
        try:
            there = sidecar.is_file()
        except OSError:  # a name that is too long for a sidecar has none
            return
        if there:
            self._disk.remove(sidecar)


def subfolders_remark(folder: Path) -> str:
    """What to say where a camera writes into folders below its folder, which are not looked into; else empty.

    Some cameras make a folder for each day or hour. The first file found is named, so that somebody can see it.
    """
    looked_at = 0
    for below, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != REJECTED_FOLDER)
        looked_at += 1 + len(files)
        if Path(below) != folder:
            found = next((name for name in sorted(files) if not name.lower().endswith(_NOT_FRAMES)), None)
            if found is not None:
                where = readable_name(str(Path(below, found)))
                return (
                    f"{where} lies in a folder below {folder}, and is not inspected: only files in the folder itself "
                    "are frames; have the camera write there, or move its files there when they are complete"
                )
        if looked_at > _LOOKED_AT:
            break
    return ""


def _time(seen: Seen) -> datetime:
    return datetime.fromtimestamp(min(max(seen.mtime_ns, 0), _LAST_NS) / 1e9, UTC)


def _kept_name(name: str) -> str:
    """A name for `done`. Long names that differ in their ends only, as counters do, stay apart."""
    if len(os.fsencode(name)) <= _MAX_NAME_BYTES:
        return name
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
    short = shortened(name, _MAX_NAME_BYTES - len(digest) - 1)
    stem, dot, ending = short.rpartition(".")
    return f"{stem}~{digest}{dot}{ending}" if dot and name.endswith(f".{ending}") else f"{short}~{digest}"


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
