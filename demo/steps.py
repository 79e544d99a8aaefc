"""Steps that the two loops of the demo share: what it brings in, its people, and its pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from components.ingest.folder import ingest
from components.settings import Settings
from components.stores.labels.store import LabelStore
from components.stores.models.registry import ModelVersion
from components.stores.raw_images.images import RawImages
from demo.accounts import ensure_people
from demo.device import SITE
from demo.people import Labeler, Verifier
from demo.pictures import draw_detections, draw_labels
from demo.state import Demo
from deploy.access.identities import environment_for
from inspection.documents import Reason
from inspection.image import sha256_of


def ingest_first_set(demo: Demo) -> str:
    """Import the first photographs into S3, with their Captures. Returns what was done, as one line."""
    folder = demo.layout.home / "demo" / "first"
    parts = {}
    for frame in demo.data.first:
        _write(folder / frame.name, frame.data)
        parts[frame.name] = frame.part_id
    store = demo.store("importer")
    result = ingest(
        RawImages(store, "kizu-raw"),
        folder,
        sorted(folder / frame.name for frame in demo.data.first),
        name="first-set",
        site=SITE,
        parts=parts,
        reason=Reason.INITIAL,
    )
    return f"{len(result.images)} images of {len(set(parts.values()))} parts, {len(result.set_aside)} set aside"


def version_of(demo: Demo, run_id: str) -> ModelVersion | None:
    """The version that a training run registered; None where it registered none."""
    return next((v for v in demo.registry.versions(demo.use_case.name) if v.run_id == run_id), None)


def draw_approved_labels(demo: Demo, path: Path) -> bool:
    """Draw the boxes that people approved. Returns False where there is none."""
    config = Settings.from_environment(environment_for(demo.layout, "labeling"))
    approved = LabelStore.open(config).latest_approved(demo.use_case.name)
    return draw_labels(path, approved.values(), RawImages(demo.store("importer"), "kizu-raw").fetch)


def draw_model(demo: Demo, run_id: str, path: Path) -> bool:
    """Draw what the model of a run finds on its test split. Returns False where that has no image."""
    raw, datasets = RawImages(demo.store("importer"), "kizu-raw"), demo.store("training")
    return draw_detections(path, demo.registry, run_id, datasets, raw.fetch)


@contextmanager
def people(demo: Demo, finished: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Two stand-ins label and verify while the block runs, unless real people do.

    The one who labels forgets a box now and then in the first set, so that the verifier has something to reject. With
    the images that come back it is careful: each rejection costs two more labeling runs.

    finished: called when a stand-in has done all that was open.
    """
    if demo.options.real_people:
        yield
        return
    annotator, verifier = ensure_people(demo.layout)
    url, truth = demo.layout.label_studio_url, demo.data.truth
    first = frozenset(sha256_of(frame.data) for frame in demo.data.first)
    with (
        Labeler(url, annotator.token, truth, careless_with=first, finished=finished),
        Verifier(url, verifier.token, truth, finished=finished),
    ):
        yield


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_bytes() != data:
        path.write_bytes(data)
