"""The lock files: one set of versions for all images, and for every Python and processor that Kizu supports."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

REPOSITORY = Path(__file__).resolve().parents[1]
LOCKS = sorted((REPOSITORY / "locks").glob("*.txt"))
PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")
# The locks of images and devices. Each is an extra of pyproject.toml, and the tests' environment holds all of them.
IMAGES = (
    "edge",
    "edge-genicam",
    "edge-openvino",
    "labeling",
    "data",
    "training",
    "training-permissive",
    "control",
    "mlflow",
)


def entries(lock: Path) -> list[Requirement]:
    """The pinned requirements of a lock file, without their hashes."""
    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    return [Requirement(line.split(" --hash=")[0].strip()) for line in text.splitlines() if line.strip()]


def blocks(lock: Path) -> dict[str, str]:
    """Each package of a lock file -> its line with all hashes."""
    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    return {re.split(r"==", line)[0]: re.sub(r"\s+", " ", line) for line in text.splitlines() if line.strip()}


def environment(python: str, machine: str) -> dict[str, str]:
    return {
        "python_version": python, "python_full_version": f"{python}.9", "platform_machine": machine,
        "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix",
        "implementation_name": "cpython", "platform_python_implementation": "CPython",
    }  # fmt: skip


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_locked_package_has_an_exact_version_and_hashes(lock: Path) -> None:
    """Each line pins one version with `==` and carries at least one sha256."""
    for line in blocks(lock).values():
        assert re.match(r"[a-z0-9.-]+==\S+ ", line), line
        assert "--hash=sha256:" in line, line


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_no_package_is_locked_twice(lock: Path) -> None:
    """One version of a package holds for all Pythons and processors, so what CI tests is what each of them runs."""
    names = [entry.name for entry in entries(lock)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_the_supported_pythons_and_processors_get_the_same_packages(lock: Path) -> None:
    """A marker may tell apart only what no supported environment has; so every environment installs the same set."""
    for entry in entries(lock):
        marker: Marker | None = entry.marker
        if marker is not None:
            chosen = {marker.evaluate(environment(python, machine)) for python in PYTHONS for machine in MACHINES}
            assert len(chosen) == 1, entry


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_the_versions_and_files_that_the_tests_run_with(image: str) -> None:
    """Every package of an image's lock has the same line, hashes included, in locks/dev.txt."""
    dev = blocks(REPOSITORY / "locks" / "dev.txt")
    for name, line in blocks(REPOSITORY / "locks" / f"{image}.txt").items():
        assert dev.get(name) == line, f"{name} in locks/{image}.txt differs from locks/dev.txt; run make lock"


def test_the_supported_pythons_are_the_same_everywhere() -> None:
    """`requires-python`, tools/setup and tools/check-locks name Python 3.11 to 3.13."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    allowed = SpecifierSet(project["requires-python"])
    assert tuple(v for v in ("3.10", *PYTHONS, "3.14") if allowed.contains(f"{v}.0")) == PYTHONS
    assert f'VERSIONS="{" ".join(PYTHONS)}"' in (REPOSITORY / "tools" / "setup").read_text(encoding="utf-8")
    assert f"in {' '.join(PYTHONS)};" in (REPOSITORY / "tools" / "check-locks").read_text(encoding="utf-8")
