"""The rule that keeps a release on probation, lets it wait, or refuses it."""

from __future__ import annotations

import pytest

from edge_agent.ota.probation import Keep, Refuse, Tally, Wait, judge
from inspection.documents import Probation

ASKED = Probation(min_frames=30, patience_s=3600.0, max_share_change=0.3, max_latency_ratio=3.0)
FORMER = Tally(2000, 60, 40, 20.0)


def answer(now: Tally, asked: Probation = ASKED, **changes):
    facts = {
        "probation_s": 60.0, "budget_ms": 500.0, "former": FORMER, "elapsed_s": 60.0, "waited_s": 60.0,
    }  # fmt: skip
    return judge(asked, now=now, **facts | changes)


@pytest.mark.parametrize(
    ("now", "changes", "wanted"),
    [
        (Tally(29), {}, Wait(for_frames=True)),
        (Tally(30), {}, Keep()),
        (Tally(30), {"elapsed_s": 59.9}, Wait()),
        (Tally(0), {"waited_s": 3599.9}, Wait(for_frames=True)),
        (Tally(0), {"former": None}, Wait(for_frames=True)),
        (Tally(30, 30), {"former": None}, Keep()),
        (Tally(30, 30), {"former": Tally(29)}, Keep()),
        (Tally(30, 30), {"share_accepted": True}, Keep()),
        (Tally(30, 9), {}, Keep()),
        (Tally(30, 2, 0, 59.9), {}, Keep()),
        (Tally(30, 2, 0, 600.0), {"former": Tally(2000, 60, 40, 550.0)}, Keep()),
        (Tally(30, 2, 0, 9.0), {"former": Tally(2000, 60, 40, 1.0)}, Keep()),
    ],
)
def test_a_probation_waits_for_frames_and_leaves_room_for_honest_change(now, changes, wanted):
    """A better model may fail more parts; a busy machine, and a few milliseconds, are no fault of a release."""
    assert answer(now, **changes) == wanted


@pytest.mark.parametrize(
    ("now", "changes", "word"),
    [
        (Tally(30, 20), {}, "verdict-share: fail 3% before (n=2000), 67% now (n=30)"),
        (Tally(30, 0, 20), {}, "verdict-share: uncertain 2% before (n=2000), 67% now (n=30)"),
        (Tally(30, 0), {"former": Tally(2000, 1000)}, "verdict-share: fail 50% before (n=2000), 0% now (n=30)"),
        (Tally(30, 20), {"elapsed_s": 5.0}, "verdict-share"),
        (Tally(30, 2, 0, 61.0), {}, "slower-than-before: p95 is 61.0 ms a frame, 20.0 ms before"),
        (Tally(30, 2, 0, 501.0), {"former": None}, "too-slow: p95 is 501.0 ms a frame on the line"),
    ],
)
def test_verdicts_or_times_far_from_those_of_the_release_before_end_a_probation(now, changes, word):
    """A model that suddenly passes everything is found as well as one that fails everything."""
    verdict = answer(now, **changes)
    assert isinstance(verdict, Refuse)
    assert verdict.reason.startswith(word)


def test_when_patience_ends_the_release_is_kept_with_a_note():
    """The note says how many frames came."""
    verdict = answer(Tally(3, 3), waited_s=3600.0)
    assert verdict == Keep("kept-without-frames: 3 of 30 frames came; its verdicts were not compared")


def test_a_release_of_an_earlier_kizu_asks_for_its_time_only():
    """Its document says nothing of frames."""
    assert answer(Tally(30, 30, 0, 9000.0), Probation()) == Keep()
    assert answer(Tally(0), Probation(), elapsed_s=59.0) == Wait()


def test_two_tallies_add_up_and_the_latency_is_that_of_enough_frames():
    """A start after a stop begins with few frames."""
    assert Tally(30, 2, 1, 20.0).plus(Tally(3, 1, 0, 90.0)) == Tally(33, 3, 1, 20.0)
    assert Tally(30, 2, 1, 20.0).plus(Tally(20, 1, 0, 90.0)) == Tally(50, 3, 1, 90.0)


@pytest.mark.parametrize(
    "wrong",
    [{"min_frames": -1}, {"patience_s": -1.0}, {"max_share_change": 1.1}, {"max_latency_ratio": 0.9}],
)
def test_what_a_probation_cannot_ask_is_refused(wrong):
    """The publisher reads it before the release is signed."""
    with pytest.raises(ValueError, match="but got"):
        Probation(**wrong)
