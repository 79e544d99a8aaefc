"""Runs that the reconciler starts on Kubeflow Pipelines: once under a claim, also where an answer is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from components.settings import Settings
from components.stores.objects.claims import RunState
from kizu.kubeflow_starter import KubeflowStarter
from pipelines.connection import Kubeflow
from pipelines.kubeflow_runs import run_name
from reconciler.starts import StartError
from tests.pipelines.kubeflow import running
from tests.reconciler.pass_world import NAME, World

DEPLOYMENT = run_name("deployment", f"deploy/{NAME}/3")


@pytest.fixture
def kubeflow():
    with running() as server:
        yield server


@pytest.fixture
def starter(kubeflow) -> KubeflowStarter:
    return KubeflowStarter(Kubeflow(f"http://127.0.0.1:{kubeflow.server_port}", "kubeflow", "registry.example/kizu"))


@pytest.fixture
def world() -> World:
    """Only a deployment follows, so that few calls are made."""
    world = World()
    world.all_there_is_to_do()
    world.says(training=None, annotated_at=None, waiting=None, run=None)
    return world


def claimed_run(world: World) -> str:
    (decision,) = world.decisions()
    return decision.subject


def test_a_run_is_started_with_its_claim_in_its_name_and_the_use_case_as_argument(kubeflow, starter, world):
    """A second pass of another process starts nothing, while the run is at work and after it."""
    (report,) = world.loop(starter=starter).run()
    (run,) = kubeflow.runs
    assert run["display_name"] == DEPLOYMENT
    assert run["runtime_config"]["parameters"]["version"] == 3
    assert f'"name":"{NAME}"' in run["runtime_config"]["parameters"]["use_case"]
    assert list(kubeflow.experiments) == [NAME]
    assert report.failures == ()
    assert claimed_run(world) == run["run_id"]
    for state in ("RUNNING", "SUCCEEDED"):
        run["state"] = state
        world.wait(minutes=11)
        world.loop(starter=starter).run()
        assert len(kubeflow.runs) == 1


def test_a_start_whose_answer_is_lost_is_found_by_the_name_of_the_run(kubeflow, starter, world):
    """Kubeflow Pipelines started it and the connection broke: the claim gets the run, and no second one starts."""
    kubeflow.lose_answers_to = "/runs"
    (report,) = world.loop(starter=starter).run()
    started = len(kubeflow.runs)  # the client itself may send a request again whose answer was lost
    assert report.failures == ()
    assert claimed_run(world) == kubeflow.runs[-1]["run_id"]
    kubeflow.lose_answers_to = None
    for _ in range(2):
        world.wait(minutes=11)
        world.loop(starter=starter).run()
    assert len(kubeflow.runs) == started == 1


def test_a_refusal_is_told_and_tried_again_ten_minutes_later(kubeflow, starter, world):
    """Nothing starts while the API refuses; no attempt is counted, and the run starts when it takes it."""
    kubeflow.refuse = "/runs"
    (report,) = world.loop(starter=starter).run()
    assert "permission denied" in report.failures[0]
    kubeflow.refuse = None
    world.loop(starter=starter).run()
    assert kubeflow.runs == []
    world.wait(minutes=11)
    world.loop(starter=starter).run()
    assert len(kubeflow.runs) == 1


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("PENDING", RunState.RUNNING),
        ("RUNNING", RunState.RUNNING),
        ("PAUSED", RunState.RUNNING),
        ("CANCELING", RunState.RUNNING),
        (None, RunState.RUNNING),
        ("SUCCEEDED", RunState.SUCCEEDED),
        ("FAILED", RunState.FAILED),
        ("CANCELED", RunState.FAILED),
        ("SKIPPED", RunState.FAILED),
    ],
)
def test_each_state_of_a_run_has_a_meaning(kubeflow, starter, said, state):
    """What has not ended still goes on, whatever Kubeflow Pipelines calls it."""
    kubeflow.runs.append({"run_id": "r1", "display_name": DEPLOYMENT, **({"state": said} if said else {})})
    assert starter.runs("deployment").state("r1") is state


def test_a_run_that_was_deleted_is_lost_and_an_api_that_is_away_is_not(kubeflow, starter):
    """Only the API can say that there is no such run."""
    assert starter.runs("deployment").state("gone") is RunState.LOST
    away = KubeflowStarter(Kubeflow("http://127.0.0.1:9", "kubeflow"))
    with pytest.raises(StartError, match=r"127\.0\.0\.1:9"):
        away.runs("deployment").state("r1")


@pytest.mark.parametrize("knows_filters", [True, False])
def test_a_run_is_found_among_many_with_or_without_filters(kubeflow, starter, knows_filters):
    """The newest run under the claim, on whichever page; runs under claims that begin the same are others."""
    kubeflow.knows_filters = knows_filters
    kubeflow.runs += [{"run_id": "old", "display_name": DEPLOYMENT}, {"run_id": "new", "display_name": DEPLOYMENT}]
    kubeflow.runs += [{"run_id": f"x{number}", "display_name": f"{DEPLOYMENT}{number}"} for number in range(250)]
    assert starter.runs("deployment").find(f"deploy/{NAME}/3") == "new"
    assert starter.runs("deployment").find(f"deploy/{NAME}/4") is None


def test_no_secret_is_shown():
    """A log of the connection holds neither the token nor the cookie."""
    environment = {"KIZU_KFP_ENDPOINT": "http://kfp", "KIZU_KFP_TOKEN": "t0ken", "KIZU_KFP_COOKIE": "session=abc"}
    make: Callable[[Settings], Kubeflow] = Kubeflow.from_settings
    shown = repr(make(Settings.from_environment(environment)))
    assert shown == "Kubeflow(http://kfp)"
