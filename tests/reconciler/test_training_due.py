"""When a training is due, and that one of two concurrent callers trains."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
import yaml

from components.lineage.question import trace
from components.stores.models.registry import RunInfo
from components.stores.objects.claims import Claim, RunState
from components.stores.objects.s3 import S3ObjectStore
from components.use_case import Retraining
from deploy.access.identities import load
from deploy.access.layout import REPOSITORY, base_environment
from pipelines.run_records import RunRecord, RunRecords, alive
from reconciler.training_due import LastTraining, TrainingFacts, judge_due
from reconciler.training_facts import last_training, training_facts
from tests.components.guarded_mlflow import ROLES, password_of
from tests.components.lineage.lineage_world import WIDER, LineageWorld, remove_releases

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WEEKLY = Retraining(min_new_labels=50, max_age_days=7)


def facts(new: int, days_old: float | None = None) -> TrainingFacts:
    last = None if days_old is None else LastTraining("r1", NOW - timedelta(days=days_old), 41)
    return TrainingFacts(label_version=57, new_labels=new, last=last)


@pytest.mark.parametrize(
    ("policy", "known", "due", "why"),
    [
        (Retraining(), facts(50, 1), True, "50 approved labels are new since label version 41, 50 are enough"),
        (Retraining(), facts(49, 999), False, "49 approved labels are new since label version 41, 50 are asked for"),
        (Retraining(), facts(50), True, "50 approved labels are new and nothing was trained yet, 50 are enough"),
        (WEEKLY, facts(49), False, "49 approved labels are new and nothing was trained yet, 50 are asked for"),
        (WEEKLY, facts(1, 7), True, "the last training is 7.0 days old, 7 are allowed, and 1 approved labels are new"),
        (WEEKLY, facts(1, 6.9), False, "50 are asked for; the last training is 6.9 days old, 7 are allowed"),
        (WEEKLY, facts(0, 70), False, "70.0 days old, 7 are allowed, but no approved label is new"),
    ],
)
def test_due_by_enough_new_labels_or_by_age_where_there_is_one(policy, known, due, why):
    """The decision gives its reason in one line with the numbers; without a new label no training is due."""
    decision = judge_due(policy, known, NOW)
    assert decision.due is due
    assert why in decision.why
    assert "\n" not in decision.why


def test_the_last_training_is_that_of_the_latest_labels_whatever_its_gate_said():
    """Runs that left no model or used an unknown dataset do not count as the last training."""

    def run(name: str, dataset: str, **tags: str) -> RunInfo:
        return RunInfo(name, "FINISHED", {"dataset_digest": dataset, "model_sha256": "m", **tags}, NOW)

    runs = [run("old", "a"), run("failed", "b", gate="failed"), run("no model", "c", model_sha256=""), run("else", "d")]
    assert last_training(runs, {"a": 3, "b": 5, "c": 9}).run_id == "failed"
    assert last_training(runs, {}) is None


@pytest.fixture
def world(s3, mlflow) -> LineageWorld:
    remove_releases(s3)
    return LineageWorld(s3, mlflow, None)


def test_new_is_what_the_last_training_did_not_have(world, s3, mlflow):
    """New images and images that were relabelled since count as new; labels of other use cases do not."""
    config = s3.settings("training").model_copy(update={"mlflow_tracking_uri": mlflow.uri})
    name = world.use_case.name
    pictures = [world.picture() for _ in range(3)]
    for picture in pictures:
        world.approve(picture)
    known = training_facts(config, name)
    assert (known.new_labels, known.last) == (3, None)
    run = world.train(world.freeze(pictures), model_sha256="m")
    known = training_facts(config, name)
    assert (known.new_labels, known.last.run_id) == (0, run)
    assert known.last.label_version == known.label_version
    world.approve(world.picture())
    world.approve(pictures[0], (WIDER,))
    LineageWorld(s3, mlflow, None).approve(world.picture())
    known = training_facts(config, name)
    assert (known.new_labels, known.last.run_id) == (2, run)
    assert known.label_version > known.last.label_version


@pytest.fixture
def home(s3, mlflow, tmp_path):
    """An installation whose MLflow is the one of these tests; the environment of a process in it."""
    known = load(s3.layout)
    accounts = {name: {"role": role, "password": password_of(name)} for name, role in ROLES.items()}
    file = tmp_path / "identities.json"
    file.write_text(json.dumps({**known, "mlflow": {**known["mlflow"], "accounts": accounts}}))
    return base_environment() | {
        "KIZU_HOME": str(tmp_path), "KIZU_PORT_S3": str(s3.layout.ports.s3), "COLUMNS": "200",
        "KIZU_PORT_MLFLOW": str(urlsplit(mlflow.uri).port),
    }  # fmt: skip


def kizu(home: dict[str, str], *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kizu", *map(str, arguments)],
        cwd=REPOSITORY, env=home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_of_two_that_find_a_training_due_at_once_one_trains_and_a_failure_is_kept(world, s3, home, tmp_path):
    """One of two concurrent callers starts a run, and the record of the failed run is kept.

    Both callers use the identity that trains. Three labels make a training due here, but are too few for a dataset, so
    the run fails and says so.
    """
    pictures = [world.picture() for _ in range(3)]
    for picture in pictures:
        world.approve(picture)
    file = tmp_path / "use-case.yaml"
    policy = {**json.loads(world.use_case.to_json()), "approvers": ["approver"], "retraining": {"min_new_labels": 3}}
    file.write_text(yaml.safe_dump(policy))
    both = [kizu(home, "train", "--if-due", "-u", file) for _ in range(2)]
    answers = [process.communicate(timeout=240) for process in both]
    assert sorted(process.returncode for process in both) == [0, 1], answers
    ran, passed_over = sorted(zip(both, answers, strict=True), key=lambda pair: -pair[0].returncode)
    said = "3 approved labels are new and nothing was trained yet, 3 are enough"
    assert ran[1][0].startswith(f"due: {said}; run ")
    assert "expected at least 10 approved images" in ran[1][1]
    assert passed_over[1][0].startswith("due, but not started: ")
    assert passed_over[1][0].endswith(f"({said})\n")
    store = s3.store("training")
    ((key, data),) = (
        (info.key, store.get("kizu-state", info.key))
        for info in store.list("kizu-state", f"claims/train/{world.use_case.name}/")
    )
    claim = Claim.from_json(data)
    assert (claim.ended, claim.attempt) == ("failed", 1)
    assert "expected at least 10 approved images" in claim.reason
    records = RunRecords(store, "kizu-state", "training")
    label = key.removeprefix("claims/")
    assert records.find(label) == claim.run_id
    record = records.read(claim.run_id)
    assert (record.state, record.claim, record.run_id in ran[1][0]) == (RunState.FAILED, label, True)
    assert sum(
        RunRecord.from_json(store.get("kizu-state", info.key)).claim == label
        for info in store.list("kizu-state", "runs/training/")
    ) == 1  # fmt: skip


def test_a_run_that_says_no_more_that_it_is_alive_is_lost(s3):
    """A run that has not reported for ten minutes is lost, and an unreadable record counts as lost.

    A run reports each minute that it is alive, and more often in this test.
    """
    store = S3ObjectStore.from_settings(s3.settings("training"))
    began = datetime.now(UTC)
    records = RunRecords(store, "kizu-state", f"test-{began.timestamp():.0f}")
    record = RunRecord(pipeline="test", run_id="r1", began_at=began, state=RunState.RUNNING, claim="train/x/1")
    records.write(record)
    with alive(records, record, every_s=0.01):
        while records.read("r1").seen_at is None:
            pass
    seen = records.read("r1").seen_at
    assert seen > began
    assert records.state("r1") is RunState.RUNNING
    later = RunRecords(store, "kizu-state", f"test-{began.timestamp():.0f}", clock=lambda: seen + timedelta(minutes=10))
    assert later.state("r1") is RunState.LOST
    store.put("kizu-state", f"runs/test-{began.timestamp():.0f}/r2.json", b"{")
    assert records.state("r2") is RunState.LOST
    assert records.find("train/x/1") == "r1"
    assert records.find("train/x/2") is None


def test_kizu_trace_as_the_auditor_says_and_draws_what_it_found(world, home, tmp_path, mlflow):
    """`kizu trace`, with the auditor's keys and account, prints the lineage as JSON and writes the graph to a file."""
    picture = world.picture()
    approved = world.approve(picture)
    dataset = world.freeze([picture])
    run = world.train(dataset, gate="failed")
    sources = world.sources()
    with mlflow.acting_as("auditor"):
        expected = trace(sources, picture.sha256)
    file = tmp_path / "drawn" / "lineage.svg"
    process = kizu(home | world.environment("auditor", mlflow.uri), "trace", picture.sha256, "--json", "--svg", file)
    answer, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    assert answer.encode() == expected.to_json() + b"\n"
    drawn = file.read_text(encoding="utf-8")
    for node in (f"frame:{picture.sha256}", f"label:{approved.event_id}", f"dataset:{dataset}", f"run:{run}"):
        assert f'data-node="{node}"' in drawn
