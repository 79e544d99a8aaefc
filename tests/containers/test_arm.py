"""The device's image for linux/arm64, emulated: it takes an update, and judges as on x86_64 (`make test-arm`).

Emulation is slow and computes with qemu's arithmetic. It shows that image and packages work on the other processor,
and that the answers agree; it says nothing about the time that a real device takes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from components.deployment import keys
from components.stores.releases.repository import ReleaseRepository
from edge_agent.inference import RuntimeChoice, load_release
from inspection import ClassThreshold, DesiredState, Reported, Verdict, Wave, decode_image
from inspection.paths import desired_path
from tests.containers.arm_device import (
    Answer,
    ArmDevice,
    NoEmulation,
    build_image,
    check_emulation,
    differences,
)
from tests.containers.docker_engine import Docker
from tests.containers.stained_plates import CLASS, PROBATION_FRAMES, Trained, release_of, train
from tests.edge_agent.models import BuiltRelease
from tests.edge_agent.servers import Seaweed, remove, wait_for

pytestmark = pytest.mark.arm

# For an emulated frame. A budget belongs to a release, and this one is for no line.
_BUDGET_MS = 20_000.0
_PROBATION_S = 3.0
_UPDATE_S = 400.0
"""More than a download and the longest trial that the agent allows."""


@pytest.fixture(scope="module")
def image(docker: Docker) -> str:
    """The image for linux/arm64, which this machine can run."""
    try:
        tag = build_image(docker)
        print(f"{tag}: {check_emulation(docker, tag)}")
    except NoEmulation as e:
        pytest.skip(str(e))
    return tag


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def built(trained: Trained) -> BuiltRelease:
    """The release that the device is given. Its golden samples were chosen on this machine."""
    return release_of(trained, latency_budget_ms=_BUDGET_MS, probation_s=_PROBATION_S)


@pytest.fixture(scope="module")
def pictures(trained: Trained) -> dict[str, bytes]:
    """Name -> image: the test images, as PNG and JPEG, and a black picture, which says nothing."""
    black = cv2.imencode(".png", np.zeros((120, 200, 3), np.uint8))[1].tobytes()
    return {image.sha256[:12]: trained.line.images[image.sha256] for image in trained.test_images} | {"black": black}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """S3 with the device's buckets, on loopback."""
    server = Seaweed(tmp_path_factory.mktemp("seaweed"))
    server.start()
    try:
        server.make_buckets()
        yield server
    finally:
        server.stop()
        remove(server.folder / "data")


