"""Whether the int8 variant is kept: by its scores, the gate, the golden samples, and only then by its speed."""

import dataclasses

import pytest

from components.evaluation.int8 import Compared, decide
from components.evaluation.latency import Timed
from components.stores.models.evaluation_report import ClassScores, Deployed, Rate, Scores
from components.use_case import Gates
from inspection.image import sha256_of

GATES = Gates(min_map50=0.5, max_escape_rate=0.25, max_overkill_rate=0.25, min_parts=4, bound="point")
SCORES = Scores(
    images=20, parts=20, boxes=12, map50=0.8, map50_95=0.5, precision=0.9, recall=0.9,
    escape=Rate(count=1, n=8), overkill=Rate(count=1, n=8), map50_by_class={"scratch": 0.8},
    review=Rate(count=1, n=16),
)  # fmt: skip


def timed(*ms):
    return Timed(
        Deployed(threads=2, frames=len(ms), latency_ms_p50=ms[0], latency_ms_p95=ms[0], peak_memory_bytes=1), ms
    )


def decided(*, ms=(8.0,) * 10, golden=(), validation=None, gates=GATES, full=None, **test):
    fp32 = Compared(SCORES, dataclasses.replace(SCORES, by_class=full or {}), timed(*(10.0,) * len(ms)))
    own = Compared(
        dataclasses.replace(SCORES, map50=validation or 0.8), dataclasses.replace(SCORES, **test), timed(*ms)
    )
    return decide(b"int8", own, fp32, gates, golden)


def test_a_variant_that_loses_hardly_anything_and_is_faster_is_kept():
    """The report has its digest, its scores and both figures in the reason; a loss of 0.01 is allowed."""
    found = decided(map50=0.79, validation=0.79)
    assert found.kept
    assert (found.model_sha256, found.bytes, found.test.map50) == (sha256_of(b"int8"), 4, 0.79)
    assert "-0.0100 on test" in found.reason
    assert "8.0 ms instead of 10.0 ms" in found.reason


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"map50": 0.789}, "it loses 0.0110 mAP50 on test"),
        ({"validation": 0.78}, "it loses 0.0200 mAP50 on validation"),
        ({"escape": Rate(count=3, n=8)}, "its escape rate is 0.375"),
        ({"overkill": Rate(count=4, n=8)}, "its overkill rate is 0.500"),
        ({"review": Rate(count=8, n=16)}, "its review rate is 0.500"),
        ({"golden": ("expected scratch 0.9",)}, "does not reproduce a golden sample: expected scratch 0.9"),
        ({"ms": (10.5,) * 10}, "not faster here: p50 10.50 ms instead of 10.00 ms"),
        ({"ms": (10.0,) * 10}, "not faster"),
        ({"ms": (9.0,) * 5 + (9.9,) + (11.0,) * 4, "map50": 0.7}, "it loses 0.1000 mAP50 on test"),
    ],
)
def test_each_reason_alone_leaves_it_out_and_is_named(changes, said):
    """Each reason names what was measured and what was expected."""
    found = decided(**changes)
    assert not found.kept
    assert said in found.reason
    assert found.model_sha256 == sha256_of(b"int8"), "what was measured stays on record"


@pytest.mark.parametrize(
    ("map50", "n", "least", "kept"),
    [(0.69, 8, 0.7, False), (0.7, 8, 0.7, True), (0.69, 3, 0.7, True), (0.69, 8, None, True), (0.8, 8, 0.9, True)],
)
def test_it_keeps_the_bound_of_each_measurable_class(map50, n, least, kept):
    """A class below the bound leaves it out, unless the fp32 model is no better or the parts are too few to tell."""
    rate = Rate(count=1, n=n)
    dent = ClassScores(recall=rate, escape=rate, overkill=rate, precision=rate, map50=0.8)
    found = decided(
        gates=GATES.model_copy(update={"min_class_map50": least}),
        full={"dent": dent},
        by_class={"dent": dataclasses.replace(dent, map50=map50)},
    )
    assert found.kept is kept
    assert ("its mAP50 of dent is 0.690, expected >= 0.700" in found.reason) is not kept


def test_being_ahead_by_chance_is_not_being_faster():
    """A lower median is not enough where the variant is ahead in little more than half of the rounds."""
    assert "ahead in 55% of the rounds" in decided(ms=(9.0,) * 11 + (11.0,) * 9).reason


def test_with_too_few_parts_to_tell_it_must_be_no_worse_than_the_model_it_came_from():
    """With too few parts for the gate's rate, two escapes are refused where the fp32 model has one."""
    gates = GATES.model_copy(update={"min_parts": 20})
    assert not decided(gates=gates, escape=Rate(count=2, n=8)).kept
    assert decided(gates=gates, escape=Rate(count=1, n=8)).kept


def test_by_the_upper_end_the_variant_is_judged_by_the_upper_end():
    """Two escapes of eight keep a bound of 25 % by their value. Their upper end lies above the fp32 model's."""
    assert decided(escape=Rate(count=2, n=8)).kept
    gates = GATES.model_copy(update={"bound": "upper_95"})
    assert decided(gates=gates, escape=Rate(count=2, n=8)).reason.startswith("its escape rate is 0.250")
    assert decided(gates=gates, escape=Rate(count=1, n=8)).kept


def test_a_model_that_fails_the_gate_itself_is_no_excuse_for_a_worse_variant():
    """A rate above the bound that is no worse than the fp32 model's is no reason against the variant."""
    gates = GATES.model_copy(update={"max_escape_rate": 0.0})
    assert decided(gates=gates).kept
    assert not decided(gates=gates, escape=Rate(count=2, n=8)).kept
