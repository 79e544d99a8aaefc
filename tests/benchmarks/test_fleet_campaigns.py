"""A run of campaigns that is stopped goes on where it was, and its table says whether the goal is met."""

from dataclasses import replace

from benchmarks.fleet.campaign import Ended
from benchmarks.fleet.kept import note_ended, read_ended
from benchmarks.fleet.table import KINDS, Row, render
from inspection.rollout import RolloutState

GOOD, _, BAD, *_ = KINDS
STOPPED = Ended(RolloutState.STOPPED, 1, 198, 60.0, 300.0, "2 of 2 device(s) failed")


def test_campaigns_that_ended_are_read_again_and_a_line_that_was_cut_off_is_not(tmp_path):
    """A kill may cut the last line; campaigns over another number of devices are others."""
    file = tmp_path / "ended.jsonl"
    assert read_ended(file, 200) == {}
    note_ended(file, 200, BAD, 2, STOPPED, 12.5)
    note_ended(file, 40, BAD, 2, STOPPED, 13.5)
    with file.open("a", encoding="utf-8") as found:
        found.write('{"devices": 200, "kind": "as g')
    assert read_ended(file, 200) == {(BAD, 2): (STOPPED, 12.5)}


def test_the_table_says_whether_bad_releases_stay_with_the_canary_and_are_stopped_in_time():
    """At most 1 % of the others, and one report interval and 60 s from the first report that shows it."""
    done = Row(GOOD, [Ended(RolloutState.DONE, 196, 198, None, 1800.0, "")])
    assert "The goal is met." in render([done, Row(BAD, [STOPPED])], 200, 60.0)
    for wrong in (replace(STOPPED, reached=2), replace(STOPPED, to_stop_s=125.0)):
        assert "**missed**" in render([done, Row(BAD, [STOPPED, wrong])], 200, 60.0)
    assert "The goal" not in render([done], 200, 60.0)
