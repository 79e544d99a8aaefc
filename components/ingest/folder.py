"""Ingest a folder of images. Running it again changes nothing."""

from __future__ import annotations

import csv
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from components.raw_images import RawImages, capture_id_for
from inspection.documents import Capture, Reason
from inspection.image import ImageError, sha256_of

_log = logging.getLogger(__name__)

MAX_FILE_BYTES: Final = 200_000_000
_WORKERS: Final = 8
_NOT_IMAGES: Final = frozenset({".csv", ".json", ".md", ".txt", ".yaml", ".yml"})


class IngestError(ValueError):
    """A folder that cannot be ingested at all."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """A file that did not go in. reason: a fixed word for counting."""

    path: Path
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of a folder. images: sha256 -> file."""

    images: Mapping[str, Path]
    new: int
    set_aside: tuple[SetAside, ...] = field(default=())

    @property
    def reasons(self) -> Counter[str]:
        """How many files were set aside for which reason."""
        return Counter(item.reason for item in self.set_aside)


def image_files(folder: Path) -> list[Path]:
    """The files that may be images, in order; hidden files and plain text are passed over.

    Raises:
        IngestError: no such folder.
    """
    if not folder.is_dir():
        raise IngestError(f"expected a folder of images, but {folder} is not a folder")
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.suffix.lower() not in _NOT_IMAGES
        and path.name != "LICENSE"
    )


def read_parts(file: Path) -> dict[str, str]:
    """`parts.csv` (columns image, part): image path -> physical part.

    Raises:
        IngestError: it cannot be read, or the columns are not there.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:  # spreadsheets put a byte order mark first
            reader = csv.DictReader(stream)
            if not {"image", "part"} <= set(reader.fieldnames or ()):
                raise IngestError(f"expected the columns image and part in {file}, but got {reader.fieldnames}")
            return {row["image"]: row["part"] for row in reader}
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise IngestError(f"cannot read {file}: expected CSV in UTF-8, but {e}") from e


def ingest(
    raw: RawImages,
    folder: Path,
    files: Iterable[Path],
    *,
    name: str,
    site: str,
    parts: Mapping[str, str],
    reason: Reason = Reason.IMPORT,
    on_file: Callable[[], None] = lambda: None,
) -> Ingested:
    """Put images and Captures into the raw bucket, as device `import-<name>` and with the file's own date.

    Args:
        parts: path below `folder` (with or without a leading `images/`), or file name -> part.
    """
    device = f"import-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-') or 'folder'}"[:63]

    def one(path: Path) -> tuple[Path, str, bool] | SetAside:
        try:
            size = path.stat().st_size
            if size > MAX_FILE_BYTES:
                return SetAside(path, "too-large", f"expected at most {MAX_FILE_BYTES} bytes, got {size}")
            data = path.read_bytes()
            captured_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except OSError as e:
            return SetAside(path, "unreadable", str(e))
        sha256 = sha256_of(data)
        relative = path.relative_to(folder).as_posix()
        capture = Capture(
            capture_id=capture_id_for(sha256, reason, captured_at),
            sha256=sha256,
            device=device,
            camera="import",
            captured_at=captured_at,
            reason=reason,
            part_id=parts.get(relative) or parts.get(relative.removeprefix("images/")) or parts.get(path.name),
            original_name=relative,
        )
        try:
            stored = raw.put(data, capture, site=site)
        except ImageError as e:
            return SetAside(path, e.reason, str(e))
        finally:
            on_file()
        return path, sha256, stored.new

    with ThreadPoolExecutor(_WORKERS) as pool:
        results = list(pool.map(one, files))
    aside = tuple(item for item in results if isinstance(item, SetAside))
    done = [item for item in results if not isinstance(item, SetAside)]
    for item in aside:
        _log.warning("set aside %s: %s", item.path, item.message)
    return Ingested({sha256: path for path, sha256, _ in done}, sum(new for _, _, new in done), aside)
