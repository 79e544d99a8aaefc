"""Scores are calibrated on the validation split: how often a detection with this score is true."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from components.evaluation.calibrate_scores import MIN_OF_EACH, apply, fit, reliability, table_of
from components.evaluation.curves import Curves, draw_curves
from components.evaluation.matching import Scored
from components.evaluation.metrics import score
from components.evaluation.plots import reliability_svg
from components.evaluation.scoring import ModelUnderTest, evaluate
from components.stores.datasets.manifest import SplitName
from components.stores.models.evaluation_report import EvaluationReport
from components.stores.models.onnx_session import open_session
from components.use_case import parse_use_case
from inspection.documents import Release
from inspection.geometry import Box, Detection, LabelledBox
from inspection.image import decode_image
from inspection.inspector import Inspector
from inspection.score_table import ScoreTable
from inspection.verdict import ClassThreshold
from tests.components.evaluation.brightness_detector import brightness_model
from tests.components.evaluation.test_evaluate import instantly, pictures, use_case
from tests.components.test_use_case import changed
from tests.edge_agent.models import build_release

__all__ = ["use_case"]

BOX = Box(10, 10, 20, 20)
RANDOM = np.random.default_rng(3)
SCORES = RANDOM.uniform(0.0, 1.0, 3000)
HITS = RANDOM.uniform(0.0, 1.0, 3000) < SCORES**2
"""A model that is too sure: a detection with the score 0.5 is true in one of four."""


def images(scores, hits, name="scratch"):
    """One image for each detection, with a label where it is true."""
    return [
        Scored(f"p{n}", 100, 100, (LabelledBox(name, BOX),) if hit else (), (Detection(name, float(s), BOX),))
        for n, (s, hit) in enumerate(zip(scores, hits, strict=True))
    ]


def test_the_table_tells_how_often_a_detection_is_true():
    """Within a few hundredths of what is drawn from, and of scikit-learn's isotonic regression."""
    table = table_of(SCORES, HITS)
    reference = IsotonicRegression(out_of_bounds="clip").fit(SCORES, HITS)
    for value in np.linspace(0.1, 0.9, 17):
        assert table.of(value) == pytest.approx(value**2, abs=0.08)
        assert table.of(value) == pytest.approx(float(reference.predict([value])[0]), abs=0.08)
    assert len(table.raw) <= 42


@pytest.mark.parametrize("hits", [np.zeros(50, bool), np.ones(50, bool), np.arange(50) % 2 == 0])
def test_any_data_give_a_table_that_rises(hits):
    """All false, all true, and without a trend; equal scores too."""
    for scores in (np.linspace(0.1, 0.9, 50), np.full(50, 0.5)):
        table = table_of(scores, hits)
        assert 0.0 < table.of(0.5) < 1.0


def test_a_class_with_too_few_detections_is_not_calibrated_and_that_is_said():
    """A table from a handful of detections would follow each of them."""
    few = images([0.9] * (MIN_OF_EACH - 1) + [0.2] * 40, [True] * (MIN_OF_EACH - 1) + [False] * 40)
    tables, said = fit([*images(SCORES[:400], HITS[:400], "dent"), *few], ("scratch", "dent"))
    assert list(tables) == ["dent"]
    assert f"scratch: not calibrated, {MIN_OF_EACH - 1} true and" in said
    assert "dent: by " in said


def test_calibrated_scores_keep_the_order_and_so_the_map():
    """And the reliability lies nearer to the diagonal than before."""
    split = images(SCORES[:800], HITS[:800])
    tables, _ = fit(split, ("scratch",))
    after = apply(split, tables)
    half = {"scratch": ClassThreshold(0.5, 0.25)}
    assert score(after, ("scratch",), half).map50 == pytest.approx(score(split, ("scratch",), half).map50, abs=1e-9)

    def off(found):
        bins = reliability(found, ("scratch",))["scratch"]
        return sum(abs(item.score - item.true) * item.number for item in bins) / sum(item.number for item in bins)

    assert off(after) < 0.05 < off(split)
    assert apply(split, {}) == split


def test_the_report_shows_how_often_detections_are_true():
    """A point for each bin; curves of earlier versions have none."""
    curves = draw_curves(images(SCORES[:200], HITS[:200]), ("scratch",), {"scratch": ClassThreshold(0.5, 0.25)})
    assert Curves.from_json(curves.to_json()) == curves
    assert reliability_svg(curves).count("<circle") == len(curves.reliability["scratch"]) > 5


def test_a_use_case_that_asks_for_it_gets_it_or_is_told_why_not(use_case):
    """Three defects are too few; without the key, nothing is said and no digest changes."""
    found = pictures()
    asked = use_case.model_copy(update={"operating": use_case.operating.model_copy(update={"calibrate_scores": True})})
    report = evaluate(
        ModelUnderTest(brightness_model()), found.manifest(asked), asked, found.fetch, measure=instantly(fp32=10.0)
    ).report
    assert report.score_tables is None
    assert report.calibration.startswith("scratch: not calibrated, 3 true and")
    assert "calibrate_scores" not in parse_use_case(changed()).to_json()
    assert parse_use_case(changed(operating={"calibrate_scores": True})).operating.calibrate_scores


def test_an_evaluation_chooses_and_keeps_golden_samples_by_calibrated_scores(use_case):
    """Where bright parts are good as often as bad, the model's 0.9 is less; a device with the tables says the same."""
    asked = use_case.model_copy(update={"operating": use_case.operating.model_copy(update={"calibrate_scores": True})})
    found = pictures()
    for number in range(40):
        found.add(SplitName.VAL, 100 + 3 * number, bad=True)
        found.add(SplitName.VAL, 80 + 3 * number, bad=False)
    model = brightness_model()
    done = evaluate(ModelUnderTest(model), found.manifest(asked), asked, found.fetch, measure=instantly(fp32=10.0))
    tables = done.report.score_tables
    assert tables["scratch"].of(0.6) < 0.6
    assert done.report.calibration.startswith("scratch: by 43 true and ")
    assert EvaluationReport.from_json(done.report.to_json()) == done.report
    infer, spec = open_session(model, 1, threads=1)
    device = Inspector(
        infer, spec.to_preprocess(), ("scratch",), done.report.thresholds, done.report.nms, score_tables=tables
    )
    for sample in done.golden.samples:
        assert device.inspect(decode_image(done.golden_files[sample.file])).detections == sample.expected


def test_the_tables_travel_in_the_release():
    """A release without them keeps its bytes."""
    table = ScoreTable(raw=(0.0, 0.5, 1.0), calibrated=(0.0, 0.3, 1.0))
    release = build_release(score_tables={"scratch": table}).release
    assert Release.from_json(release.to_json()) == release
    assert b"score_tables" not in build_release().release.to_json()
