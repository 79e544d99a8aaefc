"""Each image holds the rooms that it needs and no others."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from components import container_images
from tests.manifests.rendered import REPOSITORY, overlay_names, script, workloads

pytestmark = pytest.mark.manifests

COMPONENTS = REPOSITORY / "components" / "Dockerfile"
EDGE = REPOSITORY / "edge_agent" / "Dockerfile"
SHARED = {"LICENSE", "inspection", "components/*.py", "components/use_case", "components/stores"}
# Image -> what it copies from the repository. The one place where that is said twice, on purpose.
MAY_COPY = {
    "labeling": SHARED | {"components/labeling", "components/webhooks"},
    "data": SHARED | {"components/dataset", "components/evaluation", "components/registry", "components/reporting"},
    "training": SHARED
    | {"components/training", "components/yolov8", "components/generated_parts"}
    | {"locks/training.txt", "locks/training-permissive.txt"},
    "training-permissive": SHARED
    | {"components/training", "components/generated_parts", "locks/training-permissive.txt"},
    "control": SHARED
    | {"components/deployment", "components/enrolment", "components/fleet_page", "components/ingest"}
    | {"components/webhooks"}
    | {"pipelines", "reconciler", "kizu", "use_cases"}
    | {"deploy/*.py", "deploy/access/*.py", "deploy/backup/*.py", "deploy/k8s/*.py"},
    "mlflow": SHARED | {"components/approval_server"},
    "labelstudio": {"LICENSE"},
    "seaweedfs": {"LICENSE"},
    "edge": {"LICENSE", "inspection", "edge_agent"},
}
# Image -> the modules that run in it: the steps' components, what they start as a process or name by a string, and
# the commands of the manifests.
RUN_IN = {
    "labeling": ("components.labeling.component",),
    "data": (
        "components.dataset.component",
        "components.evaluation.component",
        "components.evaluation.deployed_run",
        "components.registry.component",
        "components.reporting.component",
    ),
    "training": (
        "components.training.component",
        "components.training.fcos",
        "components.yolov8.trainer",
        "components.yolov8.ultralytics_predict",
        "components.yolov8.ultralytics_train",
    ),
    "training-permissive": ("components.training.component", "components.training.fcos"),
    "control": (
        "components.deployment.component",
        "components.deployment.signer",
        "deploy.k8s.buckets",
        "kizu.__main__",
        "kizu.commands.backup",
        "kizu.commands.enrolment",
        "kizu.commands.fleet",
        "kizu.commands.fleet_page",
        "components.fleet_page.app",
        "kizu.commands.keys",
        "kizu.commands.reconcile",
        "kizu.kubeflow_starter",
        "kizu.reconciler_service",
        "kizu.reconciling",
    ),
    "mlflow": (
        "components.approval_server.app",
        "components.approval_server.make_tables",
        "components.approval_server.move_tables",
    ),
    "edge": ("edge_agent.__main__", "edge_agent.ota.trial"),
}
LOCKS = {target: REPOSITORY / "locks" / f"{target}.txt" for target in RUN_IN}
# A device that chooses them installs them; without them the agent says so.
CHOSEN_ON_A_DEVICE = {"openvino", "harvesters", "genicam"}
OURS = ("inspection", "components", "edge_agent", "pipelines", "reconciler", "kizu", "demo", "deploy", "benchmarks")


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
    """Names of the stages that become an image; these set a user."""
    return {
        stage.name
        for file in (COMPONENTS, EDGE)
        for stage in stages(file).values()
        if any(line.startswith("USER") for line in stage.lines)
    }


def sources(target: str) -> set[Path]:
    """Python files of an image, relative to the repository: what it copies and `.dockerignore` lets through."""
    found: set[Path] = set()
    for stage in chain(dockerfile_of(target), target):
        for pattern in stage.copied:
            for path in REPOSITORY.glob(pattern):
                found |= {file.relative_to(REPOSITORY) for file in ([path] if path.is_file() else path.rglob("*.py"))}
    return {path for path in found if path.suffix == ".py" and reaches_the_builder(path)}


def reaches_the_builder(path: Path) -> bool:
    """Docker's rule: the last line of `.dockerignore` that matches the path, or a folder above it, decides."""
    reaches = True
    for line in (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip().removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        parts = "".join(re.escape(part).replace(r"\*", "[^/]*") + "/" for part in pattern.split("/"))
        expression = re.compile(parts.replace("[^/]*[^/]*/", "(?:.*/)?").removesuffix("/"))
        if any(expression.fullmatch(above.as_posix()) for above in (path, *path.parents)):
            reaches = line.startswith("!")
    return reaches


def test_every_image_that_is_named_anywhere_is_a_target_and_every_target_is_known() -> None:
    """components/container_images.py, the manifests and the Dockerfiles name the same images."""
    named = {
        value
        for key, value in vars(container_images).items()
        if key.isupper() and isinstance(value, str) and ":" in value and value not in container_images.OF_OTHERS
    }
    used = {
        container["image"].removeprefix("registry.kizu.example/")
        for overlay in overlay_names()
        for workload in workloads(overlay)
        for container in (*workload.init_containers, *workload.containers)
    }
    built = {f"{container_images.REGISTRY}/{target}:{container_images.TAG}" for target in final_targets()}
    assert final_targets() == set(MAY_COPY)
    assert named <= built
    assert used <= built


@pytest.mark.parametrize("target", sorted(MAY_COPY))
def test_an_image_copies_its_own_rooms_and_nothing_else(target: str) -> None:
    """An image copies exactly the paths it may copy, each once."""
    copied = [path for stage in chain(dockerfile_of(target), target) for path in stage.copied]
    assert set(copied) == MAY_COPY[target]
    assert len(copied) == len(set(copied))


def test_code_under_agpl_is_in_the_training_image_alone() -> None:
    """Only the training image holds AGPL code, and its licence label says so."""
    for target in final_targets():
        has = any(path.parts[:2] == ("components", "yolov8") for path in sources(target))
        assert has == (target == "training"), target
        labels = [line for stage in chain(dockerfile_of(target), target) for line in stage.lines if "licenses=" in line]
        assert ('licenses="AGPL-3.0-only"' in labels[0]) == (target == "training"), target


def test_the_device_carries_no_components() -> None:
    """The edge image holds only the edge agent and the inspection package."""
    assert {path.parts[0] for path in sources("edge")} == {"inspection", "edge_agent"}


@pytest.mark.parametrize("target", sorted(RUN_IN))
def test_all_that_runs_in_an_image_is_in_it_with_what_it_imports_and_with_that_and_so_on(target: str) -> None:
    """An image holds every module of ours that its modules import, directly or not.

    Imports in functions count, too; of the command `kizu`, only those at the top of its modules count.
    """
    files = sources(target)
    for module, importer in reached(target).items():
        if module.split(".")[0] in OURS:
            place = Path(*module.split("."))
            there = {place.with_suffix(".py"), place / "__init__.py"} & files
            assert there, f"{importer} imports {module}, which the image {target} does not hold"


@pytest.mark.parametrize("target", sorted(RUN_IN))
def test_every_package_that_an_image_imports_is_in_its_lock_file(target: str) -> None:
    """The lock file has a distribution for each imported module, as this environment maps modules to distributions."""
    lock = LOCKS[target].read_text(encoding="utf-8")
    locked = {
        re.sub(r"[-_.]+", "-", name).lower() for name in re.findall(r"^([A-Za-z0-9._-]+)(?:\[.*\])?==", lock, re.M)
    }
    providers = packages_distributions()
    for module, importer in reached(target).items():
        top = module.split(".")[0]
        if top in OURS or top in sys.stdlib_module_names or (target == "edge" and top in CHOSEN_ON_A_DEVICE):
            continue
        names = {canonical(name) for name in providers[top]}
        assert names & locked, f"{importer} imports {top}, which {LOCKS[target].name} does not have"


def canonical(distribution: str) -> str:
    """A distribution's name as the packaging rules compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def reached(target: str) -> dict[str, str]:
    """Modules that what runs in an image imports, directly or not -> one that imports it."""
    found = dict.fromkeys(RUN_IN[target], target)
    waiting = list(RUN_IN[target])
    while waiting:
        module = waiting.pop()
        place = REPOSITORY / Path(*module.split("."))
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if not file.exists():
            continue
        # Other commands than those that run on a cluster may name what the image lacks.
        at_the_top = module.startswith("kizu.") and module not in RUN_IN[target]
        for name in imported(file, at_the_top=at_the_top):
            if name not in found:
                found[name] = module
                if name.split(".")[0] in OURS:
                    waiting.append(name)
    return found


def test_what_docker_ignores_is_left_out() -> None:
    """The `.dockerignore` rule of these tests lets the right paths through and keeps the others out."""
    assert reaches_the_builder(Path("components/generated_parts/scene.py"))
    assert reaches_the_builder(Path("deploy/access/layout.py"))
    assert not reaches_the_builder(Path("demo/people.py"))
    assert not reaches_the_builder(Path("deploy/local/supervisor.py"))
    assert not reaches_the_builder(Path("components/Dockerfile"))
    assert not reaches_the_builder(Path("components/stores/__pycache__/x.pyc"))
    assert not reaches_the_builder(Path("deploy/k8s/base/signer/deployment.yaml"))
    assert not reaches_the_builder(Path(".kizu/identities.json"))


def imported(file: Path, *, at_the_top: bool = False) -> set[str]:
    """Modules that a file imports; of `from x import y`, x, and x.y where that is a module of ours."""
    found: set[str] = set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in tree.body if at_the_top else ast.walk(tree):
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
    """Each image sets its user once, to 10001:10001, and its base is the build argument."""
    stack = chain(dockerfile_of(target), target)
    assert [line for stage in stack for line in stage.lines if line.startswith("USER")] == ["USER 10001:10001"]
    assert stack[-1].base == "${BASE_IMAGE}"


@pytest.mark.parametrize("dockerfile", [COMPONENTS, EDGE], ids=lambda path: path.parent.name)
def test_every_package_comes_from_a_lock_file_with_hashes(dockerfile: Path) -> None:
    """No Dockerfile installs a package by name, loads a frontend from a registry, or keeps a cache in a layer."""
    text = dockerfile.read_text(encoding="utf-8")
    assert "# syntax" not in text
    assert "pip install" not in text
    installs = [line for stage in stages(dockerfile).values() for line in stage.lines if "install-locked /" in line]
    assert installs
    assert all("type=cache" in line and "type=secret,id=ca" in line for line in installs)
    assert (REPOSITORY / "tools" / "install-locked").read_text(encoding="utf-8").count("--require-hashes") == 2


@pytest.mark.parametrize("dockerfile", [COMPONENTS, EDGE], ids=lambda path: path.parent.name)
def test_a_change_of_one_lock_file_installs_the_packages_of_its_own_image_alone_again(dockerfile: Path) -> None:
    """A stage that installs sees its own lock file and that of the installer; the folder would bring all of them."""
    for stage in stages(dockerfile).values():
        for line in stage.lines:
            mounted = set(re.findall(r"target=/run/locks(\S*)", line))
            installed = re.findall(r"install-locked /run/locks(\S+)", line)
            assert not installed or mounted == {"/uv.txt", *installed}, f"{stage.name} mounts {sorted(mounted)}"


@pytest.mark.parametrize("dockerfile", [COMPONENTS, EDGE], ids=lambda path: path.parent.name)
def test_hadolint_has_nothing_to_say(dockerfile: Path) -> None:
    """hadolint reports nothing; an exception would be in the file with its reason."""
    done = subprocess.run([script("hadolint"), str(dockerfile)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert not done.stdout


def test_the_mlflow_image_has_the_driver_that_the_documented_address_of_a_database_asks_for() -> None:
    """SQLAlchemy chooses the driver of `postgresql://`, and another version chooses another one."""
    driver = make_url("postgresql://user:password@host:5432/database").get_dialect()().driver
    lock = (REPOSITORY / "locks" / "mlflow.txt").read_text(encoding="utf-8")
    assert re.search(rf"^{driver}(-binary)?==", lock, re.M), f"the image has no {driver}"
    assert len(re.findall(r"^psycopg2?(?:-binary)?==", lock, re.M)) <= 2, "two drivers"
    assert ("psycopg2" in lock) == (driver == "psycopg2")
