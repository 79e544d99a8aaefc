"""Which releases lose their files."""

from dataclasses import replace

import pytest

from components.deployment.pruning import digests_of, prunable
from components.use_case import Rollout
from inspection.documents import DesiredState, ShadowOrder, Wave
from tests.components.deployment.test_rollout_steps import order, step
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