@pytest.fixture(scope="module")
def signer(store: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> tuple[ReleaseRepository, bytes]:
    """The signer's repository, still empty, and the root that a device pins."""
    folder = tmp_path_factory.mktemp("keys")
    root = keys.init(folder / "root", folder / "signer").read_bytes()
    signers = keys.load_signers(folder / "signer")
    repository = ReleaseRepository(store.store("signer"), "kizu-releases", keys.load_root(folder / "signer"), signers)
    repository.initialise()
    return repository, root


@pytest.fixture(scope="module")
def device(
    docker: Docker,
    image: str,
    store: Seaweed,
    signer: tuple[ReleaseRepository, bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ArmDevice]:
    """A device without a release, whose agent does not run yet."""
    made = ArmDevice(docker, image, tmp_path_factory.mktemp("device") / "line1", store, signer[1])
    try:
        yield made
    finally:
        made.remove()


@dataclass(frozen=True)
class Updated:
    """A device that has taken the release and was stopped, and what it said on the way.

    release: what it said of its releases. report: what it told the fleet. frame_ms: median.
    """

    device: ArmDevice
    release: dict
    report: Reported
    answers: dict[str, Answer]
    frame_ms: float


@pytest.fixture(scope="module")
def updated(
    device: ArmDevice,
    store: Seaweed,
    signer: tuple[ReleaseRepository, bytes],
    built: BuiltRelease,
    pictures: dict[str, bytes],
) -> Updated:
    """Start the agent, order the release, let its probation pass with the pictures, and stop the agent in order."""
    desired = DesiredState(
        sequence=1, use_case="tags", waves=(Wave(release_digest=built.digest, percent=100.0),), probation_s=_PROBATION_S
    )
    files = [(f"releases/{built.digest}/{name}", data) for name, data in built.files.items()]
    began = time.monotonic()
    device.start()
    wait_for(lambda: device.release().get("phase") == "idle", 60, 1.0)
    assert device.release().get("running") is None
    print(f"the agent answers after {time.monotonic() - began:.0f} s")
    began = time.monotonic()
    signer[0].publish([*files, (desired_path("tags", "line1"), desired.to_json())])

    def on_probation() -> bool:
        said = device.release()
        assert not said.get("failed"), f"the release was refused: {said['failed']}\n{device.logs()}"
        return said.get("running") == built.digest

    wait_for(on_probation, _UPDATE_S, 1.0)
    print(f"the release runs {time.monotonic() - began:.0f} s after its publication")
    wait_for(lambda: device.release().get("phase") == "probation", 60, 1.0)  # it waits for frames
    results = {name: device.inspect(data) for name, data in pictures.items()}
    wait_for(lambda: device.release().get("phase") == "idle", 120, 1.0)
    assert {result.release_digest for result in results.values()} == {built.digest}
    release = wait_for(device.release, 60, 1.0)

    def reported() -> Reported | None:
        report = Reported.from_json(store.store("admin").get("kizu-fleet", "dev1/reported.json"))
        return report if report.state == "running" else None

    report = wait_for(reported, 120, 1.0)
    assert device.end() == 0
    answers = {name: Answer(result.verdict, result.detections) for name, result in results.items()}
    frame_ms = float(np.median([result.infer_ms for result in results.values()]))
    return Updated(device, release, report, answers, frame_ms)


def judged_here(
    built: BuiltRelease, folder: Path, pictures: dict[str, bytes], thresholds: ClassThreshold | None = None
) -> dict[str, Answer]:
    """What the release says about the pictures on this machine, through the agent's own code.

    thresholds: other ones than those of the release.
    """
    release = replace(built.release, thresholds={CLASS: thresholds}) if thresholds else built.release
    loaded = load_release(built.write(folder), built.digest, release, RuntimeChoice(threads=1))
    said = {name: loaded.inspector.inspect(decode_image(data)) for name, data in pictures.items()}
    return {name: Answer(inspection.verdict, inspection.detections) for name, inspection in said.items()}


def test_the_selftest_passes_on_arm(device: ArmDevice) -> None:
    """Disk, camera, store and signed releases, as a device sees them that has no release yet."""
    said = device.selftest()
    found = {line.split(":")[0].split(maxsplit=1)[1]: line.split()[0] for line in said.splitlines() if ": " in line}
    assert found["state folder"] == found["cameras"] == found["S3, own identity"] == found["releases"] == "ok", said
    assert "FAILED" not in said


def test_a_signed_release_is_tried_kept_and_reported_on_arm(updated: Updated, built: BuiltRelease) -> None:
    """The device had no release. It took one from the store, tried it, kept it after probation, and reports it."""
    release, report = updated.release, updated.report
    assert (release["running"], release["phase"], release["pending"]) == (built.digest, "idle", None)
    assert (release["failed"], release["reason"]) == ({}, "up-to-date")
    assert (report.running_release, report.pending_release, report.sequence_seen) == (built.digest, None, 1)
    assert report.frames >= PROBATION_FRAMES
    assert report.problem == ""


def test_golden_samples_and_verdicts_on_arm_are_those_of_x86(
    updated: Updated, built: BuiltRelease, pictures: dict[str, bytes], tmp_path: Path
) -> None:
    """The device reproduces the golden samples, and its agent says of every picture what this processor says.

    All verdicts are equal, and all detections within the tolerance of the release. The pictures give all three
    verdicts, and with another threshold on one side the comparison fails.
    """
    said = updated.device.selftest()
    assert f"release {built.digest[:12]} reproduces {len(built.release.golden)} samples" in said, said

    threshold, tolerance = built.release.thresholds[CLASS], built.release.golden[0].tolerance
    here = judged_here(built, tmp_path / "here", pictures)
    verdicts = Counter(answer.verdict for answer in here.values())
    assert verdicts[Verdict.PASS] >= 3, verdicts
    assert verdicts[Verdict.FAIL] >= 3, verdicts
    assert verdicts[Verdict.UNCERTAIN] >= 1, verdicts
    assert here["black"].verdict is Verdict.UNCERTAIN

    assert differences(updated.answers, here, tolerance, threshold.uncertain) == []
    gaps = [
        abs(one.score - other.score)
        for name, answer in here.items()
        for one, other in zip(answer.detections, updated.answers[name].detections, strict=False)
    ]
    print(f"{dict(verdicts)}; scores differ by at most {max(gaps):.2g}; {updated.frame_ms:.0f} ms a frame, emulated")

    stricter = ClassThreshold(fail=1.0, uncertain=threshold.uncertain)
    assert differences(updated.answers, judged_here(built, tmp_path / "strict", pictures, stricter), tolerance, 0.0)
