"""`kizu agent`: what is sent to the signer, and what a person reads, without a server."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from components.deployment.rollout_steps import Asked, Step
from components.deployment.software_steps import take_software
from components.settings import Settings
from components.stores.fleet.reports import FleetReading, FleetReports, UnreadReport
from components.stores.releases.signer_client import SignerClient
from inspection.documents import DesiredState, Wave
from kizu.cli import app
from kizu.commands import agent, agent_rollout
from tests.components.deployment.test_rollout_steps import NOW
from tests.components.deployment.test_software_steps import TWO, roll
from tests.edge_agent.agent_wheels import RUNTIME, build_agent
from tests.reconciler.test_software import agent as software
from tests.reconciler.test_software import report
from tools.agent_wheel import build

SETTINGS = Settings.from_environment({"KIZU_SIGNER_URL": "http://127.0.0.1:9", "KIZU_SIGNER_TOKEN": "x"})


class Signer:
    """A signer that keeps releases of the agent in memory."""

    def __init__(self) -> None:
        self.wheels, self.releases, self.orders = {}, [], []
        self.state, self.steps, self.pruned = roll(), [], []
        self.reports, self.unread = [], ()

    def missing_wheels(self, release):
        named = {wheel.sha256 for build in release.builds for wheel in build.wheels}
        return frozenset(named - set(self.wheels))

    def upload_wheel(self, wheel, data):
        self.wheels[wheel.sha256] = data

    def publish_agent(self, release):
        assert not self.missing_wheels(release)
        self.releases.append(release)
        return release.digest

    def agent_releases(self):
        return self.releases

    def order_agent(self, use_case, group, digest, **more):
        self.orders.append((use_case, group, digest, more))
        waves = (Wave(release_digest="ab" * 32, percent=100.0),)
        return DesiredState(sequence=9, use_case=use_case, waves=waves, probation_s=1.0)

    def desired(self, use_case, group):
        return self.state

    def rollout_agent(self, use_case, group, sequence, step, *, by, reason):
        self.steps.append((sequence, step, by, reason))
        self.state = take_software(self.state, Asked(Step(step), sequence, by, reason), NOW)
        return self.state.sequence

    def prune_agents(self, used, newest, *, act):
        self.pruned.append((sorted(used), newest, act))
        return [{"digest": "ef" * 32, "version": "0.1.0", "bytes": 300_000}]


@pytest.fixture
def signer(monkeypatch):
    made = Signer()
    for command in (agent, agent_rollout):
        monkeypatch.setattr(command, "settings_as_operator", lambda: SETTINGS)
        monkeypatch.setattr(command, "settings_as", lambda *identities: SETTINGS, raising=False)
    fleet = SimpleNamespace(reading=lambda: FleetReading(tuple(made.reports), tuple(made.unread)))
    monkeypatch.setattr(FleetReports, "from_settings", classmethod(lambda cls, settings: fleet))
    monkeypatch.setattr(SignerClient, "from_settings", classmethod(lambda cls, settings: made))
    return made


def run(*words):
    return CliRunner().invoke(app, ["agent", *map(str, words)])


def test_only_wheels_that_the_signer_does_not_have_are_sent(signer, tmp_path):
    """A second version with the same packages sends its own code alone, and says how much that is."""
    build(tmp_path / "one" / "3.11-x86_64", version="0.1.0")
    (tmp_path / "one" / "3.11-x86_64" / RUNTIME.file).write_bytes(RUNTIME.data)
    done = run("publish", tmp_path / "one")
    assert done.exit_code == 0, done.output
    assert "2 wheels, of which 2 are new" in done.output
    assert run("publish", tmp_path / "one").output.count("of which 0 are new (0 of ") == 1
    assert RUNTIME.sha256 in signer.wheels


def test_an_order_names_a_published_release_by_its_first_characters(signer):
    """The group is that of the use case; devices are separated by commas, or the option is repeated."""
    built = build_agent()
    signer.releases.append(built.release)
    done = run("order", built.digest[:12], "--devices", "press-1,press-2", "-d", "press-3", "--probation", "30")
    assert done.exit_code == 0, done.output
    (use_case, group, digest, more), *_ = signer.orders
    assert (use_case, digest) == ("metal-tag", built.digest)
    assert (more["devices"], more["percent"], more["probation_s"]) == (["press-1", "press-2", "press-3"], 100.0, 30.0)
    assert f"({built.digest[:12]}) is ordered for press-1, press-2, press-3, sequence 9" in done.output
    assert run("order", built.digest[:12], "-g", "second").exit_code == 0
    assert signer.orders[1][1] == "second"
    assert group != "second"


@pytest.mark.parametrize("digest", ["", "abc", "f" * 12])
def test_an_order_for_what_is_not_published_names_what_is(signer, digest):
    """Too few characters could mean several releases."""
    built = build_agent()
    signer.releases.append(built.release)
    done = run("order", digest)
    assert done.exit_code != 0
    assert f"{built.digest[:12]} (version 0.1.0)" in str(done.exception)
    assert signer.orders == []


def test_published_releases_are_listed_with_what_they_are_for(signer, monkeypatch):
    """Kinds of devices, the size of the wheels, and the image."""
    monkeypatch.setattr(agent.console, "_width", 160)
    built = build_agent(image_digest="sha256:" + "ab" * 32)
    signer.releases.append(built.release)
    shown = run("list").output
    size = sum(wheel.bytes for wheel in built.release.builds[0].wheels)
    assert built.digest[:12] in shown
    assert "3.11-x86_64" in shown
    assert f"{size:,} bytes" in shown
    assert "sha256:abababababab" in shown
    assert json.loads(built.release.to_json())["image_digest"][:19] in shown


def test_an_order_without_devices_goes_out_by_the_waves_of_the_use_case(signer):
    """The stages travel in the order, without frames; with --at-once all devices are asked, as with --percent."""
    built = build_agent()
    signer.releases.append(built.release)
    done = run("order", built.digest[:12])
    assert done.exit_code == 0, done.output
    assert "in 1 wave(s), sequence 9" in done.output
    more = signer.orders[0][3]
    assert ([stage["percent"] for stage in more["waves"]["stages"]], more["devices"]) == ([100.0], [])
    assert more["by"]
    for words, percent in ((["--at-once"], 100.0), (["--percent", "20"], 20.0)):
        assert run("order", built.digest[:12], *words).exit_code == 0
        assert (signer.orders[-1][3]["waves"], signer.orders[-1][3]["percent"]) == (None, percent)
    assert "got both" in str(run("order", built.digest[:12], "--at-once", "--percent", "5").exception)


def test_the_rollout_of_software_is_shown_paused_resumed_and_stopped(signer):
    """`status` says how each device stands and what follows; each act names the sequence that was seen."""
    refused = software(None, wanted=TWO.digest, reason="no-build: for 3.12")
    now = datetime.now(UTC)
    reports = report(refused), report(software(TWO.digest, wanted=TWO.digest), "d1")
    signer.reports = [replace(item, reported_at=now) for item in reports]
    shown = run("status", "-g", "line").output
    expected = (
        "agent 0.2.0 (", "running by qa", "open  the canary", "waits  the wave of 1 %", "canary: held: no-build",
        "next: pause: inconclusive: no device of the canary can take it",
    )  # fmt: skip
    for said in expected:
        assert said in shown, shown
    assert "paused by eve: camera work" in run("pause", "--by", "eve", "--reason", "camera work").output
    assert "next: nothing: paused by eve: camera work; run: kizu agent resume" in run("status").output
    assert ": running by eve" in run("resume", "--by", "eve").output
    assert "waits" not in run("resume", "--by", "eve", "--open-next").output
    assert ": stopped by eve" in run("stop", "--by", "eve").output
    assert [step for _, step, *_ in signer.steps] == ["pause", "resume", "advance", "stop"]
    signer.state = None
    assert "nothing was released" in str(run("status").exception)


def test_pruning_names_what_devices_run_hold_or_were_asked_for(signer):
    """Nothing is deleted while the report of a device cannot be read."""
    one, two, three = "1" * 64, "2" * 64, "3" * 64
    signer.reports = [report(software(one, wanted=two, slots={"a": three, "b": one})), report(name="d1")]
    assert "would be deleted; to do it, add --yes" in run("prune").output
    (used, keep, act) = signer.pruned[0]
    assert ({one, two, three} <= set(used), keep, act) == (True, 3, False)
    assert "1 releases of the agent, 0.3 MB: deleted" in run("prune", "--keep", "5", "--yes").output
    assert signer.pruned[1][1:] == (5, True)
    signer.unread = [UnreadReport("d2", "no JSON")]
    assert "nothing is deleted" in str(run("prune", "--yes").exception)
    assert len(signer.pruned) == 2
