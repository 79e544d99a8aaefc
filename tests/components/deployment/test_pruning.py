"""Which releases lose their files."""

from dataclasses import replace

import pytest

from components.deployment.agent_orders import AgentRequest, with_agent
from components.deployment.pruning import digests_of, prunable, prunable_agents
from components.use_case import Rollout
from inspection.documents import DesiredState, ShadowOrder, Wave
from tests.components.deployment.test_rollout_steps import BEFORE, order, step
from tests.components.deployment.test_software_steps import roll
from tests.components.deployment.test_software_steps import step as step_of_software
from tests.edge_agent.agent_wheels import RUNTIME, build_agent
from tests.reconciler.test_rules import RELEASE

VERSIONS = {number: replace(RELEASE, version=number) for number in range(1, 8)}
TARGETS = {
    f"releases/{release.digest}/{name}": size
    for release in VERSIONS.values()
    for name, size in (("release.json", 1), ("model.onnx", 100), ("g.jpg", 10))
} | {"desired/metal-tag/line.json": 5}


def pruned(desired=(), used=(), newest=1):
    found = prunable(TARGETS, VERSIONS.values(), desired, used, newest)
    return [item.version for item in found]


def digest(number):
    return VERSIONS[number].digest


def test_the_newest_stay_and_the_small_document_of_each():
    """Five of seven go; their release.json is not among the paths."""
    assert pruned(newest=2) == [1, 2, 3, 4, 5]
    first = prunable(TARGETS, VERSIONS.values(), (), (), 2)[0]
    assert (first.bytes, [path.rpartition("/")[2] for path in first.paths]) == (110, ["g.jpg", "model.onnx"])
    assert digests_of(TARGETS) == sorted(digest(number) for number in VERSIONS)


@pytest.mark.parametrize(
    ("desired", "used", "kept"),
    [
        ([], [2], 2),
        ([DesiredState(sequence=1, use_case="x", waves=(Wave(release_digest=digest(3), percent=1.0),), probation_s=1)],
         [], 3),
        ([order(VERSIONS[4])], [], 4),
        ([step(order(VERSIONS[5]), "stop")], [], 5),
        ([order(VERSIONS[6], order(VERSIONS[4], policy=Rollout()))], [], 4),
        ([replace(order(VERSIONS[7]), shadow=ShadowOrder(release_digest=digest(1), devices=("a",), share=0.1,
                                                          cpu_share=0.1))], [], 1),
    ],
    ids=["run by a device", "of a wave", "rolled out", "stopped", "to go back to", "shadow"],
)  # fmt: skip
def test_what_may_still_be_asked_for_stays(desired, used, kept):
    """Whatever its age."""
    assert kept not in pruned(desired, [digest(number) for number in used])


def test_what_is_pruned_already_is_not_listed_again():
    """Its release.json alone is left."""
    left = {path: size for path, size in TARGETS.items() if digest(1) not in path or path.endswith("release.json")}
    assert [item.version for item in prunable(left, VERSIONS.values(), (), (), 6)] == []


AGENTS = [build_agent(f"code {number}", f"0.{number}.0").release for number in range(1, 6)]
AGENT_TARGETS = {f"agent/{item.digest}/agent.json": 1 for item in AGENTS} | {
    f"agent/{wheel.sha256}/{wheel.file}": wheel.bytes for item in AGENTS for wheel in item.builds[0].wheels
}


def pruned_agents(desired=(), used=(), newest=1):
    return [item.version for item in prunable_agents(AGENT_TARGETS, AGENTS, desired, used, newest)]


def test_old_software_loses_its_own_wheels_and_what_a_kept_release_shares_stays():
    """Each `agent.json` stays, and so does the large wheel of the runtime, which all releases share."""
    assert pruned_agents(newest=2) == ["0.1.0", "0.2.0", "0.3.0"]
    found = prunable_agents(AGENT_TARGETS, AGENTS, (), (), 2)
    paths = [path for item in found for path in item.paths]
    assert [path.rpartition("/")[2] for path in paths] == [f"kizu_edge-0.{n}.0-py3-none-any.whl" for n in (1, 2, 3)]
    assert not any(RUNTIME.sha256 in path for path in paths)
    assert found[0].bytes == AGENT_TARGETS[found[0].paths[0]]


def test_a_wheel_that_two_old_releases_share_goes_once():
    """It is counted with the older one."""
    shared = build_agent("code 1", "0.1.1").release
    old = [AGENTS[0], shared, AGENTS[4]]
    found = prunable_agents(AGENT_TARGETS, old, (), (), 1)
    assert len({path for item in found for path in item.paths}) == sum(len(item.paths) for item in found)


@pytest.mark.parametrize(
    ("desired", "used", "kept"),
    [
        ([], [AGENTS[1].digest], "0.2.0"),
        ([with_agent(BEFORE, AgentRequest("metal-tag", "line", AGENTS[0].digest, devices=("a",)))], [], "0.1.0"),
        ([roll(AGENTS[2], with_agent(BEFORE, AgentRequest("metal-tag", "line", AGENTS[0].digest)))], [], "0.1.0"),
        ([roll(AGENTS[2], BEFORE)], [], "0.3.0"),
        ([step_of_software(roll(AGENTS[2], BEFORE), "stop")], [], "0.3.0"),
    ],
    ids=["a device runs or holds it", "ordered by hand", "to go back to", "rolled out", "stopped"],
)
def test_software_that_may_still_be_needed_stays(desired, used, kept):
    """Whatever its age."""
    assert kept not in pruned_agents(desired, used)
    assert kept in pruned_agents()
