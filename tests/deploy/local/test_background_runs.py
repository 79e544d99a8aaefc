"""Runs that the reconciler starts on this machine: noted before anybody relies on them, and ended with it."""

from __future__ import annotations

import threading

import pytest

from components.stores.objects.claims import RunState
from components.stores.objects.s3 import ObjectStoreError
from deploy.local.background_runs import BackgroundRuns
from deploy.local.runs import RunFailed, RunStopped
from reconciler.starts import StartError


class Told:
    """What the starter tells of a run. refuse: the claim cannot be written."""

    def __init__(self, *, refuse: bool = False) -> None:
        self.said: list[object] = []
        self.refuse = refuse
        self.over = threading.Event()

    def started(self, run_id):
        if self.refuse:
            raise ObjectStoreError("the store is away")
        self.said.append("started")

    def ended(self, state, reason):
        self.said.append((state, reason))
        self.over.set()

    def withdrawn(self):
        self.said.append("withdrawn")
        self.over.set()


def starter(run, ended=lambda: None) -> BackgroundRuns:
    return BackgroundRuns(None, None, "kizu-state", run=run, ended=ended)


def ends(error: Exception | None = None):
    """A pipeline that starts, and ends at once."""

    def run(layout, pipeline, arguments, *, run_id, claim, on_start, stop):
        on_start()
        if error is not None:
            raise error
        return {}

    return run


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, (RunState.SUCCEEDED, "")),
        (RunFailed("no disk\n  the whole log: x"), (RunState.FAILED, "no disk")),
        (OSError("broken pipe"), (RunState.FAILED, "OSError: broken pipe")),
    ],
)
def test_a_run_is_noted_when_it_is_there_and_when_it_ends(error, said):
    """The claim says how the run ended, with the first line of its error. Then the next pass is asked for."""
    told = Told()
    runs = starter(ends(error), ended=lambda: told.said.append("a pass"))
    assert runs.start("training", {}, "train/x/1", told)
    runs.wait()
    assert told.said == ["started", said, "a pass"]


def test_a_start_that_cannot_be_noted_is_an_error_and_no_run():
    """The claim could not be written, so the run must not go on."""
    told = Told(refuse=True)
    with pytest.raises(StartError, match="the store is away"):
        starter(ends()).start("training", {}, "train/x/1", told)
    assert told.said == []


def test_closing_ends_a_run_and_gives_its_claim_up():
    """After `kizu down` the run starts again at once, and no attempt is counted. Nothing starts any more."""

    def until_stopped(layout, pipeline, arguments, *, run_id, claim, on_start, stop):
        on_start()
        assert stop.wait(30)
        raise RunStopped("the caller stops")

    told = Told()
    runs = starter(until_stopped)
    runs.start("training", {}, "train/x/1", told)
    runs.close()
    assert told.said == ["started", "withdrawn"]
    with pytest.raises(StartError, match="stops"):
        runs.start("training", {}, "train/x/1", Told())
