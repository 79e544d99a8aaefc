"""Where each device stands: the next step and what it waits for, as a table over reports and desired states."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from components.stores.fleet.reports import FleetReading, UnreadReport
from components.stores.fleet.standing import STEPS, UNKNOWN, Filter, FleetStanding, Step, fleet_standing, next_step
from inspection.documents import DesiredState, Reported, Wave
from inspection.report_parts import AgentState, FailedRelease
from kizu.cli import app
from kizu.commands import fleet

NOW = datetime(2025, 4, 1, 12, 0, tzinfo=UTC)
OLD, NEW = "a" * 64, "b" * 64


def desired(*, use_case="metal-tag", sequence=5, waves=None):
    """A desired state; without waves, every device should run NEW."""
    waves = waves or (Wave(release_digest=NEW, percent=100.0),)
    return DesiredState(sequence=sequence, use_case=use_case, waves=waves, probation_s=60.0, report_timeout_s=600.0)


def report(device="line-1", running=OLD, *, minutes_ago=1.0, group="line", state="running", sequence=5, **more):
    return Reported(
        device=device, group=group, reported_at=NOW - timedelta(minutes=minutes_ago), state=state, site="factory",
        use_case="metal-tag", running_release=running, sequence_seen=sequence, **more,
    )  # fmt: skip


class World:
    """Desired states and reports in memory."""

    def __init__(self, *reports, unread=(), wanted=None):
        self._read = FleetReading(tuple(reports), tuple(unread))
        self._wanted = wanted or {("metal-tag", "line"): desired()}

    def desired_names(self):
        return sorted(self._wanted)

    def desired(self, use_case, group):
        return self._wanted.get((use_case, group))

    def release(self, digest):
        return None

    def reading(self):
        return self._read

    def standing(self):
        return fleet_standing(self, self, NOW)


@pytest.mark.parametrize(
    ("said", "step"),
    [
        (report(running=NEW), Step.NOTHING),
        (report(running=NEW, minutes_ago=11), Step.RECONNECT),
        (report(state="probation", minutes_ago=11), Step.RECONNECT),
        (report(sequence=4), Step.SEE_ORDER),
        (report(), Step.FETCH),
        (report(state="fetching"), Step.TRY),
        (report(state="trying", pending_release=NEW), Step.LOAD),
        (report(state="pending", pending_release=NEW), Step.PROBATION),
        (report(state="probation", running=NEW, pending_release=NEW), Step.KEEP),
        (report(state="paused", pending_release=NEW), Step.RESUME),
        (report(reason="too-slow: 900 ms a frame here"), Step.RETRY),
        (report(failures={NEW: FailedRelease(reason="too-slow: x", at=NOW, sequence=5)}), Step.RETRY),
        (report(failures={OLD: FailedRelease(reason="too-slow: x", at=NOW, sequence=5)}, reason="x"), Step.FETCH),
        (report(reason="waits-for-agent: it needs agent 9.0 or newer, this is 0.1.0"), Step.WAIT_FOR_AGENT),
        (report(pinned_release=OLD), Step.UNPIN),
        (report(running=NEW, pinned_release=NEW), Step.NOTHING),
        (report(running=None, state="no-release", sequence=0), Step.SEE_ORDER),
    ],
)
def test_each_device_has_one_next_step(said, step):
    """The step follows from the last report and the desired state; a silent device has to come back first."""
    assert next_step(desired(), said, NOW) is step


def test_a_device_that_no_wave_includes_waits_for_the_next_stage():
    """Where no wave names the device, it runs on and waits to be included."""
    only = desired(waves=(Wave(release_digest=NEW, devices=("canary",)),))
    assert next_step(only, report(), NOW) is Step.BE_INCLUDED


def test_every_step_says_what_it_waits_for():
    """Each step has words, and only the device that runs what it should waits for nothing."""
    assert set(STEPS) == set(Step)
    assert [step for step, (what, waits) in STEPS.items() if not waits or not what] == [Step.NOTHING]


def test_a_report_that_cannot_be_read_is_a_device_that_has_to_report():
    """Such a device is unknown, with the reason, and stands beside the others in order."""
    unread = UnreadReport("line-0", "expected JSON", "line", "metal-tag")
    (group,) = World(report(), unread=[unread]).standing().groups
    assert [device.device for device in group.devices] == ["line-0", "line-1"]
    assert (group.devices[0].state, group.devices[0].next_step) == (UNKNOWN, Step.REPORT)
    assert "expected JSON" in group.devices[0].reason


def test_why_a_device_inspects_nothing_is_its_reason():
    """A problem of now comes before an old reason."""
    (group,) = World(report(reason="too-slow: x", problem="the camera is gone")).standing().groups
    assert group.devices[0].reason == "the camera is gone"


WORLD = World(
    report("line-1", NEW),
    report("line-2", state="probation"),
    report("press-1", minutes_ago=60),
    report("cup-1", NEW, group="cups"),
    wanted={("metal-tag", "line"): desired(), ("metal-tag", "cups"): desired()},
)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ([], {"line": ["line-1", "line-2", "press-1"], "cups": ["cup-1"]}),
        (["--group", "cups"], {"cups": ["cup-1"]}),
        (["--use-case", "bottle"], {}),
        (["--late"], {"line": ["press-1"]}),
        (["--state", "late"], {"line": ["press-1"]}),
        (["--state", "probation"], {"line": ["line-2"]}),
        (["--device", "line-*"], {"line": ["line-1", "line-2"]}),
        (["--device", "line-*", "--state", "running"], {"line": ["line-1"]}),
    ],
)
def test_kizu_devices_prints_the_devices_that_pass_its_filters_as_json(monkeypatch, options, shown):
    """`kizu devices --json` prints one document of a known version with groups, devices and their next steps."""
    monkeypatch.setattr(fleet, "_standing", WORLD.standing)
    done = CliRunner().invoke(app, ["devices", "--json", *options])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["schema_version"] == 1
    assert {g["group"]: [d["device"] for d in g["devices"]] for g in document["groups"]} == shown
    for group in document["groups"]:
        for device in group["devices"]:
            assert device["next_step_text"]
            assert device["site"] == "factory"


def test_kizu_devices_shows_the_next_step_and_what_it_waits_for(monkeypatch):
    """The table of a group has each device's next step in words."""
    monkeypatch.setenv("COLUMNS", "220")
    monkeypatch.setattr(fleet.console, "_width", 220)
    monkeypatch.setattr(fleet, "_standing", WORLD.standing)
    done = CliRunner().invoke(app, ["devices", "--group", "line"])
    assert "keep the release" in done.stdout
    assert "the end of the probation" in done.stdout


