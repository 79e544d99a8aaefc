"""What an acceptance run asks of `kizu submit` and `kizu schedule`, without a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tests.cluster import acts
from tests.cluster.own_names import OwnNames


@dataclass
class Commands:
    """Answers in the place of `kizu …` and of Kubeflow's own client. starts: whether the clock starts a run."""

    said: dict[str, str] = field(default_factory=dict)
    status: int = 0
    starts: bool = True
    ended: str = "SUCCEEDED"
    runs: list[str] = field(default_factory=lambda: ["of-before"])
    schedules: list[Any] = field(default_factory=list)
    scheduled: bool = False

    def kizu(self, run: Any, identity: str, *arguments: str, timeout_s: float = 0, status: int = 0) -> str:
        assert self.status == status, f"ended with {self.status}"
        if arguments[0] == "submit":
            return self.said["submit"]
        if "--remove" in arguments:
            was, self.scheduled = self.scheduled, False
            return "kizu-labeling: " + ("removed" if was else "not scheduled")
        file = Path(arguments[arguments.index("--use-case") + 1])
        self.schedules.append(yaml.safe_load(file.read_text())["schedules"])
        was, self.scheduled = self.scheduled, True
        if self.starts and not was:
            self.runs.append("by-the-clock")
        return "kizu-labeling: " + ("as it was" if was else "made")

    def kubeflow(self, run: Any) -> Any:
        return SimpleNamespace(
            get_experiment=lambda **_: SimpleNamespace(experiment_id="e"),
            list_runs=lambda **_: SimpleNamespace(runs=[SimpleNamespace(run_id=run_id) for run_id in self.runs]),
            wait_for_run_completion=lambda run_id, **_: SimpleNamespace(state=self.ended),
        )


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = Commands()
    monkeypatch.setattr(acts, "kizu", made.kizu)
    monkeypatch.setattr(acts, "kubeflow", made.kubeflow)
    return made


@pytest.fixture
def run(tmp_path: Path) -> Any:
    file = tmp_path / "use-case.yaml"
    file.write_text("name: tag\n")
    names = OwnNames("trial", "flows", "registry.example.com/kizu")
    return SimpleNamespace(
        folder=tmp_path, use_case=SimpleNamespace(name="tag"), use_case_file=file, names=names, kubeflow_port=1
    )


def test_a_run_that_must_fail_has_to_fail_in_the_step_that_refuses(run: Any, commands: Commands):
    """A deployment before the approval counts as refused only with status 1 and the step that looks for an approval."""
    commands.status = 1
    commands.said["submit"] = "kizu: the run failed in resolve-approved: nobody approved. See http://kfp/run"
    assert "`resolve-approved` named" in acts.submit_in_vain(run, "deployment", "resolve-approved")
    commands.said["submit"] = "kizu: the run failed in publish-release: the signer does not answer. See http://kfp/run"
    with pytest.raises(AssertionError, match="publish-release"):
        acts.submit_in_vain(run, "deployment", "resolve-approved")
    commands.status = 0
    with pytest.raises(AssertionError, match="ended with 0"):
        acts.submit_in_vain(run, "deployment", "resolve-approved")


def test_a_schedule_is_made_once_starts_a_run_and_is_removed(run: Any, commands: Commands):
    """The check of `kizu schedule` calls it twice, waits for a run that is new, and leaves no schedule."""
    said = acts.scheduled(run)
    assert said.startswith("a run started by the clock")
    assert commands.schedules == [{"labeling": {"cron": "* * * * *", "time_zone": "UTC"}}] * 2
    assert not commands.scheduled
    assert yaml.safe_load(run.use_case_file.read_text()) == {"name": "tag"}


def test_a_schedule_that_starts_nothing_is_removed_too(run: Any, commands: Commands, monkeypatch: pytest.MonkeyPatch):
    """Where the clock starts no run, the check fails, and the cluster is left without the schedule."""
    commands.starts = False
    monkeypatch.setattr(acts, "CLOCK_WAIT_S", 0.0)
    with pytest.raises(AssertionError, match="a run by the clock"):
        acts.scheduled(run)
    assert not commands.scheduled


def test_a_run_by_the_clock_that_fails_fails_the_check(run: Any, commands: Commands):
    """It is not enough that a run started: its outcome counts."""
    commands.ended = "FAILED"
    with pytest.raises(AssertionError, match="the run by the clock FAILED"):
        acts.scheduled(run)
