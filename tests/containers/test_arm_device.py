"""How the tests of the image for ARM notice that emulation does not work, and that two machines disagree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from inspection import Box, Detection, Tolerance, Verdict
from tests.containers.arm_device import Answer, NoEmulation, build_image, check_emulation, differences
from tests.containers.docker_engine import Docker

SEEN = Answer(Verdict.FAIL, (Detection("stain", 0.8, Box(10, 10, 30, 20)),))


def engine(folder: Path, on_run: str) -> Docker:
    """A docker command that does this for `docker run`, and writes down how it was called."""
    command = folder / "docker"
    command.write_text(f'#!/bin/sh\necho "$1 $2" >> {folder}/called\nif [ "$1" = run ]; then\n{on_run}\nfi\n')
    command.chmod(0o755)
    return Docker(str(command))


def test_a_build_without_emulation_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The build needs the emulation, too. A build that fails for another reason is a failed test."""
    monkeypatch.setenv("KIZU_BASE_IMAGE", "base")
    docker = tmp_path / "docker"
    for said, error in (("exec format error", NoEmulation), ("no space left on device", AssertionError)):
        docker.write_text(f"#!/bin/sh\ncase $1 in version) echo linux/amd64 ;; build) echo {said}; exit 1 ;; esac\n")
        docker.chmod(0o755)
        with pytest.raises(error, match="run tools/arm-emulation as root" if error is NoEmulation else said):
            build_image(Docker(str(docker)))


def test_an_emulation_that_hangs_is_noticed_and_its_container_removed(tmp_path: Path) -> None:
    """A qemu that crashed may leave a container that runs for ever. The reason says what to do."""
    docker = engine(tmp_path, "exec sleep 60")
    with pytest.raises(NoEmulation, match=r"did not end within 0 s; .*run tools/arm-emulation"):
        check_emulation(docker, "kizu/edge", limit_s=0.3)
    assert (tmp_path / "called").read_text().splitlines()[-1] == "rm --force"


@pytest.mark.parametrize(
    ("on_run", "reason"),
    [
        ("echo 'qemu: uncaught target signal 11 (Segmentation fault)'; exit 139", "Segmentation fault"),
        ("echo x86_64 1.22.0", "expected kizu/edge to run on aarch64"),
    ],
)
def test_an_emulation_that_crashes_or_is_none_is_noticed(tmp_path: Path, on_run: str, reason: str) -> None:
    """A qemu that is too old ends onnxruntime by a signal; an image for this machine is no test of the other."""
    with pytest.raises(NoEmulation, match=reason.replace("(", r"\(")):
        check_emulation(engine(tmp_path, on_run), "kizu/edge")


def test_an_emulation_that_works_names_its_processor(tmp_path: Path) -> None:
    """What it prints is shown with the tests."""
    assert check_emulation(engine(tmp_path, "echo aarch64 1.22.0"), "kizu/edge") == "aarch64 1.22.0"


@pytest.mark.parametrize(
    "other",
    [
        replace(SEEN, verdict=Verdict.UNCERTAIN),
        replace(SEEN, detections=()),
        replace(SEEN, detections=(Detection("stain", 0.74, Box(10, 10, 30, 20)),)),
        replace(SEEN, detections=(Detection("stain", 0.8, Box(14, 10, 30, 20)),)),
    ],
)
def test_another_verdict_score_or_box_is_a_difference(other: Answer) -> None:
    """Equal verdicts are not enough: scores and boxes lie within the tolerance, too."""
    assert differences({"a": SEEN}, {"a": SEEN}, Tolerance(), 0.1) == []
    assert len(differences({"a": other}, {"a": SEEN}, Tolerance(), 0.1)) == 1
