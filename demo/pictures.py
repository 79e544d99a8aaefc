"""Draws the pictures that the demo shows: the boxes of people, and the boxes of a model, on sixteen photographs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.stores.datasets.manifest import ManifestImage, SplitName, load_manifest
from components.stores.labels.store import LabelEvent
from components.stores.models.evaluation_report import EvaluationReport
from components.stores.models.onnx_session import open_session
from components.stores.models.registry import EVALUATION_REPORT, MODEL_FILE, ModelRegistry
from components.stores.objects.image_cache import Fetch
from components.stores.objects.s3 import S3ObjectStore
from components.stores.objects.whole_file import write_whole
from inspection.geometry import Box
from inspection.image import decode_image
from inspection.inspector import Inspector
from inspection.verdict import Verdict

LABELS: Final = "labels.png"
CONTACT_SHEET: Final = "contact-sheet.png"

_COLUMNS, _ROWS = 4, 4
_TILE = (300, 200)
_COLOURS = {Verdict.PASS: (80, 175, 76), Verdict.FAIL: (46, 87, 228), Verdict.UNCERTAIN: (11, 158, 245)}  # BGR
_TRUTH = (255, 255, 255)


def round_picture(number: int) -> str:
    """The name of the picture of one round's model."""
    return f"round-{number}.png"


def draw_labels(path: Path, approved: Collection[LabelEvent], fetch: Fetch) -> bool:
    """Draw approved labels into a PNG: red boxes, those with boxes first. Returns False if there is no label."""
    chosen = sorted(approved, key=lambda event: (not event.boxes, event.sha256))[: _COLUMNS * _ROWS]
    if not chosen:
        return False
    tiles = []
    for event in chosen:
        image = decode_image(fetch(event.image_uri, event.sha256))
        colour = _COLOURS[Verdict.FAIL if event.boxes else Verdict.PASS]
        _draw(image, [label.box for label in event.boxes], colour, 2)
        tiles.append(_tile(image, colour, f"{len(event.boxes)} approved" if event.boxes else "no defect"))
    _write(path, tiles)
    return True


def draw_detections(path: Path, registry: ModelRegistry, run_id: str, datasets: S3ObjectStore, fetch: Fetch) -> bool:
    """Draw test images with the detections of a run's model into a PNG. Returns False if there is no test image.

    White boxes: labels. Coloured boxes: detections, in the colour of the verdict.
    """
    report = EvaluationReport.from_json(registry.get_artifact(run_id, EVALUATION_REPORT))
    onnx = registry.get_artifact(run_id, MODEL_FILE)
    infer, _ = open_session(onnx, len(report.classes), threads=2, output=report.output)
    inspector = Inspector(
        infer,
        report.preprocess.to_preprocess(),
        report.classes,
        report.thresholds,
        report.nms,
        output=report.output,
        score_tables=report.score_tables,
    )
    test = load_manifest(datasets, "kizu-datasets", report.dataset_digest).of(SplitName.TEST)
    if not test:
        return False
    step = max(1, len(test) // (_COLUMNS * _ROWS))
    chosen = test[::step][: _COLUMNS * _ROWS]
    _write(path, [_judged(inspector, entry, fetch(entry.uri, entry.sha256)) for entry in chosen])
    return True


def _judged(inspector: Inspector, entry: ManifestImage, data: bytes) -> NDArray[np.uint8]:
    image = decode_image(data)
    seen = inspector.inspect(image)
    colour = _COLOURS[seen.verdict]
    _draw(image, [label.box for label in entry.labels], _TRUTH, 1)
    _draw(image, [detection.box for detection in seen.detections], colour, 2)
    for detection in seen.detections:
        x1, y1 = round(detection.box.x), round(detection.box.y)
        cv2.putText(image, f"{detection.score:.2f}", (x1, max(12, y1 - 4)), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1)
    return _tile(image, colour, str(seen.verdict))


def _draw(image: NDArray[np.uint8], boxes: Sequence[Box], colour: tuple[int, int, int], thickness: int) -> None:
    for box in boxes:
        x1, y1, x2, y2 = (round(value) for value in box.xyxy)
        cv2.rectangle(image, (x1, y1), (x2, y2), colour, thickness)


def _tile(image: NDArray[np.uint8], colour: tuple[int, int, int], text: str) -> NDArray[np.uint8]:
    tile = cv2.resize(image, _TILE, interpolation=cv2.INTER_AREA)
    bar = np.full((22, _TILE[0], 3), colour, dtype=np.uint8)
    cv2.putText(bar, text, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([tile, bar]).astype(np.uint8)


def _write(path: Path, tiles: list[NDArray[np.uint8]]) -> None:
    while len(tiles) % _COLUMNS:
        tiles.append(np.full_like(tiles[0], 40))
    rows = [np.hstack(tiles[at : at + _COLUMNS]) for at in range(0, len(tiles), _COLUMNS)]
    ok, encoded = cv2.imencode(".png", np.vstack(rows))
    if not ok:
        raise RuntimeError("OpenCV could not encode a PNG; is this build of OpenCV complete?")
    write_whole(path, encoded.tobytes())
