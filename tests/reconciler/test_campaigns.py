"""Whole rollouts over a small simulated fleet: the device's decisions, the signer's steps and the rule together."""

import pytest

from benchmarks.fleet.campaign import run
from benchmarks.fleet.table import KINDS
from inspection.rollout import RolloutState

GOOD = ("as good as the former one", "refused by 1 % of the devices")


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_release_reaches_the_canary_alone_and_a_good_one_all_that_are_there(kind):
    """A bad release is stopped within one pass after the first report that shows it. `make bench-fleet` runs many."""
    ended = run(KINDS[kind], 1, devices=40)
    if kind in GOOD:
        assert (ended.state, ended.reached) == (RolloutState.DONE, pytest.approx(ended.others, abs=4))
    else:
        assert (ended.state, ended.reached) == (RolloutState.STOPPED, 0), ended.why
        assert 0.0 <= ended.to_stop_s <= 60.0
