"""Makes what the demo shows at its end: a table of the rounds, and a contact sheet of detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from components.stores.datasets.manifest import ManifestImage, SplitName, load_manifest
from components.stores.models.champion import champion
from components.stores.models.evaluation_report import EvaluationReport
from components.stores.models.onnx_session import open_session
from components.stores.models.registry import ModelRegistry
from components.stores.objects.s3 import S3ObjectStore
from components.stores.raw_images.images import RawImages
from components.use_case import UseCase
from deploy.access.layout import Layout
from inspection.image import decode_image
from inspection.inspector import Inspector
from inspection.verdict import Verdict

_COLUMNS, _ROWS = 4, 4
_TILE = (300, 200)
_COLOURS = {Verdict.PASS: (80, 175, 76), Verdict.FAIL: (46, 87, 228), Verdict.UNCERTAIN: (11, 158, 245)}  # BGR
_TRUTH = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class RoundResult:
    """The results of one round. A model that failed its gate has no version and no release."""

    number: int
    images: int
    dataset_digest: str
    report: EvaluationReport
    version: int | None
    release_digest: str | None
    sent_back: int


def round_table(results: Sequence[RoundResult]) -> Table:
    """Return a table of both rounds. The figures come from the evaluation report of each run."""
    table = Table(
        title="test split, parts kept apart, the ONNX scored as it runs; escape and overkill by part",
        padding=(0, 0),
    )
    for column in (
        "round",
        "images",
        "dataset",
        "mAP50",
        "escape",
        "overkill",
        "review",
        "version",
        "on the device",
        "sent back",
    ):
        table.add_column(column, overflow="fold")
    for result in results:
        test = result.report.test
        table.add_row(
            str(result.number),
            str(result.images),
            result.dataset_digest[:8],
            f"{test.map50:.3f}",
            _rate(test.escape.count, test.escape.n),
            _rate(test.overkill.count, test.overkill.n),
            _rate(test.review.count, test.review.n) if test.review else "not counted",
            str(result.version) if result.version else "refused",
            (result.release_digest or "none")[:8],
            str(result.sent_back),
        )
    return table


def _rate(count: int, n: int) -> str:
    return f"{count / n:.2f} ({count}/{n})" if n else "n=0"


def contact_sheet(layout: Layout, registry: ModelRegistry, use_case: UseCase, store: S3ObjectStore) -> Path | None:
    """Draw test images with the champion's detections into a PNG, and return its path; None if there is no champion.

    White boxes: labels. Coloured boxes: detections, in the colour of the verdict.
    """
    current = champion(registry, use_case.name)
    if current is None:
        return None
    report = current.report
    infer, _ = open_session(current.onnx, len(report.classes), threads=2)
    inspector = Inspector(infer, report.preprocess.to_preprocess(), report.classes, report.thresholds, report.nms)
    manifest = load_manifest(_dataset_store(layout), "kizu-datasets", report.dataset_digest)
    test = manifest.of(SplitName.TEST)
    step = max(1, len(test) // (_COLUMNS * _ROWS))
    raw = RawImages(store, "kizu-raw")
    tiles = [_tile(inspector, entry, raw.fetch(entry.uri, entry.sha256)) for entry in test[::step][: _COLUMNS * _ROWS]]
    while len(tiles) % _COLUMNS:
        tiles.append(np.full_like(tiles[0], 40))
    rows = [np.hstack(tiles[at : at + _COLUMNS]) for at in range(0, len(tiles), _COLUMNS)]
    path = layout.home / "demo" / "contact-sheet.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    ok, encoded = cv2.imencode(".png", np.vstack(rows))
    assert ok
    path.write_bytes(encoded.tobytes())
    return path


def _dataset_store(layout: Layout) -> S3ObjectStore:
    from deploy.access.identities import store_for

    return store_for(layout, "training")


def _tile(inspector: Inspector, entry: ManifestImage, data: bytes) -> NDArray[np.uint8]:
    image = decode_image(data)
    seen = inspector.inspect(image)
    colour = _COLOURS[seen.verdict]
    for label in entry.labels:
        x1, y1, x2, y2 = (round(value) for value in label.box.xyxy)
        cv2.rectangle(image, (x1, y1), (x2, y2), _TRUTH, 1)
    for detection in seen.detections:
        x1, y1, x2, y2 = (round(value) for value in detection.box.xyxy)
        cv2.rectangle(image, (x1, y1), (x2, y2), colour, 2)
        cv2.putText(image, f"{detection.score:.2f}", (x1, max(12, y1 - 4)), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1)
    tile = cv2.resize(image, _TILE, interpolation=cv2.INTER_AREA)
    bar = np.full((22, _TILE[0], 3), colour, dtype=np.uint8)
    cv2.putText(bar, str(seen.verdict), (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([tile, bar]).astype(np.uint8)
