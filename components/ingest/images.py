"""Import images that no device sent. Running it again changes nothing; an interrupted run continues."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from components.ingest.journal import Done, Journal
from components.stores.objects.s3 import AccessDenied, ObjectNotFound
from components.stores.raw_images.image_source import (
    MAX_FILE_BYTES,
    ImageSource,
    SourceFile,
    in_parallel,
    is_named_as_text,
    part_of,
)
from components.stores.raw_images.images import RawImages, capture_id_for
from components.stores.raw_images.renditions import rendition_key
from components.stores.raw_images.set_aside import SetAside, by_reason
from components.stores.raw_images.sources import import_device
from inspection.documents import Capture, Reason
from inspection.image import ImageError, sha256_of
from inspection.paths import check_name

_log = logging.getLogger(__name__)

_TIFF: Final = (".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Imported:
    """The result for the files of a source. images: sha256 -> the name in the source."""

    images: Mapping[str, str]
    files: int
    new: int
    set_aside: tuple[SetAside, ...] = field(default=())

    @property
    def reasons(self) -> Counter[str]:
        """How many files were set aside for which reason."""
        return by_reason(self.set_aside)


@dataclass(frozen=True, slots=True)
class _Put:
    name: str
    sha256: str
    new: bool


def import_images(
    raw: RawImages,
    source: ImageSource,
    journal: Journal,
    *,
    name: str,
    site: str,
    parts: Mapping[str, str],
    reason: Reason = Reason.IMPORT,
    on_file: Callable[[], None] = lambda: None,
    use_case: str | None = None,
) -> Imported:
    """Put images and Captures into the raw bucket, as device `import-<name>` and with the file's own date.

    Args:
        raw: the raw bucket.
        source: the files.
        journal: what an earlier run did, or None.
        name: of this import.
        site: where the images come from.
        parts: path below the source (with or without a leading `images/`), or file name -> part.
        reason: of the Captures.
        on_file: called after each file.
        use_case: the one that the images are for, if they are for one alone; see `raw_images/sources.py`.

    Raises:
        ObjectStoreError: the raw bucket does not answer. What was imported so far stays; run it again.
        ValueError: the site is not a valid name.
    """
    check_name("site", site)
    device = import_device(name, use_case)

    def one(file: SourceFile) -> _Put | SetAside | None:
        try:
            return _import_one(raw, source, journal, file, device, site, part_of(file.name, parts), reason)
        finally:
            on_file()

    images: dict[str, str] = {}
    aside: list[SetAside] = []
    files = new = 0
    for result in in_parallel(one, source.files()):
        if result is None:
            continue
        files += 1
        if isinstance(result, SetAside):
            _log.warning("set aside %s: %s", result.image, result.message)
            aside.append(result)
            continue
        images[result.sha256] = result.name
        new += result.new
    return Imported(images, files, new, tuple(aside))


def _import_one(
    raw: RawImages,
    source: ImageSource,
    journal: Journal,
    file: SourceFile,
    device: str,
    site: str,
    part: str | None,
    reason: Reason,
) -> _Put | SetAside | None:
    """Import one file. None for a text file, which is neither imported nor counted."""
    stamp = f"{file.stamp}|{device}|{site}|{part}|{reason}" if file.stamp else ""
    done = journal.find(file.name, stamp)
    # An earlier version stored no rendition of a TIFF.
    wanted = rendition_key(done.sha256) if done is not None and file.name.lower().endswith(_TIFF) else None
    if done is not None and raw.has(done.capture_key) and (wanted is None or raw.has(wanted)):
        return _Put(file.name, done.sha256, new=False)
    if file.size > MAX_FILE_BYTES:
        return SetAside(file.name, "too-large", f"expected at most {MAX_FILE_BYTES} bytes, got {file.size}")
    try:
        data = source.read(file)
    except (OSError, ObjectNotFound, AccessDenied) as e:  # of one file; a store that does not answer ends the run
        return SetAside(file.name, "unreadable", str(e))
    sha256 = sha256_of(data)
    capture = Capture(
        # a part that is named later makes another Capture, because a Capture never changes
        capture_id=capture_id_for(sha256, f"{reason}|{part}" if part else reason, file.modified),
        sha256=sha256,
        device=device,
        camera="import",
        captured_at=file.modified,
        reason=reason,
        part_id=part,
        original_name=file.name,
    )
    try:
        stored = raw.put(data, capture, site=site)
    except ImageError as e:
        if e.reason in ("not-an-image", "empty") and is_named_as_text(file.name):
            return None
        return SetAside(file.name, e.reason, str(e))
    journal.add(Done(file.name, stamp, sha256, stored.capture_key))
    return _Put(file.name, sha256, stored.new)
