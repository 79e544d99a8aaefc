"""`kizu shadow`: what is asked of the signer, and what a person reads, without a server."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from components.settings import Settings
from components.stores.fleet.reports import FleetReports
from components.stores.releases.signer_client import SignerClient
from inspection.documents import DesiredState, Reported, ShadowOrder, Wave
from inspection.report_parts import ShadowTally
from kizu.cli import app
from kizu.commands import shadow

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RELEASE, CANDIDATE = "a" * 64, "c" * 64
SETTINGS = Settings.from_environment(
    {
        "KIZU_S3_ENDPOINT": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
        "KIZU_SIGNER_URL": "http://127.0.0.1:9", "KIZU_SIGNER_TOKEN": "x",
    }
)  # fmt: skip


class Signer:
    """A signer that keeps the desired state of one group."""

    def __init__(self) -> None:
        self.asked = []
        self.state = DesiredState(
            sequence=1, use_case="metal-tag", waves=(Wave(release_digest=RELEASE, percent=100.0),), probation_s=1.0
        )

    def shadow(self, model, version, devices, *, share, cpu_share):
        self.asked.append((model, version, share, cpu_share))
        order = ShadowOrder(release_digest=CANDIDATE, devices=tuple(devices), share=share, cpu_share=cpu_share)
        self.state = DesiredState(sequence=2, use_case=model, waves=self.state.waves, probation_s=1.0, shadow=order)
        return self.state

    def end_shadow(self, use_case, group):
        self.state = DesiredState(sequence=3, use_case=use_case, waves=self.state.waves, probation_s=1.0)
        return self.state

    def desired(self, use_case, group):
        return self.state

    def candidate(self, digest):
        return None

    release = candidate


@pytest.fixture
def signer(monkeypatch):
    made = Signer()
    monkeypatch.setattr(SignerClient, "from_settings", classmethod(lambda cls, settings: made))
    monkeypatch.setattr(shadow, "settings_as_operator", lambda: SETTINGS)
    monkeypatch.setattr(shadow, "settings_as", lambda identity, *servers: SETTINGS)
    monkeypatch.setattr(FleetReports, "reports", lambda self: (report(),))
    return made


def report() -> Reported:
    tally = ShadowTally(release_digest=CANDIDATE, since=NOW, frames=40, skipped=2, disagreed=4, fail=4, p95_ms=80.0)
    return Reported(
        device="press-1", group="line", reported_at=NOW, state="running", running_release=RELEASE, shadow=tally
    )


def run(*words):
    return CliRunner().invoke(app, ["shadow", *words])


def test_a_version_starts_on_the_devices_that_are_named_and_stops(signer):
    """Names are separated by commas, or the option is repeated."""
    started = run("start", "7", "--devices", "press-1,press-2", "-d", "press-3", "--share", "0.25")
    assert started.exit_code == 0, started.output
    assert signer.asked == [("metal-tag", 7, 0.25, 0.5)]
    assert signer.state.shadow.devices == ("press-1", "press-2", "press-3")
    assert "sequence 2; to compare both, run: kizu shadow report" in started.output
    stopped = run("stop")
    assert (stopped.exit_code, signer.state.shadow) == (0, None)


def test_the_report_shows_both_and_says_when_frames_are_too_few(signer):
    """A table for people, and one JSON object for programs."""
    run("start", "7", "--devices", "press-1,press-2")
    shown = run("report")
    assert shown.exit_code == 0, shown.output
    assert "10.0% (4.0 to 23.1%)" in shown.output
    assert "not enough frames: 40 were judged by both" in shown.output
    assert "press-1: 40 frames, 2 skipped; p95 80.0 ms of processor time" in shown.output
    assert "press-2: 0 frames, 0 skipped; has not reported" in shown.output
    value = json.loads(run("report", "--json").output)
    assert (value["all"]["frames"], value["all"]["enough"], value["candidate"]) == (40, False, CANDIDATE)


def test_a_report_without_a_candidate_says_how_to_start_one(signer):
    """It is an error, so that a script notices."""
    found = run("report")
    assert found.exit_code != 0
    assert "run: kizu shadow start VERSION" in str(found.exception)


def test_a_start_without_a_device_is_refused(signer):
    """A candidate never goes to a whole group."""
    assert run("start", "7").exit_code != 0
    assert signer.asked == []
