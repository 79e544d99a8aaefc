"""The gate: which models may be shown to a person at all."""

import dataclasses
import json
from datetime import UTC, datetime

import pytest

from components.stores.models.comparison import RunningChampion, why_not
from components.stores.models.evaluation_report import (
    ChampionScores,
    ClassScores,
    Deployed,
    Difference,
    EvaluationReport,
    Rate,
    Scores,
    UncomparedChampion,
)
from components.stores.models.gate import GateReport, judge, judge_by
from components.stores.models.latency_report import LatencyReport
from components.use_case import Gates, UseCase
from inspection.codec import DocumentError
from inspection.decode import Nms
from inspection.documents import InputSpec
from inspection.verdict import ClassThreshold

SHA = "ab" * 32
GATES = Gates(min_map50=0.7, max_escape_rate=0.25, max_overkill_rate=0.4, min_parts=4, bound="point")
CLASS = ClassScores(
    recall=Rate(count=9, n=10), escape=Rate(count=1, n=8), overkill=Rate(count=0, n=8), precision=Rate(count=9, n=10),
    map50=0.8,
)  # fmt: skip
GOOD = Scores(
    images=40, parts=16, boxes=20, map50=0.8, map50_95=0.5, precision=0.9, recall=0.9,
    escape=Rate(count=1, n=8), overkill=Rate(count=2, n=8), map50_by_class={"scratch": 0.8},
    by_class={"scratch": CLASS, "dent": CLASS}, review=Rate(count=1, n=16), escapes_in_review=1,
)  # fmt: skip


def report_of(scores, champion=None, classes=("scratch",)):
    return EvaluationReport(
        model_sha256=SHA, dataset_digest=SHA, use_case_digest=SHA, classes=classes,
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
    assert [check.name for check in gate.checks] == [
        "test mAP50", "escape_rate", "overkill_rate", "review_rate", "class scratch",
    ]  # fmt: skip
    assert gate.failures == ""


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"map50": 0.699}, "test mAP50"),
        ({"escape": Rate(count=3, n=8)}, "escape_rate"),
        ({"overkill": Rate(count=4, n=8)}, "overkill_rate"),
        ({"review": Rate(count=5, n=16)}, "review_rate"),
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
    more = f"{4 - n} more part{'s' if n == 0 else ''}"
    assert f"not measurable (n={n}); at least {more} needed" in [check.value for check in allowed.checks]


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


def latency_of(p95):
    deployed = Deployed(threads=2, frames=60, latency_ms_p50=20, latency_ms_p95=p95, peak_memory_bytes=1)
    return LatencyReport(model_sha256=SHA, measured_at=datetime(2025, 4, 1, 12, tzinfo=UTC), deployed=deployed)


def test_the_latest_latency_is_judged_by_its_budget():
    """The 95th percentile is checked, in milliseconds a frame; another measurement gives another judgement."""
    report, slow = report_of(GOOD), latency_of(900.0)
    assert judge(report, GATES, latency=latency_of(40), latency_budget_ms=40.0).passed
    gate = judge(report, GATES, latency=slow, latency_budget_ms=40.0)
    assert gate.failures == "latency p95 is 900.0 ms, expected <= 40.0 ms"
    assert LatencyReport.from_json(slow.to_json()) == slow


def test_a_latency_that_was_not_measured_does_not_pass():
    """Without a latency the check fails, except for a report of version 1: it has its own, or was never asked."""
    assert judge(report_of(GOOD), GATES, latency_budget_ms=40.0).failures.startswith("latency p95 is not measured")
    before = dataclasses.replace(report_of(GOOD), schema_version=1)
    assert judge(before, GATES, latency_budget_ms=40.0).passed
    before = dataclasses.replace(before, deployed=latency_of(50.0).deployed)
    assert not judge(before, GATES, latency_budget_ms=40.0).passed
    assert judge(before, GATES, latency=latency_of(30.0), latency_budget_ms=40.0).passed


def test_no_class_may_pay_for_the_others():
    """A model with a better mean and one much worse class fails by that class."""
    champion = dataclasses.replace(GOOD, map50_by_class={"scratch": 0.8, "dent": 0.8})
    gate = judged(champion, map50=0.85, map50_by_class={"scratch": 0.97, "dent": 0.74})
    assert [check.name for check in gate.checks if not check.passed] == ["class dent against champion"]


def test_a_class_that_the_champion_did_not_know_is_not_compared():
    """A class that only the new model has is not compared with the champion."""
    champion = dataclasses.replace(GOOD, map50_by_class={"scratch": 0.8})
    assert judged(champion, map50_by_class={"scratch": 0.8, "dent": 0.1}).passed


