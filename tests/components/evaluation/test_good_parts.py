"""Evaluation of a model that learned from good parts alone, with defects to measure it by and without."""

from datetime import UTC, datetime

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from components.evaluation.latency import Timed
from components.evaluation.matching import Scored
from components.evaluation.metrics import auroc
from components.evaluation.report_page import render
from components.evaluation.scoring import ModelUnderTest, evaluate
from components.evaluation.stored import draw_plots
from components.evaluation.threshold import choose
from components.registry.model_card import ModelOrigin, model_card
from components.stores.datasets.manifest import Manifest, ManifestImage, SplitName, regions
from components.stores.models.evaluation_report import Deployed, EvaluationReport
from components.stores.models.gate import judge_by
from components.stores.models.latency_report import LatencyReport
from components.use_case import Operating
from inspection.anomaly import ANOMALY
from inspection.geometry import Box, Detection, LabelledBox
from inspection.image import sha256_of
from inspection.outputs import ANOMALY_MAP
from tests.components.evaluation.brightness_detector import MARK, png
from tests.components.model_runs import unique_use_case

DEPLOYED = Deployed(threads=1, frames=10, latency_ms_p50=1.0, latency_ms_p95=2.0, peak_memory_bytes=1)
AT = datetime(2026, 1, 2, tzinfo=UTC)


def brightness_map() -> bytes:
    """ONNX bytes: each place of 8 x 8 pixels scores its mean brightness."""
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["images"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
            helper.make_node("ReduceMean", ["pooled"], ["output0"], axes=[1], keepdims=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 1, 8, 8])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def use_case_of_good_parts(classes=("scratch", "dent")):
    gates = {
        "min_map50": 0.7, "max_escape_rate": 0.3, "max_overkill_rate": 0.3, "min_parts": 2, "bound": "point",
        "min_image_auroc": 0.8, "allow_not_measurable": ["escape_rate", "image_auroc", "review_rate"],
    }  # fmt: skip
    return unique_use_case(
        classes=list(classes), gates=gates, training={"detector": "patchcore", "image_width": 64, "image_height": 64}
    )


class Parts:
    """Good parts are dim where the model looks, defective ones bright."""

    def __init__(self):
        self.data, self.images = {}, []

    def add(self, split, brightness, class_name=""):
        data = png(brightness, len(self.images))
        uri = f"s3://raw/{len(self.images)}.png"
        self.data[uri] = data
        boxes = regions([LabelledBox(class_name, MARK)] if class_name else [])
        self.images.append(
            ManifestImage(
                sha256=sha256_of(data), uri=uri, width=64, height=64, group=f"part{len(self.images)}", split=split,
                boxes=boxes,
            )
        )  # fmt: skip

    def manifest(self, use_case):
        return Manifest(use_case=use_case.name, classes=use_case.classes, split_seed=0, images=tuple(self.images))

    def evaluated(self, use_case):
        return evaluate(
            ModelUnderTest(brightness_map()), self.manifest(use_case), use_case, lambda uri, sha256: self.data[uri],
            measure=lambda models, images, settings: {name: Timed(DEPLOYED, (1.0, 2.0)) for name in models},
        )  # fmt: skip


def good_parts():
    found = Parts()
    for split in (SplitName.VAL, SplitName.TEST):
        for brightness in (10, 20, 30, 40):
            found.add(split, brightness)
    return found


