"""How often lines are compared, and what is read for it."""

from dataclasses import replace

import numpy as np
import pytest

from components.stores.objects.s3 import ObjectStoreError
from kizu.drift_watch import DriftWatch
from tests.inspection.test_documents import RELEASE
from tests.reconciler.test_drift import NOON, line_of, reference_of, side


class Fleet:
    """Lines and releases in memory; it counts what is read."""

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        self.lines = (line_of(*(side(rng, 500, 120, lamp=0.7) for _ in range(2))),)
        self.reference = reference_of(*side(rng, 400, 200))
        self.readings = self.releases = 0
        self.down = False

    def reading(self):
        if self.down:
            raise ObjectStoreError("the store is away")
        self.readings += 1
        return self.lines, ()

    def release(self, digest):
        self.releases += 1
        return replace(RELEASE, drift=self.reference)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def test_a_pass_looks_at_lines_every_ten_minutes_and_reads_a_release_once(fleet):
    """Devices close no window earlier; a release never changes."""
    now = [0.0]
    watch = DriftWatch(fleet, fleet, clock=lambda: now[0])
    told = []
    for seconds in (0.0, 30.0, 599.0, 600.0):
        now[0] = seconds
        told.append(len(watch.notices({"metal-tag": "en"})))
    assert (told, fleet.readings, fleet.releases) == ([1, 0, 0, 1], 2, 1)


def test_where_no_product_is_served_nothing_is_read(fleet):
    """An installation that asked for nothing pays for nothing."""
    assert DriftWatch(fleet, fleet).notices({}) == ()
    assert fleet.readings == 0


def test_a_look_that_failed_is_made_again_in_the_next_pass(fleet):
    """Not ten minutes later."""
    watch = DriftWatch(fleet, fleet, clock=lambda: 0.0)
    fleet.down = True
    with pytest.raises(ObjectStoreError):
        watch.notices({"metal-tag": "en"})
    fleet.down = False
    assert len(watch.notices({"metal-tag": "en"})) == 1


class Notes:
    """Keeps what is noted, or is away."""

    def __init__(self):
        self.noted, self.away = [], False

    def note(self, use_case, lines, at):
        if self.away:
            raise ObjectStoreError("the store is away")
        self.noted.append((use_case, [line.device for line in lines]))
        return bool(lines)


def test_lines_that_drift_are_noted_once_after_each_look(fleet):
    """For the labeling pipeline; what could not be noted is noted in the next pass, and products without drift too."""
    notes, now = Notes(), [0.0]
    watch = DriftWatch(fleet, fleet, notes, clock=lambda: now[0])
    assert watch.note(NOON) == []
    watch.notices({"metal-tag": "en", "plates": "en"})
    notes.away = True
    with pytest.raises(ObjectStoreError):
        watch.note(NOON)
    notes.away = False
    assert watch.note(NOON) == ["metal-tag: images of lines that drift are labelled earlier: line-1"]
    assert watch.note(NOON) == []
    assert notes.noted == [("metal-tag", ["line-1"]), ("plates", [])]
    fleet.lines, now[0] = (), 600.0
    watch.notices({"metal-tag": "en"})
    watch.note(NOON)
    assert notes.noted[2:] == [("metal-tag", [])]


def test_a_replica_that_lost_its_lease_notes_nothing(fleet):
    """Another one acts."""

    def lost():
        raise RuntimeError("another replica acts")

    notes = Notes()
    watch = DriftWatch(fleet, fleet, notes, clock=lambda: 0.0, still_acting=lost)
    watch.notices({"metal-tag": "en"})
    with pytest.raises(RuntimeError, match="another replica"):
        watch.note(NOON)
    assert notes.noted == []
