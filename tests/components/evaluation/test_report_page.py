"""Plots and page: readable by machines too, self-contained, and with every name escaped."""

import dataclasses
import re
from datetime import UTC, datetime
from xml.etree import ElementTree

import numpy as np
import pytest

from components.evaluation.curves import draw_curves
from components.evaluation.examples import draw
from components.evaluation.matching import Scored
from components.evaluation.metrics import score
from components.evaluation.report_page import ExampleImage, render
from components.evaluation.stored import draw_plots
from components.stores.models.evaluation_report import (
    ChampionScores,
    Deployed,
    Difference,
    EvaluationReport,
    Int8Variant,
)
from components.stores.models.gate import judge
from components.stores.models.latency_report import LatencyReport
from components.use_case import Gates
from inspection.decode import Nms
from inspection.documents import InputSpec
from inspection.geometry import Box, Detection, LabelledBox
from inspection.image import decode_image
from inspection.verdict import ClassThreshold

EVIL = '<script>alert("傷")</script>'
CLASSES = (EVIL, "dent")
THRESHOLDS = {name: ClassThreshold(0.5, 0.25) for name in CLASSES}
A, B = Box(10, 10, 40, 40), Box(100, 20, 60, 60)
IMAGES = [
    Scored("p1", 300, 200, (LabelledBox(EVIL, A),), (Detection(EVIL, 0.9, A),), EVIL),
    Scored("p2", 300, 200, (LabelledBox("dent", B),), (), "line/cam"),
    Scored("p3", 300, 200, (), (Detection("dent", 0.8, B),), "line/cam", ("control", "uncertain")),
]
SHA = "ab" * 32


@pytest.fixture(scope="module")
def report():
    scores = score(IMAGES, CLASSES, THRESHOLDS)
    return EvaluationReport(
        model_sha256=SHA, dataset_digest=SHA, use_case_digest=SHA, classes=CLASSES,
        preprocess=InputSpec(width=64, height=64), nms=Nms(), thresholds=THRESHOLDS, threshold_source="default",
        validation=scores, test=scores,
        champion=ChampionScores(
            version=4, model_sha256=SHA, test=scores,
            map50_difference=Difference(value=-0.1, low=-0.2, high=0.05, parts=3, resamples=100, seed=0),
        ),
        int8=Int8Variant(kept=False, reason="it is <slower>"),
    )  # fmt: skip


@pytest.mark.parametrize(("seen", "told"), [(2, True), (0, False), (None, False)])
def test_the_page_says_that_the_champion_learned_from_test_images(report, seen, told):
    """Only where it did: an evaluation that does not know the champion's dataset says nothing of it."""
    champion = dataclasses.replace(report.champion, seen_test_images=seen)
    shown = page(dataclasses.replace(report, champion=champion))
    assert ("The champion learned from 2 of these test images" in shown) is told


def page(report):
    curves = draw_curves(IMAGES, CLASSES, THRESHOLDS)
    picture = ExampleImage(
        "miss-1.jpg", f"part p2 {EVIL}", draw(np.full((200, 300, 3), 90, np.uint8), IMAGES[1], THRESHOLDS)
    )
    gate = judge(report, Gates(min_map50=0.99, max_escape_rate=1, max_overkill_rate=1, min_parts=1, bound="point"))
    deployed = Deployed(threads=2, frames=60, latency_ms_p50=8.125, latency_ms_p95=9.5, peak_memory_bytes=123_000_000)
    latency = LatencyReport(model_sha256=SHA, measured_at=datetime(2025, 4, 1, 12, tzinfo=UTC), deployed=deployed)
    return render(
        report, gate, draw_plots(report, curves), [picture], latency=latency, use_case="tag", run_id="r" * 32,
        by_upper_end=False,
    )  # fmt: skip


def test_every_plot_is_a_drawing_of_its_own():
    """Each plot is well-formed SVG and has the numbers of the curves as text."""
    curves = draw_curves(IMAGES, CLASSES, THRESHOLDS)
    scores = score(IMAGES, CLASSES, THRESHOLDS)
    report = type("R", (), {"thresholds": THRESHOLDS})()
    plots = draw_plots(report, curves)
    assert set(plots) == {"precision-recall", "scores", "confusion", "reliability"}
    texts = {name: list(ElementTree.fromstring(svg).itertext()) for name, svg in plots.items()}
    assert f"dent (AP {scores.map50_by_class['dent']:.3f})" in texts["precision-recall"]
    assert "<script>a… (AP 1.000)" in texts["precision-recall"]
    assert "defective (2)" in texts["scores"]
    assert texts["confusion"].count("1") == 3


def test_the_page_fetches_nothing_and_runs_nothing(report):
    """The page has no URI but `data:` and no script, whatever classes, cameras and reasons are called."""
    html = page(report)
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "it is &lt;slower&gt;" in html


def test_the_page_says_what_an_approver_asks(report):
    """The page has the gate with bounds, rates and the champion's difference with intervals, latency and memory."""
    html = page(report)
    for said in (
        "does not hold", "&gt;= 0.990", "champion, version 4, test", "-0.100 (95 % -0.200 to +0.050, 3 parts)",
        "p50 8.1 ms, p95 9.5 ms", "at 2025-04-01 12:00 UTC", "123 MB", "line/cam",
        "Worst misses", "small: below 1/300", SHA,
        "review rate", "reason of capture", "Only control images", "by their value (<code>bound: point</code>)",
        "Escapes that are uncertain, so that a person looks at them: 0 of 1.", "Escape by location: 0.500 (1/2",
    ):  # fmt: skip
        assert said in html


def test_an_example_is_drawn_in_the_size_of_a_page():
    """An example has at most 480 pixels a side, with boxes drawn on it."""
    plain = np.full((600, 1200, 3), 90, np.uint8)
    wide = Scored("p", 1200, 600, (LabelledBox("dent", B),), (Detection("dent", 0.8, B),))
    drawn = decode_image(draw(plain, wide, THRESHOLDS))
    assert drawn.shape == (240, 480, 3)
    assert np.abs(drawn.astype(int) - 90).max() > 60
