"""What the scripts that build images ask of Docker, for the engine's own processor and for another one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from components.container_images import EDGE

ROOT = Path(__file__).resolve().parents[2]
# Writes down what it is asked. It has no image but those that KNOWN names, and reaches no registry.
DOCKER = """#!/bin/sh
echo "$@" >> "$LOG"
case $1 in
    version) echo linux/amd64 ;;
    images) case " $KNOWN " in *" $3 "*) echo 0123 ;; esac ;;
    pull) exit 1 ;;
    build) case $* in *--quiet*) exit 1 ;; esac; echo "$BUILD_SAYS"; exit "${BUILD_ENDS:-0}" ;;
esac
"""


def run(folder: Path, tool: str, *arguments: str, **settings: str) -> tuple[int, str, list[str]]:
    """Exit code, what was said, and what Docker was asked. settings: of the fake Docker."""
    docker = folder / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KIZU_")}
    environment |= {"KIZU_DOCKER": str(docker), "LOG": str(folder / "log")} | settings
    done = subprocess.run(
        [ROOT / "tools" / tool, *arguments], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    log = folder / "log"
    return done.returncode, done.stdout + done.stderr, log.read_text().splitlines() if log.exists() else []


def build_of(asked: list[str]) -> str:
    """The one build that was not a look whether the registry answers."""
    (build,) = (line for line in asked if line.startswith("build ") and "--quiet" not in line)
    return build


@pytest.mark.parametrize("option", [(), ("--platform", "linux/amd64")])
def test_an_image_for_the_engines_own_processor_has_the_plain_tag(tmp_path: Path, option: tuple[str, ...]) -> None:
    """With or without the option, the tag and the base image are those that manifests and tests name."""
    code, said, asked = run(tmp_path, "images", *option, "edge", KNOWN="kizu/base:3.11-bookworm")
    assert code == 0, said
    build = build_of(asked)
    assert f"-t {EDGE} " in build
    assert "--platform linux/amd64 --build-arg BASE_IMAGE=kizu/base:3.11-bookworm " in build


def test_an_image_for_another_processor_has_a_tag_and_a_base_of_its_own(tmp_path: Path) -> None:
    """It replaces neither the image nor the base image of the engine's own processor."""
    known = "python:3.11-slim-bookworm kizu/base:3.11-bookworm kizu/base:3.11-bookworm-arm64"
    code, said, asked = run(tmp_path, "images", "--platform", "linux/arm64", "edge", KNOWN=known)
    assert code == 0, said
    build = build_of(asked)
    assert f"-t {EDGE}-arm64 " in build
    assert "--platform linux/arm64 --build-arg BASE_IMAGE=kizu/base:3.11-bookworm-arm64 " in build
    assert not [line for line in asked if line.startswith("pull")]


def test_an_engine_that_cannot_run_the_other_processors_programs_is_named(tmp_path: Path) -> None:
    """The message says what is missing and what sets it up, beside the log of the build."""
    code, said, _ = run(
        tmp_path, "images", "--platform", "linux/arm64", "edge",
        KNOWN="kizu/base:3.11-bookworm-arm64", BUILD_ENDS="1", BUILD_SAYS="exec /bin/sh: exec format error",
    )  # fmt: skip
    assert code == 1
    assert "does not run programs for linux/arm64; run tools/arm-emulation as root" in said


@pytest.mark.parametrize("tool", ["images", "base-image"])
@pytest.mark.parametrize("platform", ["linux/arm/v7", "arm64", ""])
def test_a_platform_that_the_lock_files_do_not_hold_for_is_refused(tmp_path: Path, tool: str, platform: str) -> None:
    """A 32-bit device is refused before anything is built."""
    code, said, asked = run(tmp_path, tool, "--platform", platform)
    assert code == 1
    assert f"expected linux/amd64 or linux/arm64 after --platform, but got '{platform}'" in said
    assert asked == []
