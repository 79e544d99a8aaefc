"""The history of reports: what is counted over time, what is kept, and what a damaged file costs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from components.fleet_page.history import KEPT, Counts, History
from tests.components.fleet_page.fleet_world import NEW, NOW, OLD, report


@pytest.fixture
def history(tmp_path):
    made = History(tmp_path / "history.db", max_samples=100)
    yield made
    made.close()


def at(minutes, passed=0, failed=0, **more):
    """A report `minutes` after NOW."""
    verdicts = {"pass": passed, "fail": failed, "uncertain": 0, "not-inspected": 0}
    return report(minutes_ago=-minutes, verdicts=verdicts, **more)


def test_verdicts_over_time_are_what_the_counts_grew_by(history):
    """Counts since set-up become counts in each part of the time; a device that was set up anew does not count back."""
    for minutes, passed, failed in ((0, 100, 10), (10, 130, 11), (70, 150, 11), (80, 5, 0), (90, 9, 2)):
        history.add([at(minutes, passed, failed)])
    hour = timedelta(hours=1)
    assert history.verdicts(NOW, NOW + 2 * hour, 2) == (
        Counts(NOW, passed=30, failed=1), Counts(NOW + hour, passed=24, failed=2)
    )  # fmt: skip


def test_the_first_report_of_a_device_counts_nothing(history):
    """What it inspected before the page knew it is not put into the hour in which the page saw it first."""
    history.add([at(0, 1_000_000)])
    assert history.verdicts(NOW, NOW + timedelta(hours=1), 1)[0].all == 0


def test_counts_are_of_the_product_the_group_or_the_device_that_was_asked_for(history):
    """Each filter leaves the others out."""
    for minutes, passed in ((0, 0), (10, 5)):
        history.add([at(minutes, passed), at(minutes, 2 * passed, device="cup-1", group="cups", use_case="cup")])

    def passed_of(**of):
        return history.verdicts(NOW, NOW + timedelta(hours=1), 1, **of)[0].passed

    assert passed_of() == 15
    assert passed_of(group="cups") == 10
    assert passed_of(use_case="metal-tag") == 5
    assert passed_of(device="cup-1") == 10
    assert passed_of(device="' OR 1=1 --") == 0


def test_a_device_that_says_the_same_gets_a_sample_every_five_minutes(history):
    """Equal reports close together are one sample; a report that says something else is one at once."""
    history.add([at(0)])
    history.add([at(0)])
    history.add([at(1)])
    assert len(history) == 1
    history.add([at(2, state="probation", pending_release=NEW)])
    assert len(history) == 2
    history.add([at(8, state="probation", pending_release=NEW)])
    assert len(history) == 3


def test_changes_are_told_newest_first(history):
    """Only what differs from the sample before is a change."""
    history.add([at(0, running=OLD)])
    history.add([at(10, running=OLD)])
    history.add([at(20, running=OLD, state="probation", pending_release=NEW)])
    history.add([at(30, running=NEW)])
    assert [(change.state, change.running) for change in history.changes("line-1")] == [
        ("running", NEW), ("probation", OLD), ("running", OLD)
    ]  # fmt: skip


def test_the_file_stays_within_its_bounds(history):
    """The oldest samples go where there are too many, and those of more than thirty days go always."""
    for number in range(150):
        history.add([at(10 * number, number)])
    assert len(history) <= 100
    assert history.changes("line-1")
    history.add([at(KEPT.total_seconds() / 60 + 1500)])
    assert len(history) == 1


def test_a_report_without_counts_is_kept_without_them(history):
    """An agent that does not say its verdicts has a history of states."""
    history.add([report(verdicts=None)])
    history.add([report(verdicts=None, minutes_ago=-10)])
    assert history.verdicts(NOW, NOW + timedelta(hours=1), 1)[0].all == 0
    assert len(history.changes("line-1")) == 1


@pytest.mark.parametrize("content", [b"this is no database" * 100, b""])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path, content):
    """A file that is no database costs the charts of the past, not the page."""
    path = tmp_path / "history.db"
    path.write_bytes(content)
    history = History(path)
    history.add([report()])
    assert len(history) == 1
    history.close()
    assert (tmp_path / "history.db.damaged").exists() == bool(content)
    again = History(path)
    assert len(again) == 1
    again.close()
