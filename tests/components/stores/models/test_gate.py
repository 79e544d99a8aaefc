"""The gate: which models may be shown to a person at all."""

import dataclasses

import pytest

from components.stores.models.evaluation_report import (
    ChampionScores,
    Deployed,
    Difference,
    EvaluationReport,
    Rate,
    Scores,
)
from components.stores.models.gate import GateReport, judge
from components.use_case import Gates
from inspection.decode import Nms
from inspection.documents import InputSpec
from inspection.verdict import ClassThreshold

SHA = "ab" * 32
GATES = Gates(min_map50=0.7, max_escape_rate=0.25, max_overkill_rate=0.4, min_parts=4)
GOOD = Scores(
    images=40, parts=16, boxes=20, map50=0.8, map50_95=0.5, precision=0.9, recall=0.9,
    escape=Rate(count=1, n=8), overkill=Rate(count=2, n=8), map50_by_class={"scratch": 0.8},
)  # fmt: skip


def report_of(scores, champion=None):
    return EvaluationReport(
        model_sha256=SHA, dataset_digest=SHA, use_case_digest=SHA, classes=("scratch",),
        preprocess=InputSpec(width=64, height=64), nms=Nms(), thresholds={"scratch": ClassThreshold(0.5, 0.25)},
        threshold_source="default", validation=GOOD, test=scores,
        champion=ChampionScores(version=2, model_sha256=SHA, test=champion) if champion else None,
    )  # fmt: skip


def judged(champion=None, gates=GATES, **changes):
    return judge(report_of(dataclasses.replace(GOOD, **changes), champion), gates)


def test_a_good_model_passes_every_check():
    """A model within the bounds of mAP50, escape and overkill rate passes."""
    gate = judged()
    assert gate.passed
    assert [check.name for check in gate.checks] == ["test mAP50", "escape_rate", "overkill_rate"]
    assert gate.failures == ""


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"map50": 0.699}, "test mAP50"),
        ({"escape": Rate(count=3, n=8)}, "escape_rate"),
        ({"overkill": Rate(count=4, n=8)}, "overkill_rate"),
    ],
)
def test_each_check_alone_stops_a_model_and_is_named(changes, failed):
    """One value out of bounds fails the gate, and the other checks still hold."""
    gate = judged(**changes)
    assert not gate.passed
    assert [check.name for check in gate.checks if not check.passed] == [failed]
    assert gate.failures.startswith(f"{failed} is ")


@pytest.mark.parametrize(
    "changes",
    [{"map50": 0.7}, {"escape": Rate(count=2, n=8)}, {"overkill": Rate(count=2, n=5)}],
)
def test_the_bound_itself_is_good_enough(changes):
    """A value that equals its bound passes."""
    assert judged(**changes).passed


@pytest.mark.parametrize(("field", "name"), [("escape", "escape_rate"), ("overkill", "overkill_rate")])
@pytest.mark.parametrize("n", [0, 3])
def test_a_rate_over_too_few_parts_does_not_pass_in_silence(field, name, n):
    """A rate that is not measurable fails, unless the use case allows it."""
    gate = judged(**{field: Rate(count=0, n=n)})
    assert not gate.passed
    assert f"{name} is not measurable (n={n})" in gate.failures
    allowed = judged(gates=GATES.model_copy(update={"allow_not_measurable": (name,)}), **{field: Rate(count=0, n=n)})
    assert allowed.passed
    assert f"not measurable (n={n})" in [check.value for check in allowed.checks]


def test_allowing_not_measurable_does_not_allow_bad():
    """A rate that can be measured must keep its bound even where not measurable is allowed."""
    gates = GATES.model_copy(update={"allow_not_measurable": ("escape_rate", "overkill_rate")})
    assert not judged(gates=gates, escape=Rate(count=8, n=8)).passed


def test_exactly_min_parts_is_measurable():
    """With exactly `min_parts` parts, four of four escapes are measured and fail."""
    assert "4/4" in judged(escape=Rate(count=4, n=4)).failures


def test_a_model_worse_than_the_champion_is_stopped_with_a_margin():
    """A mAP50 0.02 below the champion's on the same split passes; 0.021 below fails, however good it is."""
    champion = dataclasses.replace(GOOD, map50=0.9, map50_by_class={})
    assert judged(champion, map50=0.88).passed
    gate = judged(champion, map50=0.879)
    assert not gate.passed
    assert "champion version 2" in gate.failures


def against(low, high, *, parts=16, gates=GATES, map50=0.8):
    champion = ChampionScores(
        version=2, model_sha256=SHA, test=dataclasses.replace(GOOD, map50=0.81, map50_by_class={}),
        map50_difference=Difference(value=map50 - 0.81, low=low, high=high, parts=parts, resamples=2000, seed=0),
    )  # fmt: skip
    return judge(dataclasses.replace(report_of(dataclasses.replace(GOOD, map50=map50)), champion=champion), gates)