def test_good_parts_that_are_all_uncertain_do_not_pass():
    """No good part is judged defective and half of the parts go to a person: the review rate fails."""
    gate = judged(overkill=Rate(count=0, n=8), review=Rate(count=8, n=16))
    assert gate.failures == "review_rate is 0.500 (8/16, 95 % 0.28-0.72), expected <= 0.250"
    allowed = GATES.model_copy(update={"max_review_rate": 1.0})
    assert "review_rate" not in [check.name for check in judged(gates=allowed, review=Rate(count=8, n=16)).checks]


UPPER = GATES.model_copy(update={"bound": "upper_95", "max_escape_rate": 0.05, "min_parts": 5})
ESCAPE_ALLOWED = UPPER.model_copy(update={"allow_not_measurable": ("escape_rate",)})


def by_the_upper_end(escape, gates=UPPER):
    """The check of the escape rate alone, by `bound: upper_95` and at most 5 %."""
    return next(check for check in judged(gates=gates, escape=escape).checks if check.name == "escape_rate")


def test_no_escape_of_five_parts_does_not_show_a_rate_of_5_percent():
    """The upper end is 43 %: not measurable, 68 parts short of the 73 that can show it. It passes where listed."""
    found = by_the_upper_end(Rate(count=0, n=5))
    assert (found.passed, found.value) == (False, "not measurable (n=5); at least 68 more parts needed")
    assert by_the_upper_end(Rate(count=0, n=5), ESCAPE_ALLOWED).passed
    assert by_the_upper_end(Rate(count=0, n=73)).passed
    assert not by_the_upper_end(Rate(count=0, n=72)).passed


def test_a_rate_whose_upper_end_is_too_high_fails_and_says_how_many_more_parts_it_would_take():
    """One escape of 100: the value keeps the bound and its upper end does not, so listing it does not help."""
    needed = Rate(count=1, n=100).parts_for(0.05)
    assert Rate(count=1, n=needed).interval[1] <= 0.05 < Rate(count=1, n=needed - 1).interval[1]
    for gates in (UPPER, ESCAPE_ALLOWED):
        found = by_the_upper_end(Rate(count=1, n=100), gates)
        assert not found.passed
        assert found.value.endswith(f"; at least {needed - 100} more parts without an error needed")
        assert found.bound == "<= 0.050 at the upper end of the interval"


def test_too_few_parts_for_the_upper_end_do_not_excuse_a_rate_that_is_too_high_already():
    """Three escapes of ten cannot become 5 % of ten: the rate is measured and fails, even where listed."""
    found = by_the_upper_end(Rate(count=3, n=10), ESCAPE_ALLOWED)
    assert not found.passed
    assert found.value == str(Rate(count=3, n=10))


def test_no_number_of_parts_shows_a_rate_of_0():
    """A use case that asks for it by the upper end is refused, and by the value it is not."""
    with pytest.raises(ValueError, match="expected max_escape_rate above 0 with bound upper_95"):
        Gates(min_map50=0.7, max_escape_rate=0.0, max_overkill_rate=0.4)
    Gates(min_map50=0.7, max_escape_rate=0.0, max_overkill_rate=0.4, bound="point")
    assert Rate(count=0, n=5).parts_for(0.0) is None


def of_two_classes(dents, gates=GATES, champion=None, **changes):
    """A model of scratches and dents, whose test split has dents on so many parts."""
    own = {"scratch": CLASS} | ({"dent": dataclasses.replace(CLASS, escape=dents)} if dents is not None else {})
    scores = dataclasses.replace(GOOD, by_class=own, **changes)
    return judge(report_of(scores, champion, ("scratch", "dent")), gates)


@pytest.mark.parametrize("n", [0, 3])
def test_a_class_that_the_test_split_hardly_holds_does_not_pass_unmeasured(n):
    """A class with defects on too few parts is not measurable, and passes only where the use case lists the class."""
    gate = of_two_classes(Rate(count=0, n=n))
    assert [check.name for check in gate.checks if not check.passed] == ["class dent"]
    assert f"class dent is not measurable (n={n}); at least {4 - n} more part" in gate.failures
    listed = GATES.model_copy(update={"allow_classes_not_measurable": ("dent",)})
    assert of_two_classes(Rate(count=0, n=n), listed).passed
    assert of_two_classes(Rate(count=0, n=4)).passed


