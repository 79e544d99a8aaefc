"""Ingest a folder of images. Running it again changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from components.ingest.images import import_images
from components.ingest.journal import open_journal
from components.stores.raw_images.image_source import FolderSource, ImageSourceError, image_files, read_parts
from components.stores.raw_images.images import RawImages
from components.stores.raw_images.set_aside import SetAside, by_reason
from inspection.documents import Reason

__all__ = ["IngestError", "Ingested", "image_files", "ingest", "read_parts"]

IngestError = ImageSourceError


@dataclass(frozen=True, slots=True)
class Ingested:
    """The result for a folder. images: sha256 -> file."""

    images: Mapping[str, Path]
    new: int
    set_aside: tuple[SetAside, ...] = field(default=())

    @property
    def reasons(self) -> Counter[str]:
        """How many files were set aside for which reason."""
        return by_reason(self.set_aside)


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
    """Import these files of a folder, as `import_images` does without a journal."""
    with open_journal(None) as journal:
        done = import_images(
            raw,
            FolderSource(folder, list(files)),
            journal,
            name=name,
            site=site,
            parts=parts,
            reason=reason,
            on_file=on_file,
        )
    images = {sha256: folder / name for sha256, name in done.images.items()}
    return Ingested(images, done.new, done.set_aside)
