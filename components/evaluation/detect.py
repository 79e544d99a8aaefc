"""Run models over a split with `inspection`, image by image, with a bounded number of images in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from components.evaluation.latency import THREADS
from components.evaluation.matching import Scored
from components.evaluation.origins import Origin
from components.stores.datasets.manifest import ManifestImage
from components.stores.models.onnx_session import open_session
from components.stores.objects.image_cache import Fetch
from components.stores.objects.read_ahead import read_ahead
from inspection.acceptance import Acceptance
from inspection.decode import Nms
from inspection.documents import InputSpec, Tolerance
from inspection.image import Picture
from inspection.inspector import Infer, Inspector
from inspection.model_rules import lanes
from inspection.outputs import ANOMALY_MAP, BOXES
from inspection.part_view import UNKNOWN_VIEW, PartView
from inspection.paths import parse_raw_key
from inspection.preprocess import as_picture
from inspection.score_table import ScoreTable
from inspection.verdict import ClassThreshold

MAP_STRIDE: Final = 8
"""Pixels of the input for a place of an anomaly map."""
FLOOR: Final = 0.001
"""The lowest score of the detections that the curves use."""
_AT_ONCE: Final = 32


@dataclass(frozen=True, slots=True)
class Detector:
    """A loaded model, with all that it needs to inspect an image."""

    infer: Infer
    spec: InputSpec
    classes: tuple[str, ...]
    nms: Nms
    output: str = BOXES
    at_once: int = 1
    """How many tiles of a picture are judged at the same time."""
    score_tables: Mapping[str, ScoreTable] | None = None

    def inspector(self, thresholds: Mapping[str, ClassThreshold] | None = None) -> Inspector:
        """The inspector that a device would have. Without thresholds, only its `detect` is of use."""
        always = {name: ClassThreshold(fail=1.0, uncertain=FLOOR) for name in self.classes}
        return Inspector(
            self.infer,
            self.spec.to_preprocess(),
            self.classes,
            thresholds or always,
            self.nms,
            output=self.output,
            at_once=self.at_once,
            score_tables=self.score_tables,
        )

    def tolerance(self, image: NDArray[np.uint8] | Picture) -> Tolerance:
        """How far a healthy runtime's detections on an image may differ.

        The box of an anomaly ends at places of the map. A difference in the last digits may add a row of places, and a
        second one where the neighbours are alike.

        Args:
            image: (h, w, 3) uint8, or a picture.
        """
        if self.output != ANOMALY_MAP:
            return Tolerance()
        picture, tiles = as_picture(image), self.spec.tiles
        whole = min(self.spec.width / picture.width, self.spec.height / picture.height)
        return Tolerance(box_px=round(2 * MAP_STRIDE / (whole if tiles is None else tiles.scale), 1))


def load(
    onnx: bytes,
    classes: tuple[str, ...],
    nms: Nms,
    spec: InputSpec | None = None,
    *,
    output: str = BOXES,
    reading: InputSpec | None = None,
) -> Detector:
    """Load a model.

    Args:
        spec: its input as released; without it, the input that the file itself has.
        output: its form.
        reading: without `spec`, how its pictures are decoded and cut; without either, whole pictures, decoded in full.
    """
    cut = spec or reading
    at_once, threads = lanes(cut is not None and cut.tiles is not None, THREADS)
    infer, own = open_session(onnx, len(classes), threads=threads, output=output)
    if spec is None and reading is not None:
        own = replace(own, shrink=reading.shrink, tiles=reading.tiles)
    return Detector(infer, spec or own, classes, nms, output, at_once)


def detect_all(
    detectors: Mapping[str, Detector],
    entries: Sequence[ManifestImage],
    fetch: Fetch,
    origins: Mapping[str, Origin],
    *,
    acceptance: Acceptance | None = None,
    view_of: Callable[[str], PartView] = lambda camera: UNKNOWN_VIEW,
) -> dict[str, list[Scored]]:
    """Run each model over all images. Each image is fetched once, and decoded once in each size that a model asks for.

    Returns name of a model -> one entry for each image, in the order of `entries`.

    Args:
        origins: sha256 of an image -> its camera and reasons. For other images, site and device of their key are the
            camera, and there is no reason.
        acceptance: the acceptance rules by which the images are scored.
        view_of: camera -> how it sees the part.
    """
    inspectors = {name: detector.inspector() for name, detector in detectors.items()}
    found: dict[str, list[Scored]] = {name: [] for name in detectors}
    ahead = read_ahead(lambda e: fetch(e.uri, e.sha256), entries, at_most=_AT_ONCE)
    for entry, data in zip(entries, ahead, strict=True):
        pictures: dict[int, Picture] = {}
        origin = origins.get(entry.sha256) or Origin(camera_by_key(entry.uri))
        view = view_of(origin.camera).of_picture(entry.width, entry.height)
        for name, inspector in inspectors.items():
            shrink = detectors[name].spec.shrink
            if shrink not in pictures:
                pictures[shrink] = inspector.read(data)
            said = inspector.detect(pictures[shrink], FLOOR)
            found[name].append(
                Scored(
                    entry.group, entry.width, entry.height, entry.labels, said, origin.camera, origin.reasons,
                    acceptance, view,
                )
            )  # fmt: skip
    return found


def camera_by_key(uri: str) -> str:
    """`site/device` of an image by its key in the raw bucket; '' where the key has another form."""
    _, _, key = uri.removeprefix("s3://").partition("/")
    parsed = parse_raw_key(key)
    return f"{parsed.site}/{parsed.device}" if parsed else ""
