"""When a run that waits for people reads Label Studio again: rules over a clock and marks, without a server."""

from __future__ import annotations

from components.labeling.waiting import FULL_EVERY_S, Waiting, wait_for_change

SEEN = {1: "a", 2: "b"}


class Hands:
    """A clock that only sleeping moves, and two projects that change at some time."""

    def __init__(self, *, changes_at=None, changed=2, hint_at=None):
        self.at = 100.0
        self.changes_at = changes_at
        self.changed = changed
        self.hint_at = hint_at
        self.slept = []
        self.asked = []

    def sleep(self, seconds):
        if self.hint_at is not None and self.at < self.hint_at <= self.at + seconds:
            seconds, self.hint_at = self.hint_at - self.at, None
            hinted = True
        else:
            hinted = False
        self.slept.append(seconds)
        self.at += seconds
        return hinted

    def mark(self, project):
        self.asked.append(project)
        changed = self.changes_at is not None and self.at >= self.changes_at and project == self.changed
        return "other" if changed else SEEN[project]

    def wait(self, *, until=1000.0, pause_s=0.0):
        waiting = Waiting(900.0, 0.5, now=lambda: self.at, sleep=self.sleep)
        wait_for_change(waiting, SEEN, self.mark, until=until, pause_s=pause_s)
        return self.at


def test_a_change_in_either_project_is_seen_within_a_second():
    """Each poll asks one project, in turn: every half second a request, every second each project."""
    for project in SEEN:
        hands = Hands(changes_at=103.2, changed=project)
        assert 103.2 <= hands.wait() <= 104.2
        assert hands.asked[:4] == [1, 2, 1, 2]
        assert set(hands.slept) == {0.5}


def test_without_a_change_everything_is_read_every_thirty_seconds():
    """A change that leaves no mark is found by then."""
    hands = Hands()
    assert hands.wait() == 100.0 + FULL_EVERY_S
    assert len(hands.asked) <= FULL_EVERY_S / 0.5


def test_the_wait_ends_at_its_time():
    """A wait ends at its time, even in the middle of a poll interval."""
    assert Hands().wait(until=100.7) == 100.7


def test_a_hint_ends_the_wait_without_asking_for_a_mark():
    """The hint says that there is something to read, but not in which project."""
    hands = Hands(hint_at=101.2)
    assert hands.wait() == 101.2
    assert hands.asked == [1, 2]


def test_a_project_that_took_long_to_read_is_left_alone_for_a_while():
    """After a change, the project is not read for as long as its reading took, but for at most five seconds."""
    assert Hands(changes_at=0.0, changed=1).wait(pause_s=3.0) == 103.0
    assert Hands(changes_at=0.0, changed=1).wait(pause_s=12.0) == 105.0
