"""Acceptance rules: a table of rules and what they decide, and what holds for all rules and all detections."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.tightening import Tightening
from inspection.acceptance import (
    LIMITS,
    Acceptance,
    AcceptanceRule,
    RuleState,
    Severity,
    When,
    judge,
    severity_of,
)
from inspection.geometry import Box, Detection
from inspection.part_view import PartView, Zone, gap
from inspection.verdict import ClassThreshold, Verdict, decide

THRESHOLDS = {"scratch": ClassThreshold(0.5, 0.25), "dent": ClassThreshold(0.8, 0.4)}
SCALED = PartView(mm_per_px=0.1)
PLACED = PartView(mm_per_px=0.1, origin_px=(100.0, 100.0))
FACE = Zone(points=((0.0, 0.0), (5.0, 0.0), (5.0, 5.0), (0.0, 5.0)))


def found(*items, name="scratch"):
    """Each: score, x, width, height of a box; at y = 0."""
    return [Detection(name, score, Box(x, 0, width, height)) for score, x, width, height in items]


def rule(**values) -> Acceptance:
    """One rule about scratches."""
    return Acceptance(rules=(AcceptanceRule(**{"name": "marks", "classes": ("scratch",)} | values),))


ON_FACE = Acceptance(
    rules=(AcceptanceRule(name="marks", classes=("scratch",), zone="face"),), zones={"face": FACE}
)  # fmt: skip


def said(detections, acceptance, view=SCALED):
    """Verdict, gravest broken severity, and name and state of the first rule that was not kept."""
    judged = judge(detections, THRESHOLDS, acceptance, view)
    first = judged.outcomes[0] if judged.outcomes else None
    return judged.verdict, severity_of(judged.outcomes), (first.rule, first.state) if first else None


PASS, FAIL, UNCERTAIN = Verdict.PASS, Verdict.FAIL, Verdict.UNCERTAIN
BROKEN, DOUBT, NOT_JUDGED = ("marks", RuleState.BROKEN), ("marks", RuleState.IN_DOUBT), ("marks", RuleState.NOT_JUDGED)
SURE, MAYBE = (0.9, 0, 20, 4), (0.3, 0, 20, 4)  # 2 mm long


@pytest.mark.parametrize(
    ("limits", "detections", "expected"),
    [
        # A rule without a limit tolerates nothing.
        ({}, [], (PASS, None, None)),
        ({}, [SURE], (FAIL, Severity.REJECT, BROKEN)),
        ({}, [MAYBE], (UNCERTAIN, None, DOUBT)),
        ({"severity": Severity.REWORK}, [SURE], (FAIL, Severity.REWORK, BROKEN)),
        ({"severity": Severity.REWORK}, [MAYBE], (UNCERTAIN, None, DOUBT)),
        ({"severity": Severity.NOTE}, [SURE], (PASS, Severity.NOTE, BROKEN)),
        ({"severity": Severity.NOTE}, [MAYBE], (PASS, None, DOUBT)),
        # The longest side. Exactly at the limit is tolerated.
        ({"max_longest_side_px": 20}, [SURE], (PASS, None, None)),
        ({"max_longest_side_px": 19.9}, [SURE], (FAIL, Severity.REJECT, BROKEN)),
        ({"max_longest_side_mm": 2.0}, [SURE], (PASS, None, None)),
        ({"max_longest_side_mm": 1.99}, [SURE], (FAIL, Severity.REJECT, BROKEN)),
        ({"max_longest_side_mm": 2.0}, [MAYBE], (PASS, None, None)),
        ({"max_longest_side_mm": 1.0}, [MAYBE], (UNCERTAIN, None, DOUBT)),
        ({"max_longest_side_mm": 1.0}, [(0.9, 0, 4, 20)], (FAIL, Severity.REJECT, BROKEN)),
        # Areas: of one, and of all together.
        ({"max_area_px2": 80}, [SURE, SURE], (PASS, None, None)),
        ({"max_area_px2": 79}, [SURE], (FAIL, Severity.REJECT, BROKEN)),
        ({"max_area_mm2": 0.8}, [SURE], (PASS, None, None)),
        ({"max_area_mm2": 0.7}, [SURE], (FAIL, Severity.REJECT, BROKEN)),
        ({"max_total_area_px2": 159}, [SURE, SURE], (FAIL, Severity.REJECT, BROKEN)),
        ({"max_total_area_mm2": 1.6}, [SURE, SURE], (PASS, None, None)),
        ({"max_total_area_mm2": 1.5}, [SURE, MAYBE], (UNCERTAIN, None, DOUBT)),
        # The number.
        ({"max_count": 1}, [SURE], (PASS, None, None)),
        ({"max_count": 1}, [SURE, MAYBE], (UNCERTAIN, None, DOUBT)),
        ({"max_count": 1}, [SURE, SURE], (FAIL, Severity.REJECT, BROKEN)),
        ({"max_count": 0}, [SURE], (FAIL, Severity.REJECT, BROKEN)),
        # The distance between two: from 20 to 30 there are 10 pixels, 1 mm.
        ({"min_distance_px": 10}, [SURE, (0.9, 30, 5, 5)], (PASS, None, None)),
        ({"min_distance_px": 11}, [SURE, (0.9, 30, 5, 5)], (FAIL, Severity.REJECT, BROKEN)),
        ({"min_distance_mm": 1.0}, [SURE, (0.9, 30, 5, 5)], (PASS, None, None)),
        ({"min_distance_mm": 1.1}, [SURE, (0.3, 30, 5, 5)], (UNCERTAIN, None, DOUBT)),
        ({"min_distance_mm": 1.1}, [SURE], (PASS, None, None)),
        # The least score: below it a detection is a doubt, and never nothing.
        ({"min_score": 0.95}, [SURE], (UNCERTAIN, None, DOUBT)),
        ({"min_score": 0.2}, [(0.45, 0, 20, 4)], (UNCERTAIN, None, DOUBT)),
        # One limit is enough, or all must be broken by the same defects.
        ({"max_longest_side_px": 10, "max_count": 3}, [SURE], (FAIL, Severity.REJECT, BROKEN)),
        ({"max_longest_side_px": 10, "max_count": 1, "when": When.ALL}, [SURE], (PASS, None, None)),
        (
            {"max_longest_side_px": 10, "max_count": 1, "when": When.ALL},
            [SURE, SURE],
            (FAIL, Severity.REJECT, BROKEN),
        ),
        ({"max_longest_side_px": 10, "max_count": 1, "when": When.ALL}, [SURE, (0.9, 50, 5, 5)], (PASS, None, None)),
        ({"max_longest_side_px": 10, "max_area_px2": 90, "when": When.ALL}, [SURE], (PASS, None, None)),
        ({"max_longest_side_px": 10, "max_area_px2": 70, "when": When.ALL}, [SURE], (FAIL, Severity.REJECT, BROKEN)),
    ],
)
def test_a_rule_decides_by_its_limits(limits, detections, expected):
    """Boxes of 20 x 4 pixels, at 0.1 mm a pixel: 2.0 x 0.4 mm, 0.8 mm2."""
    assert said(found(*detections), rule(**limits)) == expected


def test_without_rules_the_verdict_is_that_of_the_thresholds():
    """A release without the section is judged as before, and a rule-less section by its class is too."""
    for detections in ([], found(SURE), found(MAYBE), found((0.1, 0, 5, 5))):
        assert judge(detections, THRESHOLDS).verdict is decide(detections, THRESHOLDS)
        assert judge(detections, THRESHOLDS).outcomes == ()
        empty = judge(detections, THRESHOLDS, Acceptance(rules=()))
        assert empty.verdict is decide(detections, THRESHOLDS)


def test_a_class_that_no_rule_names_fails_as_before():
    """A tolerance for scratches tolerates no dent."""
    acceptance = rule(max_longest_side_px=1000)
    assert said(found((0.9, 0, 5, 5), name="dent"), acceptance)[::2] == (FAIL, ("dent", RuleState.BROKEN))
    assert said(found((0.5, 0, 5, 5), name="dent"), acceptance)[::2] == (UNCERTAIN, ("dent", RuleState.IN_DOUBT))


def test_a_class_that_the_release_does_not_know_is_an_error():
    """A guess about it would not be safe, with rules as without."""
    with pytest.raises(KeyError):
        judge(found((0.01, 0, 5, 5), name="stain"), THRESHOLDS, rule())


@pytest.mark.parametrize(
    ("view", "why"),
    [
        (PartView(), "no-scale"),
        (PartView(mm_per_px=0.1, size_px=(640, 480)).of_picture(320, 240), "other-size"),
    ],
)
def test_a_limit_in_millimetres_without_a_scale_is_uncertain_with_the_reason(view, why):
    """Never pass: the defect may be larger than is tolerated. Without any detection nothing can be broken."""
    for limits in ({"max_longest_side_mm": 1000.0}, {"min_distance_mm": 0.001}, {"max_total_area_mm2": 1e6}):
        judged = judge(found(SURE, (0.9, 50, 5, 5)), THRESHOLDS, rule(**limits), view)
        assert (judged.verdict, judged.unmeasured) == (UNCERTAIN, why)
        assert [(item.state, item.reason) for item in judged.outcomes] == [(RuleState.NOT_JUDGED, why)]
        assert judge([], THRESHOLDS, rule(**limits), view).verdict is PASS


def test_a_limit_that_can_be_measured_decides_beside_one_that_cannot():
    """Too many is too many, whatever their size; and a note that cannot be judged is no doubt about the part."""
    acceptance = rule(max_longest_side_mm=5.0, max_count=1)
    assert said(found(SURE, SURE), acceptance, PartView())[0] is FAIL
    assert said(found(SURE), acceptance, PartView())[0] is UNCERTAIN
    assert said(found(SURE), rule(max_longest_side_mm=5.0, severity=Severity.NOTE), PartView())[0] is PASS


def test_a_rule_in_a_zone_is_about_what_touches_it():
    """The face lies from 100 to 150 pixels in both directions, at 0.1 mm a pixel."""
    acceptance = ON_FACE
    for box, expected in [
        (Box(120, 120, 5, 5), FAIL),
        (Box(90, 90, 5, 5), PASS),
        (Box(145, 145, 50, 50), FAIL),
        (Box(0, 0, 500, 500), FAIL),
        (Box(95, 110, 5, 5), FAIL),  # it touches the border
    ]:
        assert judge([Detection("scratch", 0.9, box)], THRESHOLDS, acceptance, PLACED).verdict is expected


def test_a_zone_turns_with_the_part():
    """Turned by 90 degrees clockwise, the face lies to the left of the origin, and not to its right."""
    acceptance = ON_FACE
    turned = replace(PLACED, angle_deg=90.0)
    left, right = Box(60, 120, 5, 5), Box(120, 120, 5, 5)
    assert judge([Detection("scratch", 0.9, left)], THRESHOLDS, acceptance, turned).verdict is FAIL
    assert judge([Detection("scratch", 0.9, right)], THRESHOLDS, acceptance, turned).verdict is PASS


@pytest.mark.parametrize(
    ("view", "why"),
    [(PartView(), "no-part-frame"), (SCALED, "no-part-frame"), (PartView(origin_px=(0.0, 0.0)), "no-scale")],
)
def test_a_zone_without_part_coordinates_is_uncertain_with_the_reason(view, why):
    """A defect may lie in the zone; and with a zone in pixels no scale is needed."""
    acceptance = ON_FACE
    judged = judge(found(SURE), THRESHOLDS, acceptance, view)
    assert (judged.verdict, judged.unmeasured) == (UNCERTAIN, why)
    in_pixels = replace(acceptance, zones={"face": replace(FACE, unit="px")})
    if view.origin_px is not None:
        assert judge(found(SURE), THRESHOLDS, in_pixels, view).verdict is FAIL


def test_a_size_within_the_uncertainty_of_the_scale_is_uncertain():
    """20 pixels at 0.1 mm, give or take 0.01, are 1.8 to 2.2 mm."""
    view = PartView(mm_per_px=0.1, mm_per_px_uncertainty=0.01)
    for limit, expected in [(1.7, FAIL), (1.9, UNCERTAIN), (2.1, UNCERTAIN), (2.3, PASS)]:
        assert said(found(SURE), rule(max_longest_side_mm=limit), view)[0] is expected
    near = found(SURE, (0.9, 30, 5, 5))  # 0.9 to 1.1 mm apart
    for limit, expected in [(0.8, PASS), (1.0, UNCERTAIN), (1.2, FAIL)]:
        assert said(near, rule(min_distance_mm=limit), view)[0] is expected


def test_the_gravest_broken_rule_comes_first():
    """A rejected part is not told as one that can be mended, and a doubt is told beside what is sure."""
    acceptance = Acceptance(
        rules=(
            AcceptanceRule(name="seen", classes=("scratch",), severity=Severity.NOTE),
            AcceptanceRule(name="short", classes=("scratch",), severity=Severity.REWORK, max_longest_side_px=10),
            AcceptanceRule(name="long", classes=("scratch",), max_longest_side_px=30),
            AcceptanceRule(name="many", classes=("scratch",), max_count=1),
        )
    )
    judged = judge(found((0.9, 0, 40, 4), MAYBE), THRESHOLDS, acceptance)
    assert [(item.rule, str(item.state)) for item in judged.outcomes] == [
        ("long", "broken"), ("short", "broken"), ("seen", "broken"), ("many", "in-doubt")
    ]  # fmt: skip
    assert severity_of(judged.outcomes) is Severity.REJECT
    assert said(found(SURE), acceptance)[1] is Severity.REWORK


def test_boxes_that_touch_are_no_distance_apart():
    """Beside each other, above each other, and diagonally: 3-4-5."""
    a = Box(0, 0, 10, 10)
    assert [gap(a, Box(*b, 5, 5)) for b in [(10, 0), (5, 5), (14, 0), (0, 12), (13, 14)]] == [0, 0, 4, 2, 5]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AcceptanceRule(name="", classes=("scratch",)), "needs a name"),
        (lambda: AcceptanceRule(name="a", classes=()), "at least one class"),
        (lambda: AcceptanceRule(name="a", classes=("b",), max_area_px2=-1), "not negative"),
        (lambda: AcceptanceRule(name="a", classes=("b",), min_score=2), "0..1"),
        (lambda: rule(zone="face"), "one of the zones"),
        (lambda: Acceptance(rules=(*rule().rules, *rule().rules)), "a name of its own"),
        (lambda: Zone(points=((0, 0), (1, 1))), "at least three"),
        (lambda: Zone(points=((0, 0), (1, 1), (2, 2))), "one line"),
        (lambda: Zone(points=((0, 0), (1, 1), (2, 0)), unit="inch"), "mm or px"),
        (lambda: PartView(mm_per_px=0.0), "above 0"),
        (lambda: PartView(mm_per_px=0.1, mm_per_px_uncertainty=0.1), "below mm_per_px"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_at_birth(make, message):
    """The message says what was expected."""
    with pytest.raises(ValueError, match=message):
        make()


# -- what holds for all rules ------------------------------------------------------------------------------------------

SIZES = st.floats(0.5, 60.0)
BOXES = st.builds(Box, st.floats(0, 200), st.floats(0, 200), SIZES, SIZES)
DETECTIONS = st.lists(
    st.builds(Detection, st.sampled_from(["scratch", "dent"]), st.floats(0, 1), BOXES), max_size=5
)  # fmt: skip
VALUES = {name: st.none() | st.floats(0, 60) for name in LIMITS} | {"max_count": st.none() | st.integers(0, 3)}
RULES = st.builds(
    AcceptanceRule,
    name=st.just("one"),
    classes=st.sampled_from([("scratch",), ("scratch", "dent")]),
    severity=st.sampled_from(Severity),
    when=st.sampled_from(When),
    zone=st.sampled_from([None, "face"]),
    min_score=st.none() | st.floats(0, 1),
    **VALUES,
)
ACCEPTANCES = RULES.map(
    lambda one: Acceptance(
        rules=(one, AcceptanceRule(name="two", classes=("dent",), max_count=1)), zones={"face": FACE}
    )
)
VIEWS = st.sampled_from(
    [PartView(), SCALED, PLACED, PartView(mm_per_px=0.1, mm_per_px_uncertainty=0.03, origin_px=(100.0, 100.0))]
)
_WORSE = {Verdict.PASS: 0, Verdict.UNCERTAIN: 1, Verdict.FAIL: 2}
QUICK = settings(max_examples=150, deadline=None, derandomize=True)


def verdict(detections, acceptance, view):
    return _WORSE[judge(detections, THRESHOLDS, acceptance, view).verdict]


@QUICK
@given(DETECTIONS, DETECTIONS, ACCEPTANCES, VIEWS)
def test_more_defects_never_make_a_part_better(some, more, acceptance, view):
    """Neither does a defect that comes in the zone of another, or beside it."""
    assert verdict(some + more, acceptance, view) >= verdict(some, acceptance, view)


@QUICK
@given(DETECTIONS, ACCEPTANCES, VIEWS, st.floats(0.1, 1.0), st.dictionaries(st.sampled_from(LIMITS), st.floats(0, 60)))
def test_what_a_device_asks_never_makes_a_part_better(detections, acceptance, view, factor, limits):
    """Whatever stands in the device's file, tighter or not, the part is judged at least as strictly."""
    tightened, _ = Tightening(factor, {"one": limits}).of(acceptance)
    assert verdict(detections, tightened, view) >= verdict(detections, acceptance, view)


@QUICK
@given(DETECTIONS, ACCEPTANCES, VIEWS)
def test_a_surer_model_and_a_better_known_view_settle_a_doubt_only(detections, acceptance, view):
    """What is pass or fail without knowing the scale is so with any scale that may be true."""
    unknown = judge(detections, THRESHOLDS, acceptance, PartView()).verdict
    known = judge(detections, THRESHOLDS, acceptance, view).verdict
    assert unknown is Verdict.UNCERTAIN or known is unknown


@QUICK
@given(DETECTIONS, ACCEPTANCES, VIEWS)
def test_a_part_fails_exactly_where_a_detection_is_to_blame(detections, acceptance, view):
    """Evaluation counts who is to blame, and a device tells the verdict."""
    judged = judge(detections, THRESHOLDS, acceptance, view)
    assert bool(judged.accusing) == (judged.verdict is Verdict.FAIL)
