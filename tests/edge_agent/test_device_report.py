"""What a device says of its line, and when it says it."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from edge_agent import __version__
from edge_agent.backoff import Backoff
from edge_agent.camera_states import CameraStates
from edge_agent.fleet_report import FleetReporter
from edge_agent.ota.activation import State
from edge_agent.ota.refusal import Refusal, refuse
from edge_agent.result import Result
from edge_agent.status import failures_to_report
from inspection import CameraState, FailedRelease, LineTally, Reported, ShadowTally, Verdict
from tests.edge_agent.stores import MemoryStore

NOW = datetime(2026, 1, 2, tzinfo=UTC)
A, B = "a" * 64, "b" * 64
TALLY = LineTally(release_digest=A, since=NOW, frames=5)
SHADOW = ShadowTally(release_digest=B, since=NOW, frames=5)
REPORT = Reported(
    device="dev1", group="line1", reported_at=NOW, state="running", running_release=A, frames=5, failures={},
    pinned_release="", tallies=(TALLY,), verdicts={"pass": 5}, cameras={"top": CameraState(ok=True, last_frame_at=NOW)},
    shadow=SHADOW,
)  # fmt: skip
LATER = NOW + timedelta(seconds=1)


def puts_after(change: dict) -> int:
    """How many reports are put when this changes shortly after a first report."""
    said = [REPORT]
    store = MemoryStore()
    reporter = FleetReporter(store, "kizu-fleet", "dev1", lambda: said[0], every_s=3600.0)
    assert reporter.report_if_due()
    said[0] = replace(REPORT, reported_at=LATER, **change)
    reporter.report_if_due()
    return store.puts


def test_a_report_that_cannot_be_made_ends_nothing(caplog):
    """The thread tells it, waits, and makes the next one."""
    store, stop, seen = MemoryStore(), threading.Event(), []

    def describe():
        seen.append(1)
        if len(seen) == 1:
            raise OSError("no such file system")
        stop.set()
        return REPORT

    reporter = FleetReporter(store, "kizu-fleet", "dev1", describe, every_s=3600.0)
    reporter._backoff = Backoff(limit_s=0.01)
    reporter.changed()
    reporter.run(stop)
    assert store.puts == 1
    assert "the device report could not be made" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 6, "verdicts": {"pass": 6}},
        {"tallies": (replace(TALLY, frames=6, p95_ms=30.0),)},
        {"tallies": (TALLY, replace(TALLY, release_digest=B))},
        {"cameras": {"top": CameraState(ok=True, last_frame_at=LATER)}},
        {"shadow": replace(SHADOW, frames=6, skipped=1, p95_ms=40.0)},
    ],
)
def test_what_moves_with_each_frame_waits_for_the_interval(change):
    """A line of ten frames a second must not put ten reports a second."""
    assert puts_after(change) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"failures": {B: FailedRelease(reason="too-slow", at=NOW, sequence=2)}},
        {"pinned_release": A},
        {"cameras": {"top": CameraState(ok=False, reason="the cable is out", last_frame_at=NOW)}},
        {"shadow": None},
        {"shadow": replace(SHADOW, reason="too-slow: 900 ms a frame here")},
    ],
)
def test_what_the_fleet_must_know_is_put_at_once(change):
    """A release that failed here may have to be stopped elsewhere."""
    assert puts_after(change) == 2


def test_the_latest_refusals_are_reported_and_each_is_short():
    """A device that has refused fifty releases reports twenty, with reasons of at most 300 characters."""
    failed = {
        f"{number:064x}": refuse(None, f"too-slow: {'x' * 999}", sequence=number, now=NOW, agent_version=__version__)
        for number in range(50)
    }
    found = failures_to_report(State(failed=failed), LATER)
    assert [item.sequence for item in found.values()] == list(range(30, 50))
    assert found[f"{49:064x}"] == FailedRelease(reason=f"too-slow: {'x' * 290}", at=NOW, sequence=49, transient=True)


def test_a_refusal_whose_time_is_not_known_was_there_when_the_present_phase_began():
    """State files of earlier agents do not hold the time of a refusal."""
    state = State(since=NOW, failed={A: Refusal(3, "golden-samples: a.png")})
    assert failures_to_report(state, LATER)[A].at == NOW


def test_a_camera_is_well_until_it_fails_and_well_again_when_it_answers():
    """The reason is that of the camera; the latest frame is one that was judged."""
    cameras = CameraStates(["top", "side"])
    assert cameras.fails("side", "the cable is out")
    assert not cameras.fails("side", "the cable is out")
    cameras.see(
        Result(
            capture_id="0", sha256=A, captured_at=NOW, decided_at=LATER, device="dev1", camera="top",
            release_digest=A, model_sha256=B, verdict=Verdict.PASS, infer_ms=3.0,
        )
    )  # fmt: skip
    assert cameras.problem() == "the cable is out"
    assert cameras.all() == {
        "top": CameraState(ok=True, last_frame_at=LATER),
        "side": CameraState(ok=False, reason="the cable is out"),
    }
    cameras.works("side")
    assert (cameras.problem(), cameras.all()["side"]) == ("", CameraState(ok=True))
