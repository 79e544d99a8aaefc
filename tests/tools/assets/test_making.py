"""The steps of a team's stage *assets*."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime

import pytest

from tools.assets.making import AssetsError, Making
from tools.assets.provenance import RECORD, verify
from tools.signatures import make_key


def making(folder, *, commit="c" * 40, code=0, asked=None, **more):
    """With a kubectl that renders one line, and a command line of which nothing runs."""

    def run(command):
        return subprocess.CompletedProcess(command, 0, "kind: Deployment\n", "")

    def stream(command):
        if asked is not None:
            asked.append(list(command))
        return code

    at = datetime(2026, 11, 28, tzinfo=UTC)
    return Making("labeling", folder, commit, at, run, lambda _: None, stream, **more)


def test_steps_of_one_commit_add_up_and_those_of_another_do_not_count(tmp_path):
    """CI runs the stage in several calls; what is left of an older commit is never recorded as this one's."""
    record = making(tmp_path).make(["render"])
    assert record["steps"] == ["render"]
    assert list(record["manifests"]) == ["labeling.yaml"]
    assert making(tmp_path).make(["test"])["steps"] == ["test", "render"]
    other = making(tmp_path, commit="d" * 40).make(["test"])
    assert (other["steps"], other["manifests"], other["commit"]) == (["test"], {}, "d" * 40)


def test_what_was_made_is_signed_with_all_its_steps(tmp_path):
    """The provenance names the steps of every call, the record and the manifests."""
    key, folder = make_key(tmp_path / "key"), tmp_path / "assets"
    making(folder).make(["test", "render"])
    making(folder, key=key).make(["sign"])
    definition = verify(folder, key.with_name("signing.pub.pem"))["buildDefinition"]
    assert definition["externalParameters"] == {"team": "labeling", "steps": ["test", "render", "sign"]}
    assert {"locks/labeling.txt", "locks/labelstudio.txt"} <= {
        each["uri"].removeprefix("file:") for each in definition["resolvedDependencies"]
    }


def test_only_the_tests_of_the_team_run_and_a_failure_ends_the_stage(tmp_path):
    """Nothing is recorded of a stage whose tests failed."""
    asked = []
    with pytest.raises(AssetsError, match="the tests of labeling failed"):
        making(tmp_path, code=1, asked=asked).make(["test", "render"])
    assert "tests/components/labeling" in asked[0]
    assert not [each for each in asked[0] if "edge_agent" in each or "training" in each]
    assert not (tmp_path / RECORD).exists()


@pytest.mark.parametrize(("step", "lacks"), [("push", "REGISTRY="), ("sign", "KEY=")])
def test_a_step_that_lacks_its_setting_is_told_before_anything_runs(tmp_path, step, lacks):
    """Not after the tests and the builds."""
    asked = []
    with pytest.raises(AssetsError, match=lacks):
        making(tmp_path, asked=asked).make(["test", step])
    assert asked == []
    (tmp_path / RECORD).write_text("{ damaged")
    assert json.loads(json.dumps(making(tmp_path).make(["render"])))["steps"] == ["render"]
