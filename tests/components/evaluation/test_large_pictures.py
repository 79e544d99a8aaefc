"""Evaluation scores whole pictures through the tiles that a device cuts."""

import dataclasses

import cv2
import pytest

from components.evaluation.detect import Detector, detect_all, load
from components.evaluation.latency import InspectionSettings, LatencyError, measure
from components.evaluation.metrics import score
from components.stores.datasets.manifest import ManifestImage, SplitName, regions
from inspection.decode import Nms
from inspection.documents import InputSpec
from inspection.geometry import Box, LabelledBox
from inspection.image import sha256_of
from inspection.preprocess import Tiles
from inspection.verdict import ClassThreshold
from tests.components.evaluation.brightness_detector import brightness_model, png
from tests.inspection.blob_network import SIDE, find_spots, picture_with

THRESHOLDS = {"scratch": ClassThreshold(0.5, 0.25)}
TILED = InputSpec(width=SIDE, height=SIDE, shrink=2, tiles=Tiles(scale=0.5, overlap_px=16))


def scored(spec):
    """Two large pictures, with a defect at a seam and with none, scored through this input."""
    images, entries = {}, []
    for number, spots in enumerate([[(88, 100, 16, 12)], []]):
        data = cv2.imencode(".png", picture_with(*spots, size=(400, 300)))[1].tobytes()
        boxes = regions([LabelledBox("scratch", Box(*spot)) for spot in spots])
        uri = f"s3://raw/{number}"
        images[uri] = data
        entries.append(
            ManifestImage(
                sha256=sha256_of(data), uri=uri, width=400, height=300, group=uri, split=SplitName.TEST, boxes=boxes
            )
        )
    detector = Detector(find_spots, spec, ("scratch",), Nms(), at_once=2)
    found = detect_all({"one": detector}, entries, lambda uri, sha256: images[uri], {})["one"]
    return score(found, ("scratch",), THRESHOLDS)


def test_scores_are_those_of_whole_pictures():
    """A defect that two tiles show is one detection and one label, in pixels of the full picture."""
    found = scored(TILED)
    assert (found.images, found.boxes) == (2, 1)
    assert (found.map50, found.precision, found.recall) == (1.0, 1.0, 1.0)
    assert (found.escape.count, found.overkill.count) == (0, 0)
    assert found.map50_95 > 0.9 > scored(dataclasses.replace(TILED, tiles=None)).map50_95


def test_a_loaded_model_inspects_as_the_use_case_says():
    """The size of the input is the file's own; how pictures are decoded and cut is the use case's."""
    detector = load(brightness_model(), ("scratch",), Nms(), reading=dataclasses.replace(TILED, width=320, height=320))
    assert detector.spec == TILED
    assert load(brightness_model(), ("scratch",), Nms()).spec == InputSpec(width=SIDE, height=SIDE)


def test_the_process_that_is_timed_cuts_the_picture_as_the_release_does():
    """It refuses tiles that the model's own input cannot have, so it was told of them."""
    reading = InputSpec(width=128, height=128, tiles=Tiles(overlap_px=40))
    settings = InspectionSettings(("scratch",), THRESHOLDS, Nms(), reading=reading)
    with pytest.raises(LatencyError, match="at most half of a side of 64 x 64, but overlap_px is 40"):
        measure({"fp32": brightness_model()}, [png(90, 0)], settings)
