"""Following a run: each change of a step is said, and the outcome is the end of the command."""

import pytest

from kizu.commands import kubeflow as commands
from kizu.context import CommandError
from pipelines.compile import FOLDER
from pipelines.connection import Api, Kubeflow, SubmitError
from pipelines.follow import follow, steps_in
from tests.pipelines.kubeflow import running

STEPS = ("resolve-approved", "publish-release")


@pytest.fixture
def kubeflow():
    with running() as server:
        server.runs.append({"run_id": "r1", "display_name": "one", "state": "PENDING"})
        yield server


class Clock:
    """Time that passes by sleeping."""

    def __init__(self):
        self.now, self.acts = 0.0, []

    def sleep(self, seconds):
        self.now += seconds
        if self.acts:
            self.acts.pop(0)()


def followed(server, run_id="r1", clock=None):
    said, clock = [], clock or Clock()
    api = Api(Kubeflow(server.url, "kubeflow"))
    return said, lambda: follow(api, run_id, STEPS, said.append, clock=lambda: clock.now, sleep=clock.sleep)


def test_the_steps_of_a_pipeline_are_told_in_their_order():
    """The step behind the gate is one of them, although it is in a condition."""
    assert steps_in(FOLDER / "training.yaml") == (
        "freeze-dataset", "prepare-base-weights", "train-detector", "evaluate-model", "apply-gate", "register-model",
    )  # fmt: skip


def test_each_change_of_a_step_is_said_once(kubeflow):
    """Drivers and attempts, which the API lists too, are not steps."""
    kubeflow.progress = [
        ("PENDING", {}),
        ("RUNNING", {"resolve-approved": "RUNNING"}),
        ("RUNNING", {"resolve-approved": "RUNNING"}),
        ("RUNNING", {"resolve-approved": "SUCCEEDED", "publish-release": "PENDING"}),
        ("SUCCEEDED", {"resolve-approved": "SUCCEEDED", "publish-release": "SUCCEEDED"}),
    ]
    said, go = followed(kubeflow)
    outcome = go()
    assert said == [
        "resolve-approved runs",
        "resolve-approved succeeded after 61 s",
        "publish-release waits",
        "publish-release succeeded after 61 s",
    ]
    assert (outcome.succeeded, outcome.said, outcome.failed_steps) == (True, "succeeded", ())


@pytest.mark.parametrize("state", ["FAILED", "CANCELED"])
def test_a_run_that_did_not_succeed_names_the_step_and_the_error(kubeflow, state):
    """What Kubeflow Pipelines says about the run is its first line."""
    kubeflow.runs[0]["error"] = {"message": "child 'train' failed\nand a long trace"}
    kubeflow.progress = [(state, {"resolve-approved": "FAILED"})]
    outcome = followed(kubeflow)[1]()
    assert (outcome.succeeded, outcome.said, outcome.failed_steps) == (False, state.lower(), ("resolve-approved",))
    assert outcome.why == "child 'train' failed"


def test_an_api_that_is_away_for_a_while_ends_nothing(kubeflow):
    """A broken port-forward is said once, and asking goes on; after the patience it is an error."""
    kubeflow.refuse = "/runs/r1"
    clock = Clock()

    def back():
        kubeflow.refuse, kubeflow.progress = None, [("SUCCEEDED", {})]

    clock.acts = [lambda: None, lambda: None, back]
    said, go = followed(kubeflow, clock=clock)
    assert go().succeeded
    assert [line.partition(":")[0] for line in said] == ["no answer; asking for 300 s more", "it answers again"]
    kubeflow.refuse = "/runs/r1"
    with pytest.raises(SubmitError, match="did not tell the state of the run"):
        followed(kubeflow)[1]()


def test_a_step_without_a_change_for_ten_minutes_is_said_once_with_where_to_look(kubeflow):
    """The API tells a pod whose image cannot be pulled as one that runs."""
    kubeflow.progress = [*[("RUNNING", {"resolve-approved": "RUNNING"})] * 200, ("SUCCEEDED", {})]
    said, go = followed(kubeflow)
    go()
    assert [line.partition(".")[0] for line in said[:2]] == ["resolve-approved runs", "no step changed for 10 min"]
    assert sum("kubectl -n kubeflow get pods" in line for line in said) == 1


def test_a_run_that_is_not_there_is_an_error_at_once(kubeflow):
    """Somebody deleted it: nothing will ever be told about it."""
    clock = Clock()
    with pytest.raises(SubmitError, match="not found"):
        followed(kubeflow, "gone", clock)[1]()
    assert clock.now == 0


def command(server, *, no_wait=False, **more):
    commands.submit("deployment", endpoint=server.url, no_wait=no_wait, **more)


def test_submit_ends_as_the_run_does(kubeflow, capsys):
    """It names the run's address at both ends, and a run that failed is an error of the command."""
    kubeflow.progress = [("SUCCEEDED", {"publish-release": "SUCCEEDED"})]
    command(kubeflow, argument=["version=3"])
    shown = capsys.readouterr().out
    assert shown.count(f"{kubeflow.url}/#/runs/details/r2") == 2
    assert "publish-release succeeded" in shown
    kubeflow.progress = [("FAILED", {"resolve-approved": "FAILED"})]
    with pytest.raises(CommandError, match=r"the run failed in resolve-approved\. See http://127"):
        command(kubeflow)


def test_submit_ends_at_the_start_where_it_is_asked_to(kubeflow, capsys):
    """Nothing is asked about the run then."""
    kubeflow.progress = [("FAILED", {})]
    command(kubeflow, no_wait=True)
    assert capsys.readouterr().out.startswith("started run r2: http://")
    assert kubeflow.runs[-1]["state"] == "PENDING"


@pytest.mark.parametrize(("pipeline", "argument"), [("nothing", []), ("deployment", ["version"])])
def test_what_cannot_be_submitted_is_refused_before_anything_is_asked(pipeline, argument):
    """The error says what was expected."""
    with pytest.raises((CommandError, SubmitError)) as raised:
        commands.submit(pipeline, endpoint="http://127.0.0.1:9", argument=argument)
    assert isinstance(raised.value, CommandError)
