"""The fleet for Prometheus: numbers by group, and labels from fixed lists alone."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from components.fleet_page.metrics import fleet_metrics
from components.metrics_text import metrics_text
from inspection.rollout import RolloutState
from tests.components.fleet_page.fleet_world import NEW, NOW, OLD, World, desired, plan, report


@pytest.fixture
def values(tmp_path):
    """From a world to the value of each series: (name, labels without use case and group) -> number."""

    def read(**world):
        made = World(tmp_path, **world)
        made.watcher.read()
        text = metrics_text(fleet_metrics(made.watcher.snapshot, NOW, 0)).decode()
        made.history.close()
        return {
            (sample.name, *(v for k, v in sample.labels.items() if k not in ("use_case", "group"))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    return read


def test_the_fleet_in_numbers(values):
    """Devices by state, outbox, verdicts, versions, cameras and the rollout, as the reports and the rule say them."""
    found = values()
    assert found["kizu_fleet_read_ok",] == 1
    assert found["kizu_fleet_read_age_seconds",] == 0
    by_state = {state: found["kizu_fleet_devices", state] for state in ("running", "probation", "late", "unknown")}
    assert by_state == {"running": 2, "probation": 1, "late": 1, "unknown": 1}
    assert found["kizu_fleet_outbox_items",] == 12
    assert found["kizu_fleet_cameras_lost",] == 1
    assert found["kizu_fleet_verdicts_total", "fail"] == 28
    assert found["kizu_fleet_running_version", "7"] == 3
    assert found["kizu_fleet_running_version", "8"] == 1
    assert found["kizu_fleet_rollout_state", "running"] == 1
    assert found["kizu_fleet_software_rollout_state", "none"] == 1
    assert found["kizu_fleet_rollout_stage",] == 2
    assert found["kizu_fleet_rollout_stages",] == 3
    assert found["kizu_fleet_rollout_devices", "succeeded"] == 1


def test_a_refusal_and_a_pin_are_counted(values):
    """A device that refused what it should run, and one that its operator pinned, each count once."""
    from inspection.report_parts import FailedRelease

    wanted = {("metal-tag", "line"): desired(plan(RolloutState.PAUSED))}
    failure = {NEW: FailedRelease(reason="too-slow: x", at=NOW, sequence=5)}
    found = values(reports=(report(running=OLD, failures=failure, pinned_release=""),), unread=(), wanted=wanted)
    assert found["kizu_fleet_devices_refusing",] == 1
    assert found["kizu_fleet_devices_behind",] == 1
    assert found["kizu_fleet_rollout_state", "paused"] == 1
    found = values(reports=(report(running=OLD, pinned_release=OLD),), unread=(), wanted=wanted)
    assert found["kizu_fleet_devices_pinned",] == 1


def test_the_rollout_of_the_agents_software_has_a_state_of_its_own(values):
    """One series for each state of a fixed list, so that an alert finds one that was stopped, or waits for a person."""
    from inspection.documents import AgentOrder, Wave
    from inspection.rollout import SoftwarePlan

    rollout = SoftwarePlan(
        version="0.3.1", release_digest=NEW, former_digest=OLD, stages=plan().stages, open_stage=0, opened_at=NOW,
        began_at=NOW, state=RolloutState.PAUSED,
    )  # fmt: skip
    order = AgentOrder(waves=(Wave(release_digest=NEW, percent=1.0),), since=1, rollout=rollout)
    found = values(reports=(report(),), unread=(), wanted={("metal-tag", "line"): replace(desired(), agent=order)})
    states = {key[1]: value for key, value in found.items() if key[0] == "kizu_fleet_software_rollout_state"}
    assert states == {"none": 0, "waiting": 0, "running": 0, "paused": 1, "stopped": 0, "done": 0}


def test_no_text_of_a_device_becomes_a_label(values):
    """Words that a device makes up are counted as other; its name, its reason and its digests are in no label."""
    made_up = [
        report(f"line-{n}", f"{n:064x}", state=f"state-{n}", reason=f"because {n}", verdicts={f"verdict-{n}": 1})
        for n in range(40)
    ]
    found = values(reports=made_up, unread=())
    assert found["kizu_fleet_devices", "other"] == 40
    assert found["kizu_fleet_verdicts_total", "other"] == 40
    assert found["kizu_fleet_running_version", "other"] == 40
    assert len(found) == len(values(reports=made_up[:1], unread=()))


def test_many_versions_are_ten_and_the_rest(tmp_path, values):
    """The versions that run are labels, at most ten of them."""
    from components.fleet_page.metrics import _versions

    world = World(tmp_path, reports=[report(f"line-{n}", f"{n:064x}") for n in range(30)], unread=())
    world.watcher.read()
    snapshot = dataclasses.replace(world.watcher.snapshot, versions={f"{n:064x}": n for n in range(30)})
    samples = _versions(snapshot).samples
    world.history.close()
    assert len(samples) == 11
    assert sum(value for _, value in samples) == 30


def test_before_the_first_reading_the_age_is_endless(tmp_path):
    """A page that never read the fleet does not look like one that read it just now."""
    world = World(tmp_path)
    by_name = {metric.name: metric for metric in fleet_metrics(world.watcher.snapshot, NOW, 0)}
    world.history.close()
    assert by_name["kizu_fleet_read_ok"].samples[0][1] == 0
    assert by_name["kizu_fleet_read_age_seconds"].samples[0][1] == float("inf")


def test_a_digest_that_is_none_is_not_asked_about(tmp_path):
    """A device may report any text as its release; it reaches no address of the signer."""
    world = World(tmp_path, reports=[report(running="../../keys")], unread=())
    asked = []
    world.release = lambda digest: asked.append(digest)
    world.watcher.read()
    world.history.close()
    assert asked
    assert all(len(digest) == 64 for digest in asked)