@pytest.mark.parametrize(
    ("map50", "n", "passed", "said"),
    [
        (0.8, 4, True, "mAP50 0.800, escape"),
        (0.3, 4, True, "mAP50 0.300, escape"),
        (0.29, 4, False, "class dent is mAP50 0.290, escape"),
        (0.29, 3, False, "class dent is not measurable (n=3)"),
        (None, 4, False, "class dent is not measurable (an earlier version evaluated"),
    ],
)
def test_each_measurable_class_has_a_bound_of_its_own_if_the_use_case_gives_one(map50, n, passed, said):
    """A model that hardly finds one class does not pass by the others; one that cannot be measured does not either."""
    bounded = GATES.model_copy(update={"min_class_map50": 0.3})
    dent = dataclasses.replace(CLASS, map50=map50, escape=Rate(count=0, n=n))
    report = report_of(
        dataclasses.replace(GOOD, by_class={"scratch": CLASS, "dent": dent}), classes=("scratch", "dent")
    )
    gate = judge(report, bounded)
    (check,) = [check for check in gate.checks if check.name == "class dent"]
    assert (gate.passed, check.passed) == (passed, passed)
    assert said in (check.value if passed else gate.failures)
    assert check.bound == "mAP50 >= 0.300 on at least 4 defective parts"
    listed = bounded.model_copy(update={"allow_classes_not_measurable": ("dent",)})
    assert judge(report, listed).passed == (passed or "not measurable" in said)
    assert [c for c in judge(report, bounded, asks_classes=False).checks if c.name == "class dent"] == [check]


def test_a_gate_without_a_bound_for_classes_is_written_as_before():
    """So that the digest of a use case stays what it was."""
    assert "min_class_map50" not in GATES.model_dump(mode="json")
    bounded = GATES.model_copy(update={"min_class_map50": 0.3})
    assert Gates.model_validate(bounded.model_dump(mode="json")) == bounded


def test_one_missed_box_of_a_rare_class_decides_nothing():
    """A class on two parts is not compared with the champion: its check says that it is not measurable."""
    champion = dataclasses.replace(GOOD, map50_by_class={"scratch": 0.8, "dent": 1.0})
    listed = GATES.model_copy(update={"allow_classes_not_measurable": ("dent",)})
    gate = of_two_classes(Rate(count=1, n=2), listed, champion, map50_by_class={"scratch": 0.8, "dent": 0.5})
    assert gate.passed
    assert "class dent against champion" not in [check.name for check in gate.checks]


def test_what_an_early_report_did_not_count_is_judged_as_before_or_not_measurable():
    """A report of version 1 has no review rate and asks no class; under a use case of version 2 it passes neither."""
    before = dataclasses.replace(
        report_of(dataclasses.replace(GOOD, review=None, by_class={})), schema_version=1
    )  # fmt: skip
    gates = {"min_map50": 0.7, "max_escape_rate": 0.25, "max_overkill_rate": 0.4, "min_parts": 4}
    value = {"name": "tag", "classes": ["scratch"], "labeling": {"instructions": ""}, "gates": gates}
    assert judge_by(before, UseCase.model_validate({**value, "schema_version": 1}), None).passed
    new = {**value, "schema_version": 2, "gates": {**gates, "bound": "point"}}
    failures = judge_by(before, UseCase.model_validate(new), None).failures
    for name in ("review_rate", "class scratch"):
        assert f"{name} is not measurable (an earlier version evaluated, which did not count it)" in failures


def test_a_report_that_compares_with_another_champion_than_the_one_of_now_is_refused_with_the_way_out():
    """No champion, the champion itself, the same champion, and one that cannot be compared with are fine."""
    alone, beside = report_of(GOOD), report_of(GOOD, GOOD)  # champion version 2
    now = RunningChampion(2, SHA)
    assert why_not("tag version 3", 3, beside, now) == why_not("tag version 3", 3, beside, None) == ""
    assert why_not("tag version 2", 2, alone, now) == ""
    other = UncomparedChampion(version=2, model_sha256=SHA, reason="other classes")
    assert why_not("tag version 3", 3, dataclasses.replace(alone, uncompared=other), now) == ""
    assert why_not("tag version 3", 3, alone, now) == (
        "tag version 3 was compared with no champion, but version 2 is the champion now; "
        "evaluate it again first: kizu train --evaluate 3"
    )
    for later in (RunningChampion(4, SHA), RunningChampion(2, "cd" * 32)):
        assert "was compared with champion version 2, but version" in why_not("tag version 3", 3, beside, later)


def test_a_gate_without_checks_never_passes():
    """A gate document without checks does not pass."""
    assert not GateReport(model_sha256=SHA, checks=()).passed


def test_a_report_and_a_gate_are_read_as_they_were_written():
    """Report and gate document survive a round trip through JSON."""
    report = report_of(GOOD, GOOD)
    assert EvaluationReport.from_json(report.to_json()) == report
    gate = judge(report, GATES)
    assert GateReport.from_json(gate.to_json()) == gate


