"""A use case and a folder of images of its own for each test, on the real SeaweedFS."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.exchange.finder import Finder, InSource
from components.exchange.importing import ImportedLabels, ImportOptions, import_rows
from components.settings import Settings
from components.stores.labels.store import LabelEvent, LabelStore
from components.stores.raw_images.image_source import FolderSource
from components.stores.raw_images.images import RawImages
from components.use_case import UseCase, parse_use_case
from tests.components.exchange.small_photographs import photograph


@dataclass
class Exchange:
    """What an import needs."""

    folder: Path
    use_case: UseCase
    raw: RawImages
    labels: LabelStore

    def image(self, name: str, seed: int = 0) -> bytes:
        """Write a photograph."""
        data = photograph(seed)
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return data

    def take(self, rows, source: str = "ground-truth", finder: Finder | None = None, **options) -> ImportedLabels:
        """Import rows, with images from the folder."""
        made = ImportOptions(use_case=self.use_case, source=source, device="import-x", site="factory", **options)
        return import_rows(rows, finder or InSource(FolderSource(self.folder)), self.raw, self.labels, made)

    def events(self) -> list[LabelEvent]:
        """The events of this use case, by time."""
        return self.labels.events(use_case=self.use_case.name)

    def approved(self) -> dict[str, LabelEvent]:
        """The view that a training reads."""
        return self.labels.latest_approved(self.use_case.name)


@pytest.fixture
def exchange(installation: Settings, store, tmp_path: Path) -> Exchange:
    folder = tmp_path / "images"
    folder.mkdir()
    use_case = parse_use_case(
        f"name: x-{uuid.uuid4().hex[:12]}\nclasses: [scratch, dent]\nlabeling: {{instructions: Draw.}}\n"
        "gates: {min_map50: 0.1, max_escape_rate: 1.0, max_overkill_rate: 1.0}\n"
    )
    return Exchange(folder, use_case, RawImages(store, installation.bucket("raw")), LabelStore.open(installation))