def test_without_a_defect_overkill_is_measured_and_all_papers_say_that_escape_is_not():
    """Report, gate, page and card; and the golden samples are good parts."""
    use_case = use_case_of_good_parts()
    done = good_parts().evaluated(use_case)
    report = EvaluationReport.from_json(done.report.to_json())
    assert (report.output, report.classes) == (ANOMALY_MAP, (ANOMALY,))
    assert (report.test.overkill.count, report.test.overkill.n, report.test.escape.n) == (0, 4, 0)
    assert report.test.image_auroc is None
    assert report.thresholds[ANOMALY].fail >= use_case.operating.default_score
    assert "no defective part, so that escape is not measurable" in report.threshold_source
    assert "overkill 0.000 (0/4" in report.threshold_source
    assert len(done.golden.samples) > 0
    assert done.golden.samples[0].tolerance.box_px == 16.0
    latency = LatencyReport(model_sha256=report.model_sha256, measured_at=AT, deployed=DEPLOYED)
    gate = judge_by(report, use_case, latency)
    assert gate.passed
    page = render(
        report, gate, draw_plots(report, done.curves), [], latency=latency, use_case=use_case.name, run_id="r",
        by_upper_end=False,
    )  # fmt: skip
    assert "how many defects escape is not measurable" in page
    card = model_card(report, gate, use_case, ModelOrigin("r", 1, "code"), latency)
    assert "learned from good parts alone" in card
    assert "**not measurable**" in card


def test_defects_of_any_class_measure_it_as_anomalies():
    """Labels keep the product's classes; the model answers one. Escape, AUROC and the regions are scored."""
    found = good_parts()
    for split in (SplitName.VAL, SplitName.TEST):
        for brightness, name in ((180, "scratch"), (200, "dent"), (220, "scratch")):
            found.add(split, brightness, name)
    use_case = use_case_of_good_parts()
    report = found.evaluated(use_case).report
    assert report.test.image_auroc == 1.0
    assert (report.test.escape.count, report.test.escape.n) == (0, 3)
    assert report.test.escape_by_location.count == 0
    assert report.threshold_source.startswith("validation: lowest overkill with escape")
    gate = judge_by(
        report, use_case, LatencyReport(model_sha256=report.model_sha256, measured_at=AT, deployed=DEPLOYED)
    )
    assert gate.passed
    assert "image_auroc" in [check.name for check in gate.checks if check.value == "1.000"]


def scored(*tops):
    return [
        Scored(f"p{n}", 64, 64, (), (Detection(ANOMALY, top, Box(0, 0, 8, 8)),)) for n, top in enumerate(tops)
    ]  # fmt: skip


def test_the_threshold_of_good_parts_keeps_the_false_alarm_rate():
    """It is the lowest score from the default on that does; where none does, the highest, and it says so."""
    rule = Operating(default_score=0.35, max_score=0.7, uncertain_ratio=0.5, max_false_alarm_rate=0.05)
    thresholds, said = choose(scored(0.1, 0.2, 0.3), (ANOMALY,), rule, ANOMALY_MAP)
    assert thresholds[ANOMALY].fail == 0.35
    thresholds, said = choose(scored(0.1, 0.2, 0.47), (ANOMALY,), rule, ANOMALY_MAP)
    assert thresholds[ANOMALY].fail == 0.48
    assert "overkill <= 0.05: overkill 0.000 (0/3, 95 % 0.00-0.56)" in said
    thresholds, said = choose(scored(0.1, 0.9), (ANOMALY,), rule, ANOMALY_MAP)
    assert thresholds[ANOMALY].fail == 0.7
    assert "no score keeps overkill <= 0.05; highest taken" in said
    many = scored(*[0.1] * 39, 0.6)
    assert choose(many, (ANOMALY,), rule, ANOMALY_MAP)[0][ANOMALY].fail == 0.35


def test_a_detector_without_defects_keeps_its_default():
    """Good parts alone say nothing about where its scores should end."""
    thresholds, said = choose(scored(0.1, 0.6), (ANOMALY,), Operating(default_score=0.35))
    assert thresholds[ANOMALY].fail == 0.35
    assert said.startswith("default: ")


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [
        ([0.1, 0.2], [0.3], 1.0), ([0.3], [0.1], 0.0), ([0.2], [0.2], 0.5), ([0.1, 0.3], [0.2, 0.4], 0.75),
        ([], [1.0], None),
    ],
)  # fmt: skip
def test_auroc_is_the_share_of_pairs_in_order(good, bad, expected):
    """Equal scores count half; without one of the kinds there is no pair."""
    assert auroc(good, bad) == expected
    assert np.isfinite(expected or 0.0)