def test_a_report_of_the_former_form_is_read_and_a_later_one_is_refused():
    """Version 1 has no review rate and no rates by reason; version 3 is newer than this program."""
    old = {**json.loads(report_of(GOOD).to_json()), "schema_version": 1}
    for split in ("test", "validation"):
        for key in ("review", "escapes_in_review", "escape_by_location", "by_reason"):
            del old[split][key]
    report = EvaluationReport.from_json(json.dumps(old).encode())
    assert (report.schema_version, report.test.review, report.test.by_reason) == (1, None, {})
    assert report_of(GOOD).schema_version == 2
    with pytest.raises(DocumentError, match="schema_version 3 is newer than this program"):
        EvaluationReport.from_json(json.dumps({**old, "schema_version": 3}).encode())


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


MAP = {"classes": ("anomaly",), "output": "anomaly-map", "thresholds": {"anomaly": ClassThreshold(0.5, 0.25)}}
NO_DEFECT = dataclasses.replace(
    GOOD, map50=0.0, map50_95=0.0, boxes=0, escape=Rate(count=0, n=0), map50_by_class={}, by_class={}
)
UNKNOWN = Gates(
    min_map50=0.7, max_escape_rate=0.25, max_overkill_rate=0.4, min_parts=4, bound="point", min_image_auroc=0.9,
    allow_not_measurable=("escape_rate", "image_auroc"),
)  # fmt: skip


def of_good_parts(scores, champion=None):
    return dataclasses.replace(report_of(scores, champion), **MAP)


def test_a_model_of_good_parts_passes_without_a_defect_and_the_gate_says_what_is_not_known():
    """No mAP50 and no class is asked of it; escape and AUROC are not measurable, which the use case has to allow."""
    gate = judge(of_good_parts(NO_DEFECT), UNKNOWN)
    assert gate.passed
    said = {check.name: check.value for check in gate.checks}
    assert said.keys() == {"escape_rate", "overkill_rate", "review_rate", "image_auroc"}
    assert said["escape_rate"].startswith("not measurable (n=0)")
    assert said["image_auroc"] == "not measurable (8 good, 0 defective parts)"
    refused = judge(of_good_parts(NO_DEFECT), UNKNOWN.model_copy(update={"allow_not_measurable": ()}))
    assert [check.name for check in refused.checks if not check.passed] == ["escape_rate", "image_auroc"]


def test_overkill_stops_a_model_of_good_parts_from_the_first_day():
    """Good parts are there, so it is always measured."""
    gate = judge(of_good_parts(dataclasses.replace(NO_DEFECT, overkill=Rate(count=5, n=8))), UNKNOWN)
    assert [check.name for check in gate.checks if not check.passed] == ["overkill_rate"]


@pytest.mark.parametrize(("auroc", "passed"), [(0.95, True), (0.85, False)])
def test_its_image_auroc_is_judged_once_there_are_defects(auroc, passed):
    """And escape with it, whatever may be not measurable."""
    gate = judge(of_good_parts(dataclasses.replace(GOOD, map50=0.0, image_auroc=auroc)), UNKNOWN)
    assert gate.passed is passed
    escaping = dataclasses.replace(GOOD, image_auroc=0.95, escape=Rate(count=3, n=8))
    assert not judge(of_good_parts(escaping), UNKNOWN).passed


def test_it_is_compared_with_a_champion_of_its_kind_by_the_image_auroc():
    """Within the drop that the gate allows."""
    champion = dataclasses.replace(GOOD, map50=0.9, image_auroc=0.97)
    for auroc, passed in ((0.96, True), (0.92, False)):
        gate = judge(of_good_parts(dataclasses.replace(GOOD, map50=0.0, image_auroc=auroc), champion), UNKNOWN)
        assert gate.passed is passed
        assert gate.checks[-1].name == "image_auroc against champion version 2"


def test_a_detector_does_not_evade_its_map50_by_another_output():
    """The use case says what is trained; a report of another form does not pass."""
    base = {"name": "tag", "classes": ["scratch"], "labeling": {"instructions": ""}, "gates": UNKNOWN.model_dump()}
    detector = UseCase.model_validate(base)
    latency = LatencyReport(
        model_sha256=SHA,
        measured_at=datetime(2025, 4, 1, tzinfo=UTC),
        deployed=Deployed(threads=2, frames=60, latency_ms_p50=20, latency_ms_p95=30, peak_memory_bytes=1),
    )
    gate = judge_by(of_good_parts(NO_DEFECT), detector, latency)
    assert gate.failures == "output is anomaly-map, expected boxes, as the use case trains"
    anomaly = UseCase.model_validate({**base, "training": {"detector": "patchcore"}})
    assert judge_by(of_good_parts(NO_DEFECT), anomaly, latency).passed
    assert not judge_by(report_of(GOOD), anomaly, latency).passed