def test_kizu_devices_shows_the_software_of_each_agent(monkeypatch):
    """Version and slot, what it is doing where it is not kept, and why what was ordered does not run."""
    new = AgentState(version="0.2.0", slot="b", state="probation", release_digest=NEW, wanted_digest=NEW)
    stuck = AgentState(
        version="0.1.0", slot="a", state="kept", release_digest=OLD, wanted_digest=NEW, reason="no-build: for 3.12"
    )
    world = World(
        report("line-1", agent=new), report("line-2", agent=stuck), report("line-3", versions={"agent": "0.0.9"})
    )
    monkeypatch.setattr(fleet.console, "_width", 260)
    monkeypatch.setattr(fleet, "_standing", world.standing)
    lines = {
        line.split()[0]: line for line in CliRunner().invoke(app, ["devices"]).stdout.splitlines() if "line-" in line
    }
    assert "0.2.0 (b) probation" in lines["line-1"]
    assert "0.1.0 (a) " in lines["line-2"]
    assert "agent: no-build: for 3.12" in lines["line-2"]
    assert "0.0.9" in lines["line-3"]
    shown = json.loads(CliRunner().invoke(app, ["devices", "--json"]).stdout)["groups"][0]["devices"]
    assert [device["agent"] and device["agent"]["slot"] for device in shown] == ["b", "a", None]
    for wanted, names in {"b": ["line-1"], "0.1.*": ["line-2"], "probation": ["line-1"], "0.0.9": ["line-3"]}.items():
        found = json.loads(CliRunner().invoke(app, ["devices", "--json", "--software", wanted]).stdout)["groups"]
        assert [device["device"] for group in found for device in group["devices"]] == names


def test_nothing_released_and_nothing_found_are_told_apart(monkeypatch):
    """Without a filter the command says to deploy; with one it says that nothing is like that."""
    monkeypatch.setattr(fleet, "_standing", lambda: FleetStanding(NOW))
    assert "kizu deploy" in CliRunner().invoke(app, ["devices"]).stdout
    assert "is like that" in CliRunner().invoke(app, ["devices", "--late"]).stdout


def test_a_filter_of_groups_keeps_a_group_without_devices():
    """A group that has no device yet is shown, unless a filter asks for devices."""
    empty = World(wanted={("metal-tag", "line"): desired()}).standing()
    assert len(Filter(group="line").apply(empty).groups) == 1
    assert not Filter(late=True).apply(empty).groups
