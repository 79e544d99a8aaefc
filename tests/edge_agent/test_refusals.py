"""What the other side refuses: it waits, the rest goes on, and nobody is hammered."""

from __future__ import annotations

from edge_agent.refusals import Refusals


class Clock:
    """A clock that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_refused_item_waits_longer_each_time():
    """Waits double, with jitter, so the second is at least as long as the first can be."""
    clock = Clock()
    refusals = Refusals(clock)
    refusals.refused(7, "no")
    clock.now += 1.0
    assert not refusals.waits(7)
    refusals.refused(7, "no")
    clock.now += 0.9
    assert refusals.waits(7)
    clock.now += 1.1
    assert not refusals.waits(7)


def test_after_a_refusal_nothing_is_tried_for_a_moment_until_something_is_accepted():
    """An account without rights would otherwise try every item that waits, one after the other."""
    clock = Clock()
    refusals = Refusals(clock)
    refusals.refused(1, "no")
    assert 0 < refusals.paused_s() <= 1.0
    refusals.accepted(2)
    assert refusals.paused_s() == 0.0
    assert refusals.waits(1)


def test_the_pause_has_a_limit_and_a_burst_of_refusals_counts_once():
    """Items behind many refused ones must get their turn."""
    clock = Clock()
    refusals = Refusals(clock)
    for item_id in range(20):
        refusals.refused(item_id, "no")
    assert refusals.paused_s() <= 1.0
    for item_id in range(20, 60):
        clock.now += refusals.paused_s()
        refusals.refused(item_id, "no")
    assert 5.0 <= refusals.paused_s() <= 10.0


def test_when_a_refused_item_is_accepted_all_refused_items_are_due_in_their_order():
    """The right was missing for all of them, and has been given."""
    clock = Clock()
    refusals = Refusals(clock)
    for item_id in (3, 1, 2):
        refusals.refused(item_id, "no")
    refusals.accepted(2)
    assert refusals.first_due() == 1
    assert not refusals.waits(3)
    refusals.accepted(1)
    refusals.accepted(3)
    assert refusals.count() == 0
    assert refusals.why == ""


def test_an_item_that_is_gone_is_no_longer_counted():
    """The outbox may have dropped it meanwhile."""
    refusals = Refusals(Clock())
    refusals.refused(1, "no")
    refusals.forget(1)
    assert (refusals.count(), refusals.in_doubt, refusals.first_due()) == (0, False, None)
