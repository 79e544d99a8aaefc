"""Whether a line still shows what its release learned from: a line that changes, and lines that do not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from components.generated_parts.photographs import LineGenerator
from inspection.drift import (
    BRIGHTNESS_EDGES,
    SCORE_EDGES,
    SHARPNESS_EDGES,
    SIZE_EDGES,
    DetectionCounts,
    DriftReference,
    LineWindow,
    LineWindows,
    PictureCounts,
    count_pictures,
)
from inspection.image import decode_image
from inspection.picture import measure
from inspection.preprocess import Preprocess, letterbox
from reconciler.drift import LEAST_VALUES, Quantity, State, corrected_for_many, difference, judge_drift

NOON = datetime(2025, 4, 1, 12, 0, tzinfo=UTC)
SHA = "a" * 64
PROMISED = 0.01
"""The share of stable lines that may raise an alert."""


def binned(values, edges):
    return tuple(np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1).tolist())


def side(rng, pictures, found, *, lamp=1.0, soft=1.0, sure=0.0, near=1.0, name="scratch"):
    """What a line shows in `pictures` pictures with `found` boxes; the rest says how it differs from a usual line."""
    verdicts = {"pass": pictures - found // 2, "fail": found // 2}
    return (
        PictureCounts(
            brightness=binned(lamp * rng.normal(110, 9, pictures), BRIGHTNESS_EDGES),
            sharpness=binned(soft * rng.lognormal(5, 0.3, pictures), SHARPNESS_EDGES),
        ),
        DetectionCounts(
            verdicts=verdicts,
            scores={name: binned(np.clip(rng.beta(6, 2, found) - sure, 0, 1), SCORE_EDGES)},
            sizes={name: binned(near * rng.lognormal(-2.5, 0.4, found), SIZE_EDGES)},
        ),
    )


def reference_of(pictures, detections):
    return DriftReference(pictures=pictures, detections=detections)


def line_of(*sides, device="line-1"):
    windows = tuple(
        LineWindow(since=NOON + timedelta(hours=n), until=NOON + timedelta(hours=n + 1), pictures=a, detections=b)
        for n, (a, b) in enumerate(sides)
    )
    return LineWindows(device=device, use_case="metal-tag", release_digest=SHA, windows=windows[-2:])


def judged(line, reference):
    return {(one.quantity, one.class_name): one for one in judge_drift([line], {SHA: reference})}


@pytest.fixture
def rng():
    return np.random.default_rng(4)


CHANGES = [
    (Quantity.BRIGHTNESS, "", {"lamp": 0.85}, 0.85),
    (Quantity.SHARPNESS, "", {"soft": 0.6}, 0.6),
    (Quantity.SCORE, "scratch", {"sure": 0.15}, 0.8),
    (Quantity.SIZE, "scratch", {"near": 1.5}, 1.5),
]


@pytest.mark.parametrize(("quantity", "name", "change", "factor"), CHANGES)
def test_what_changes_in_two_windows_is_an_alert_that_says_from_what_to_what(rng, quantity, name, change, factor):
    """The quantity that changed, and no other one; the medians are those of the two sides."""
    line = line_of(side(rng, 800, 600, **change), side(rng, 800, 600, **change))
    found = judged(line, reference_of(*side(rng, 800, 600)))
    assert {key for key, one in found.items() if one.state is State.ALERT} == {(quantity, name)}
    alert = found[quantity, name]
    assert (alert.device, alert.latest.psi >= 0.2, alert.latest.p <= 0.01) == ("line-1", True, True)
    assert alert.to_median / alert.from_median == pytest.approx(factor, rel=0.08)
    assert alert.advice


def test_a_change_in_one_window_is_watched(rng):
    """The next window decides; before a second window is there, nothing is more than watched."""
    reference = reference_of(*side(rng, 300, 100))
    usual, dark = side(rng, 500, 120), side(rng, 500, 120, lamp=0.8)
    for line in (line_of(usual, dark), line_of(dark)):
        assert judged(line, reference)[Quantity.BRIGHTNESS, ""].state is State.WATCHED
    assert judged(line_of(dark, usual), reference)[Quantity.BRIGHTNESS, ""].state is State.STEADY


def test_a_small_change_is_none_however_many_frames_show_it(rng):
    """With 100,000 frames a lamp that lost 1 % is significant, and nobody's work."""
    reference = reference_of(*side(rng, 100_000, 50_000))
    line = line_of(*(side(rng, 100_000, 50_000, lamp=0.99) for _ in range(2)))
    one = judged(line, reference)[Quantity.BRIGHTNESS, ""]
    assert (one.state, one.latest.p < 0.01, one.latest.psi < 0.2) == (State.STEADY, True, True)