def test_a_model_is_not_worse_than_the_champion_beyond_the_interval():
    """A drop within the bound fails if its whole interval is below 0; if the interval reaches 0, it passes."""
    assert against(-0.06, 0.0).passed
    gate = against(-0.02, -0.001)
    assert gate.failures == (
        "champion_interval is -0.010 (95 % -0.020 to -0.001, 16 parts), expected the upper end >= 0"
    )


def test_an_interval_does_not_excuse_a_drop_that_is_too_large():
    """On a tiny test split the interval proves nothing, and the bound of the drop still holds."""
    gate = against(-0.3, 0.1, map50=0.75)
    assert [check.name for check in gate.checks if not check.passed] == ["test mAP50 against champion version 2"]


def test_an_interval_over_too_few_parts_is_not_measurable():
    """An interval over too few parts passes only where the use case allows it."""
    assert "champion_interval is not measurable (n=3)" in against(-0.1, 0.1, parts=3).failures
    allowed = GATES.model_copy(update={"allow_not_measurable": ("champion_interval",)})
    assert against(-0.1, -0.05, parts=3, gates=allowed).passed
    assert not against(-0.1, -0.05, gates=allowed).passed, "what can be measured is measured"


def test_a_gate_that_allows_any_drop_compares_nothing():
    """With a `max_map50_drop` of 1 the interval is not checked."""
    assert against(-0.5, -0.4, gates=GATES.model_copy(update={"max_map50_drop": 1.0}), map50=0.75).passed


def test_the_latency_budget_is_a_check_where_latency_was_measured():
    """The 95th percentile is checked, in milliseconds a frame; a report without latency is not checked for it."""
    deployed = Deployed(threads=2, frames=60, latency_ms_p50=20, latency_ms_p95=40, peak_memory_bytes=1)
    report = dataclasses.replace(report_of(GOOD), deployed=deployed)
    assert judge(report, GATES, latency_budget_ms=40.0).passed
    assert judge(report, GATES, latency_budget_ms=39.0).failures == "latency p95 is 40.0 ms, expected <= 39.0 ms"
    assert judge(report_of(GOOD), GATES, latency_budget_ms=39.0).passed


def test_no_class_may_pay_for_the_others():
    """A model with a better mean and one much worse class fails by that class."""
    champion = dataclasses.replace(GOOD, map50_by_class={"scratch": 0.8, "dent": 0.8})
    gate = judged(champion, map50=0.85, map50_by_class={"scratch": 0.97, "dent": 0.74})
    assert [check.name for check in gate.checks if not check.passed] == ["class dent against champion"]


def test_a_class_that_the_champion_did_not_know_is_not_compared():
    """A class that only the new model has is not compared with the champion."""
    champion = dataclasses.replace(GOOD, map50_by_class={"scratch": 0.8})
    assert judged(champion, map50_by_class={"scratch": 0.8, "dent": 0.1}).passed


def test_a_gate_without_checks_never_passes():
    """A gate document without checks does not pass."""
    assert not GateReport(model_sha256=SHA, checks=()).passed


def test_a_report_and_a_gate_are_read_as_they_were_written():
    """Report and gate document survive a round trip through JSON."""
    report = report_of(GOOD, GOOD)
    assert EvaluationReport.from_json(report.to_json()) == report
    gate = judge(report, GATES)
    assert GateReport.from_json(gate.to_json()) == gate


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [
        # R: prop.test(x, n, correct=FALSE)$conf.int
        (0, 10, 0.0, 0.27753),
        (10, 10, 0.72247, 1.0),
        (5, 10, 0.23659, 0.76341),
        (1, 20, 0.00888, 0.23613),
        (15, 148, 0.06239, 0.16051),  # Newcombe, Statistics in Medicine 17 (1998): 15/148 is 0.0624 to 0.1605
        (81, 263, 0.25526, 0.36619),  # the same: 81/263 is 0.2553 to 0.3662
    ],
)
def test_the_interval_is_wilsons(count, n, low, high):
    """The interval of a rate is Wilson's, and equals published values."""
    assert Rate(count=count, n=n).interval == pytest.approx((low, high), abs=1e-4)


def test_a_rate_over_nothing_is_not_zero():
    """A rate over no parts says that it is not measurable."""
    rate = Rate(count=0, n=0)
    assert rate.value is None
    assert rate.interval == (0.0, 1.0)
    assert str(rate) == "not measurable (n=0)"
    assert str(Rate(count=1, n=4)).startswith("0.250 (1/4, 95 % 0.05-0.70")
