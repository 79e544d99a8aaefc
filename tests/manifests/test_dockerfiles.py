"""Each image holds the rooms that it needs and no others."""

from __future__ import annotations

import ast
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from components import images
from tests.manifests.rendered import REPOSITORY, overlay_names, script, workloads

pytestmark = pytest.mark.manifests

COMPONENTS = REPOSITORY / "components" / "Dockerfile"
EDGE = REPOSITORY / "edge_agent" / "Dockerfile"
SHARED = {"LICENSE", "inspection", "components/*.py"}
# Image -> what it copies from the repository. The one place where that is said twice, on purpose.
MAY_COPY = {
    "labeling": SHARED | {"components/labeling"},
    "data": SHARED
    | {"components/dataset", "components/evaluation", "components/registry"}
    | {"components/reporting", "components/templates"},
    "training": SHARED
    | {"components/trainers", "components/training"}
    | {"locks/training.txt", "locks/training-permissive.txt"},
    "training-permissive": SHARED | {"components/trainers", "locks/training-permissive.txt"},
    "control": SHARED
    | {"components/deployment", "components/enrolment", "components/ingest", "pipelines", "use_cases"}
    | {"deploy/*.py", "deploy/local/*.py", "deploy/k8s/*.py"},
    "mlflow": SHARED | {"components/approval_server"},
    "labelstudio": {"LICENSE"},
    "seaweedfs": {"LICENSE"},
    "edge": {"LICENSE", "inspection", "edge_agent"},
}
# Images whose steps are imported by Kubeflow's executor: their code must be complete.
STEPS = ("labeling", "data", "training", "training-permissive", "control", "edge")


@dataclass
class Stage:
    """One `FROM … AS …` and what follows it."""

    name: str
    base: str
    copied: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def stages(dockerfile: Path) -> dict[str, Stage]:
    found: dict[str, Stage] = {}
    current: Stage | None = None
    for line in re.sub(r"\\\n", " ", dockerfile.read_text(encoding="utf-8")).splitlines():
        if start := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            current = found.setdefault(start[2], Stage(start[2], start[1]))
        elif current is not None and line.strip() and not line.startswith("#"):
            current.lines.append(line)
            words = line.split()
            if words[0] == "COPY" and not words[1].startswith("--from"):
                current.copied += [word.rstrip("/") for word in words[1:-1]]
    return found


def chain(dockerfile: Path, target: str) -> list[Stage]:
    """The target and the stages that it stands on."""
    known, found = stages(dockerfile), []
    while target in known:
        found.append(known[target])
        target = known[target].base
    return found


def dockerfile_of(target: str) -> Path:
    return EDGE if target == "edge" else COMPONENTS


def final_targets() -> set[str]:
    """Stages that are an image: they set a user."""
    return {
        stage.name
        for file in (COMPONENTS, EDGE)
        for stage in stages(file).values()
        if any(line.startswith("USER") for line in stage.lines)
    }


def sources(target: str) -> set[Path]:
    """Python files of an image, relative to the repository."""
    found: set[Path] = set()
    for stage in chain(dockerfile_of(target), target):
        for pattern in stage.copied:
            for path in REPOSITORY.glob(pattern):
                found |= {file.relative_to(REPOSITORY) for file in ([path] if path.is_file() else path.rglob("*.py"))}
    return {path for path in found if path.suffix == ".py"}


def test_every_image_that_is_named_anywhere_is_a_target_and_every_target_is_known() -> None:
    """components/images.py, the manifests and the Dockerfiles speak of the same images."""
    named = {value for key, value in vars(images).items() if key.isupper() and isinstance(value, str) and ":" in value}
    used = {
        container["image"].removeprefix("registry.kizu.example/")
        for overlay in overlay_names()
        for workload in workloads(overlay)
        for container in (*workload.init_containers, *workload.containers)
    }
    built = {f"{images.REGISTRY}/{target}:{images.TAG}" for target in final_targets()}
    assert final_targets() == set(MAY_COPY)
    assert named <= built
    assert used <= built


@pytest.mark.parametrize("target", sorted(MAY_COPY))
def test_an_image_copies_its_own_rooms_and_nothing_else(target: str) -> None:
    """No secret, no state, no room of another step."""
    copied = [path for stage in chain(dockerfile_of(target), target) for path in stage.copied]
    assert set(copied) == MAY_COPY[target]
    assert len(copied) == len(set(copied))


def test_code_under_agpl_is_in_the_training_image_alone() -> None:
    """And that image says so."""
    for target in final_targets():
        has = any(path.parts[:2] == ("components", "training") for path in sources(target))
        assert has == (target == "training"), target
        labels = [line for stage in chain(dockerfile_of(target), target) for line in stage.lines if "licenses=" in line]
        assert ('licenses="AGPL-3.0-only"' in labels[0]) == (target == "training"), target


def test_the_device_carries_no_components() -> None:
    """Only the agent and the shared language."""
    assert {path.parts[0] for path in sources("edge")} == {"inspection", "edge_agent"}


@pytest.mark.parametrize("target", STEPS)
def test_every_module_of_ours_that_an_image_imports_is_in_it(target: str) -> None:
    """Imports at the top of a module always, and in functions too; the command `kizu` may name what it lacks."""
    files = sources(target)
    rooms = ("inspection", "components", "edge_agent", "pipelines", "deploy")
    for path in sorted(files):
        if path.parts[0] in ("pipelines", "deploy"):
            continue  # compositions: they import by command, and a container test runs those that a cluster runs
        for module in imported(REPOSITORY / path):
            if module.split(".")[0] not in rooms:
                continue
            place = Path(*module.split("."))
            assert place.with_suffix(".py") in files or place / "__init__.py" in files, f"{path} imports {module}"


def imported(file: Path) -> set[str]:
    """Modules that a file imports; of `from x import y`, x, and x.y where that is a module of ours."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            for alias in node.names:
                place = REPOSITORY / Path(*node.module.split("."), alias.name)
                if place.with_suffix(".py").exists() or (place / "__init__.py").exists():
                    found.add(f"{node.module}.{alias.name}")
    return found


@pytest.mark.parametrize("target", sorted(MAY_COPY))
def test_an_image_runs_as_a_user_with_a_number_and_from_a_base_that_can_be_replaced(target: str) -> None:
    """The last word on the user is 10001, and the base is the build argument."""
    stack = chain(dockerfile_of(target), target)
    assert [line for stage in stack for line in stage.lines if line.startswith("USER")] == ["USER 10001:10001"]
    assert stack[-1].base == "${BASE_IMAGE}"


@pytest.mark.parametrize("dockerfile", [COMPONENTS, EDGE], ids=lambda path: path.parent.name)
def test_every_package_comes_from_a_lock_file_with_hashes(dockerfile: Path) -> None:
    """No `pip install` of a name, no frontend from a registry, and no cache in a layer."""
    text = dockerfile.read_text(encoding="utf-8")
    assert "# syntax" not in text
    assert "pip install" not in text
    installs = [line for stage in stages(dockerfile).values() for line in stage.lines if "install-locked /" in line]
    assert installs
    assert all("type=cache" in line and "type=secret,id=ca" in line for line in installs)
    assert (REPOSITORY / "tools" / "install-locked").read_text(encoding="utf-8").count("--require-hashes") == 2


@pytest.mark.parametrize("dockerfile", [COMPONENTS, EDGE], ids=lambda path: path.parent.name)
def test_hadolint_has_nothing_to_say(dockerfile: Path) -> None:
    """Each exception would stand in the file with its reason."""
    done = subprocess.run([script("hadolint"), str(dockerfile)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert not done.stdout