def test_too_few_values_say_nothing(rng):
    """On either side; the reason says how many there are. A class without a detection on one side is such a case."""
    few, many = side(rng, LEAST_VALUES - 1, 10, lamp=0.3), side(rng, 500, 120)
    for line, reference in ((line_of(few, few), many), (line_of(many, many), few)):
        one = judged(line, reference_of(*reference))[Quantity.BRIGHTNESS, ""]
        assert (one.state, "29 values, of 30" in one.reason) == (State.TOO_FEW, True)
    other = side(rng, 500, 120, name="dent")
    found = judged(line_of(other, other), reference_of(*many))
    assert {found[Quantity.SCORE, name].state for name in ("dent", "scratch")} == {State.TOO_FEW}


def test_without_a_reference_and_with_other_bins_nothing_is_compared(rng):
    """A release of before says nothing of what it learned; a newer agent's bins are others."""
    usual = side(rng, 500, 120)
    assert {one.state for one in judged(line_of(usual), None).values()} == {State.NO_REFERENCE}
    bare = replace(reference_of(*usual), pictures=None)
    found = judged(line_of(usual, usual), bare)
    assert found[Quantity.BRIGHTNESS, ""].state is State.NO_REFERENCE
    assert found[Quantity.SCORE, "scratch"].state is State.STEADY
    newer = (PictureCounts(brightness=(500,), sharpness=(500,), bins=2), usual[1])
    assert judged(line_of(newer, newer), reference_of(*usual))[Quantity.BRIGHTNESS, ""].state is State.TOO_FEW


def test_a_reference_that_a_large_window_shares_nothing_with_is_far_away():
    """Thirty values in one bin against 12,000 in another: the few are not lost among the many."""
    far = difference((30, 0, 0), (0, 0, 12_000))
    assert (far.ks, far.psi > 2, far.p < 1e-6) == (1.0, True, True)
    assert difference((30, 0, 0), (12_000, 0, 0)).psi == 0.0


def test_the_tests_are_those_of_scipy(rng):
    """The p-value is twice the smaller one of scipy's chi-square test on the joined bins and its asymptotic KS test."""
    from scipy.stats import chi2_contingency, kstwobign

    ours, theirs = rng.multinomial(200, [0.2, 0.5, 0.3]), rng.multinomial(400, [0.3, 0.5, 0.2])
    found = difference(tuple(ours), tuple(theirs))
    bins = chi2_contingency([ours, theirs], correction=False).pvalue
    steps = kstwobign.sf(found.ks * (200 * 400 / 600) ** 0.5)
    assert found.p == pytest.approx(2 * min(bins, steps))


def test_p_values_are_corrected_for_the_number_of_comparisons(rng):
    """A change that one device's four comparisons show weakly is not significant among those of 61 devices."""
    reference = reference_of(*side(rng, 60, 60))
    weak = line_of(*(side(rng, 60, 60, lamp=0.93) for _ in range(2)), device="weak")
    alone = judge_drift([weak], {SHA: reference})[0]
    others = [line_of(*(side(rng, 60, 60) for _ in range(2)), device=f"d{n}") for n in range(60)]
    among = judge_drift([*others, weak], {SHA: reference})
    assert alone.latest.p < next(one for one in among if one.device == "weak").latest.p


