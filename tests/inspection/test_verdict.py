"""The verdict on a frame, and the path from an image to it."""

import numpy as np
import pytest

from inspection.decode import Nms
from inspection.geometry import Box, Detection
from inspection.inspector import Inspector
from inspection.preprocess import Preprocess
from inspection.verdict import ClassThreshold, Verdict, decide

BOX = Box(0, 0, 1, 1)
THRESHOLDS = {"scratch": ClassThreshold(0.5, 0.25), "dent": ClassThreshold(0.8, 0.4)}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], Verdict.PASS),
        ([("scratch", 0.24)], Verdict.PASS),
        ([("scratch", 0.25)], Verdict.UNCERTAIN),
        ([("scratch", 0.49)], Verdict.UNCERTAIN),
        ([("scratch", 0.5)], Verdict.FAIL),
        ([("dent", 0.5)], Verdict.UNCERTAIN),
        ([("dent", 0.79), ("scratch", 0.1)], Verdict.UNCERTAIN),
        ([("scratch", 0.3), ("dent", 0.9)], Verdict.FAIL),
        ([("dent", 0.9), ("scratch", 0.3)], Verdict.FAIL),
    ],
)
def test_the_worst_detection_decides_by_its_class(found, expected):
    """Each class has its own thresholds, a score equal to a threshold counts, and the order does not matter."""
    assert decide([Detection(name, score, BOX) for name, score in found], THRESHOLDS) is expected


def test_a_class_without_a_threshold_is_an_error_not_a_pass():
    """A guess about a class that the release does not know would not be safe."""
    with pytest.raises(KeyError):
        decide([Detection("stain", 0.01, BOX)], THRESHOLDS)


@pytest.mark.parametrize(("fail", "uncertain"), [(0.5, 0.6), (0.5, 0.0), (1.1, 0.5), (0.0, 0.0)])
def test_thresholds_out_of_order_are_refused(fail, uncertain):
    """Thresholds must satisfy 0 < uncertain <= fail <= 1."""
    with pytest.raises(ValueError, match="thresholds need"):
        ClassThreshold(fail, uncertain)


def one_box(score):
    """A network that always sees one scratch in the middle of a 64 x 64 input."""

    def infer(tensor):
        assert tensor.shape == (1, 3, 64, 64)
        return np.array([[[32], [32], [16], [16], [score], [0]]], dtype=np.float32)

    return infer


def shown(side):
    """A picture that shows something: its left half is black, its right half grey."""
    image = np.zeros((side, side, 3), np.uint8)
    image[:, side // 2 :] = 128
    return image


def inspector(score):
    return Inspector(one_box(score), Preprocess(64, 64), ("scratch", "dent"), THRESHOLDS, Nms())


def test_an_image_becomes_detections_in_its_own_pixels_and_a_verdict():
    """In an image of 128 x 128 the box of the input is twice as large."""
    answer = inspector(0.75).inspect(shown(128))
    assert answer.verdict is Verdict.FAIL
    assert answer.detections == (Detection("scratch", 0.75, Box(48, 48, 32, 32)),)


def test_detections_begin_at_the_lowest_doubt_unless_weaker_ones_are_asked_for():
    """A score of 0.125 is no detection unless sampling asks for it, and the verdict is the same."""
    image = shown(128)
    assert inspector(0.125).inspect(image).detections == ()
    weaker = inspector(0.125).inspect(image, score_floor=0.1)
    assert [d.score for d in weaker.detections] == [0.125]
    assert weaker.verdict is Verdict.PASS


def test_a_floor_above_the_thresholds_hides_nothing_from_the_verdict():
    """A floor for detections must not turn an uncertain frame into a pass."""
    answer = inspector(0.3).inspect(shown(128), score_floor=0.9)
    assert answer.verdict is Verdict.UNCERTAIN
    assert len(answer.detections) == 1


def test_a_class_without_threshold_and_no_class_at_all_are_refused_at_birth():
    """An inspector that could not decide cannot be created."""
    with pytest.raises(ValueError, match="missing \\['stain'\\]"):
        Inspector(one_box(0.5), Preprocess(64, 64), ("scratch", "stain"), THRESHOLDS, Nms())
    with pytest.raises(ValueError, match="expected a threshold"):
        Inspector(one_box(0.5), Preprocess(64, 64), (), THRESHOLDS, Nms())
