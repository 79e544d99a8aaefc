"""Calibrated scores: a line from (0, 0) to (1, 1) that rises everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from inspection.decode import Nms
from inspection.geometry import Box, Detection
from inspection.inspector import Inspector
from inspection.preprocess import Preprocess
from inspection.score_table import ScoreTable, calibrated, raw_floor
from inspection.verdict import ClassThreshold, Verdict
from tests.inspection.test_verdict import one_box, shown

TABLE = ScoreTable(raw=(0.0, 0.4, 0.8, 1.0), calibrated=(0.0, 0.1, 0.9, 1.0))
BOX = Box(0, 0, 1, 1)


@pytest.mark.parametrize(
    ("raw", "expected"), [(0.0, 0.0), (0.2, 0.05), (0.4, 0.1), (0.6, 0.5), (0.8, 0.9), (0.9, 0.95), (1.0, 1.0)]
)
def test_between_two_points_the_line_is_straight_and_leads_back(raw, expected):
    """By hand; and each calibrated score has its raw one."""
    assert TABLE.of(raw) == pytest.approx(expected)
    assert TABLE.raw_of(expected) == pytest.approx(raw)


@pytest.mark.parametrize(
    ("raw", "true"),
    [
        ((0.0, 1.0), (0.0, 0.5, 1.0)),
        ((0.0,), (0.0,)),
        ((0.0, 0.5, 0.5, 1.0), (0.0, 0.2, 0.3, 1.0)),
        ((0.0, 0.4, 0.5, 1.0), (0.0, 0.3, 0.3, 1.0)),
        ((0.1, 1.0), (0.0, 1.0)),
        ((0.0, 0.9), (0.0, 1.0)),
    ],
)
def test_a_table_that_does_not_rise_from_0_to_1_is_refused(raw, true):
    """On a level piece two detections would change places."""
    with pytest.raises(ValueError, match="expected"):
        ScoreTable(raw=raw, calibrated=true)


def test_the_highest_score_stays_first_also_beside_a_class_that_is_not_calibrated():
    """The order within a class stays; classes may change places."""
    found = [Detection("scratch", 0.6, BOX), Detection("dent", 0.55, BOX), Detection("scratch", 0.5, BOX)]
    said = [(d.class_name, round(d.score, 6)) for d in calibrated(found, {"scratch": TABLE})]
    assert said == [("dent", 0.55), ("scratch", 0.5), ("scratch", 0.3)]
    assert calibrated(found, {}) == tuple(found)
    assert raw_floor(0.5, ("scratch", "dent"), {"scratch": TABLE}) == 0.5
    assert raw_floor(0.9, ("scratch", "dent"), {"scratch": TABLE}) == pytest.approx(0.8)


def test_thresholds_floors_and_golden_samples_are_of_calibrated_scores():
    """A raw score of 0.6 is 0.5: it fails where 0.5 does, and is no detection where 0.51 are asked for."""
    thresholds = {"scratch": ClassThreshold(0.5, 0.25), "dent": ClassThreshold(0.5, 0.25)}

    def inspector(score):
        # one_box answers for two classes
        return Inspector(
            one_box(score), Preprocess(64, 64), ("scratch", "dent"), thresholds, Nms(), score_tables={"scratch": TABLE}
        )

    answer = inspector(0.625).inspect(shown(64))
    assert answer.verdict is Verdict.FAIL
    assert answer.detections[0].score == pytest.approx(0.55)
    assert inspector(0.5).inspect(shown(64)).verdict is Verdict.UNCERTAIN  # 0.3
    assert inspector(0.4).inspect(shown(64)).verdict is Verdict.PASS  # 0.1
    assert len(inspector(0.4).inspect(shown(64), score_floor=0.05).detections) == 1
    assert inspector(0.625).detect(shown(64), 0.56) == ()
    assert len(inspector(0.625).detect(shown(64), 0.54)) == 1


def test_the_answer_to_a_score_is_never_outside_of_0_to_1():
    """Also for numbers that are a little beyond."""
    for value in np.linspace(-0.1, 1.1, 25):
        assert 0.0 <= TABLE.of(float(value)) <= 1.0