def rejecting(window, rng):
    """The window with as many rejected parts as a line has that rejects one in twenty."""
    frames = window.detections.frames
    fail = int(rng.binomial(frames, 0.05))
    return replace(window, detections=replace(window.detections, verdicts={"pass": frames - fail, "fail": fail}))


@pytest.mark.parametrize("sizes", [(40, 30, 500, 40), (300, 100, 500, 120), (2000, 900, 500, 60)])
def test_stable_lines_raise_no_more_false_alarms_than_promised(sizes):
    """100 seeded lines that show what their release learned from: at most one of them raises an alert."""
    alarms = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        reference = reference_of(*side(rng, *sizes[:2]))
        line = line_of(*(side(rng, *sizes[2:]) for _ in range(2)))
        first, *later = (rejecting(window, rng) for window in (line.windows[0], *line.windows))
        line = replace(line, first=replace(first, since=NOON - timedelta(days=1)), windows=tuple(later))
        assert (Quantity.VERDICTS, "") in judged(line, reference)
        alarms += any(one.state is State.ALERT for one in judged(line, reference).values())
    assert alarms <= 100 * PROMISED


def test_verdicts_are_compared_with_the_first_window_of_the_release_on_the_device(rng):
    """A line that rejects more and more is an alert; the first window itself is compared with nothing."""
    reference = reference_of(*side(rng, 400, 200))
    few, many = side(rng, 500, 20), side(rng, 500, 240)

    def verdicts(*sides, first):
        line = line_of(*sides)
        one = judged(replace(line, first=first or line.windows[0]), reference)[Quantity.VERDICTS, ""]
        return one.state, one.from_median, one.to_median

    earlier = replace(line_of(few).windows[0], since=NOON - timedelta(days=1))
    assert verdicts(few, first=None) == (State.TOO_FEW, 0.02, None)
    assert verdicts(few, many, first=None) == (State.WATCHED, 0.02, 0.24)
    assert verdicts(many, many, first=earlier) == (State.ALERT, 0.02, 0.24)
    assert verdicts(few, few, first=earlier) == (State.STEADY, 0.02, 0.02)
    assert (Quantity.VERDICTS, "") not in judged(line_of(few, many), reference), "an agent that tells no first window"


# -- on pictures ------------------------------------------------------------------------------------------------------


def pictures_of(line, parts):
    size = Preprocess(160, 96)
    images = (decode_image(photo.jpeg) for photo in line.photographs(parts))
    return count_pictures(measure(*letterbox(image, size)) for image in images)


def test_a_lamp_that_ages_is_flagged_within_three_windows_and_a_new_one_is_not():
    """Pictures of generated parts, 32 in a window; from window to window the lamp gives a tenth less."""
    line = LineGenerator(seed=11, photographs_per_part=2, width=192, height=128)
    nothing = DetectionCounts(verdicts={}, scores={}, sizes={})
    reference = DriftReference(pictures=pictures_of(line, range(20)), detections=nothing)

    def states(lamps):
        windows = [
            (pictures_of(replace(line, lamp=lamp), range(20 + 16 * n, 36 + 16 * n)), nothing)
            for n, lamp in enumerate(lamps)
        ]
        lines = (line_of(*windows[: n + 1]) for n in range(len(windows)))
        return [judged(line, reference)[Quantity.BRIGHTNESS, ""].state for line in lines]

    assert State.ALERT in states([0.9, 0.8, 0.7])
    assert states([1.0, 1.0]) == [State.STEADY, State.STEADY]


def test_p_values_are_corrected_as_scipy_corrects_them():
    """Ties, zeros and ones included; one value stays as it is."""
    from scipy.stats import false_discovery_control

    rng = np.random.default_rng(3)
    for size in (1, 2, 7, 400):
        p = [*rng.random(size).tolist(), *([0.0, 1.0, 0.5, 0.5] if size > 2 else [])]
        assert corrected_for_many(p) == pytest.approx(false_discovery_control(p).tolist())
