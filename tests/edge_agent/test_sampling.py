"""Which frames go back: by score, by a chance that the frame itself decides, within a quota."""

from __future__ import annotations

import hashlib

import pytest

from edge_agent.config import SamplingLimits
from edge_agent.sampling import Quota, reason_to_send, share, tightened
from inspection import Box, ClassThreshold, Detection, Inspection, Reason, Sampling, Verdict

THRESHOLDS = {"scratch": ClassThreshold(fail=0.8, uncertain=0.5)}
FRAMES = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(4000)]


def found(*scores):
    return tuple(Detection("scratch", score, Box(0, 0, 10, 10)) for score in scores)


def reason(inspection, sha256=FRAMES[0], **policy):
    return reason_to_send(
        inspection, THRESHOLDS, Sampling(**{"uncertain_low": 0.3, "uncertain_high": 0.7} | policy), sha256
    )


@pytest.mark.parametrize(
    ("inspection", "expected"),
    [
        (Inspection((), Verdict.PASS), None),
        (Inspection(found(0.95), Verdict.FAIL), None),
        (Inspection(found(0.75), Verdict.UNCERTAIN), Reason.UNCERTAIN),
        (Inspection(found(0.3), Verdict.PASS), Reason.UNCERTAIN),
        (Inspection(found(0.7), Verdict.UNCERTAIN), Reason.UNCERTAIN),
        (Inspection(found(0.29), Verdict.PASS), None),
        (Inspection(found(0.95, 0.4), Verdict.FAIL), Reason.UNCERTAIN),
    ],
)
def test_frames_near_the_threshold_go_back(inspection, expected):
    """A frame with a clear answer is not sent as uncertain."""
    assert reason(inspection) is expected


def test_rates_are_met_and_the_same_frame_always_gets_the_same_answer():
    """Sampling meets the rates, and a frame always gets the same answer, because its hash decides."""
    nothing = Inspection((), Verdict.PASS)
    first = [reason(nothing, sha256, nothing_found_rate=0.1, control_rate=0.05) for sha256 in FRAMES]
    again = [reason(nothing, sha256, nothing_found_rate=0.1, control_rate=0.05) for sha256 in FRAMES]
    assert first == again
    assert 0.08 < first.count(Reason.NOTHING_FOUND) / len(FRAMES) < 0.12
    assert 0.03 < first.count(Reason.CONTROL) / len(FRAMES) < 0.06


def test_control_frames_are_drawn_from_clear_answers_too():
    """A share of the frames that the model is sure of is checked as well."""
    sure = Inspection(found(0.99), Verdict.FAIL)
    assert reason(sure, control_rate=1.0) is Reason.CONTROL
    assert reason(sure, nothing_found_rate=1.0) is None


def test_control_frames_hold_as_many_doubtful_frames_as_the_line():
    """A doubtful frame is drawn as often as a clear one; else control frames would show a line without doubt."""
    doubtful, clear = Inspection(found(0.5), Verdict.UNCERTAIN), Inspection(found(0.99), Verdict.FAIL)
    for inspection in (doubtful, clear):
        drawn = [reason(inspection, sha256, control_rate=0.05) for sha256 in FRAMES]
        assert 0.03 < drawn.count(Reason.CONTROL) / len(FRAMES) < 0.07
    assert reason(doubtful, control_rate=0.0) is Reason.UNCERTAIN


def test_draws_are_independent_of_each_other():
    """A frame that is drawn as a control frame is not more often drawn as a nothing-found frame."""
    both = sum(share("nothing-found", sha256) < 0.5 and share("control", sha256) < 0.5 for sha256 in FRAMES)
    assert 0.22 < both / len(FRAMES) < 0.28


def policy(**changes):
    return Sampling(**{"uncertain_low": 0.3, "uncertain_high": 0.7} | changes)


def test_a_quota_lets_so_many_through_in_any_hour():
    """Room returns frame by frame as the hour moves on."""
    quota = Quota()
    assert [quota.take(policy(max_per_hour=2), now) for now in (0.0, 10.0, 20.0, 3599.0, 3600.0, 3601.0, 3610.0)] == [
        True, True, False, False, True, False, True,
    ]  # fmt: skip
    assert not Quota().take(policy(max_per_hour=0), 0.0)


@pytest.mark.parametrize(("name", "length_s"), [("max_per_minute", 60), ("max_per_hour", 3600), ("max_per_day", 86400)])
def test_each_window_holds_by_itself(name, length_s):
    """Each window of the quota holds by itself, and the narrowest one decides."""
    quota, wanted = Quota(), policy(**{name: 3})
    assert [quota.take(wanted, float(at)) for at in (0, 1, 2, 3, length_s - 1, length_s)] == [
        True, True, True, False, False, True,
    ]  # fmt: skip


def test_a_device_may_send_less_than_the_release_asks_for_and_never_more():
    """The release sets the policy, and the device sets limits."""
    asked = policy(nothing_found_rate=0.5, control_rate=0.1, max_per_minute=10, max_per_hour=100, max_per_day=500)
    assert tightened(asked, SamplingLimits()) == asked
    less = tightened(asked, SamplingLimits(nothing_found_rate=0.2, control_rate=0.9, max_per_hour=5, max_per_day=9999))
    assert (less.nothing_found_rate, less.control_rate, less.max_per_hour, less.max_per_day) == (0.2, 0.1, 5, 500)
    assert (less.uncertain_low, less.uncertain_high, less.max_per_minute) == (0.3, 0.7, 10)
