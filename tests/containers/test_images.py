"""Each image contains what it needs, and nothing that it must not contain."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from components import container_images as names
from tests.containers.conftest import TARGETS
from tests.containers.docker_engine import Docker

pytestmark = pytest.mark.containers

LOCKED_DOWN = ("--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--network", "none")
PYTHON = sorted(set(TARGETS) - {"seaweedfs"})
# Image -> packages of which every module has to be importable in it.
OWN_ROOMS = {
    "labeling": ("inspection", "components.labeling"),
    "data": ("inspection", "components.dataset", "components.evaluation", "components.registry"),
    "control": ("inspection", "components.deployment", "components.ingest", "deploy.k8s"),
    "mlflow": ("inspection", "components.approval_server"),
    "edge": ("inspection", "edge_agent"),
}
IMPORT_ALL = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
print("all imported")
"""


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_an_image_runs_as_user_10001_and_says_its_licence(docker: Docker, images: dict[str, str], target: str) -> None:
    """An image runs as user 10001 by default, not as root, and has its licence label."""
    asked = docker.run("run", *LOCKED_DOWN, "--entrypoint", "id", images[target], "-u")
    assert asked == "10001"
    label = '{{index .Config.Labels "org.opencontainers.image.licenses"}}'
    assert docker.run("inspect", "--format", label, images[target]) == "Apache-2.0"


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_an_image_holds_no_code_of_the_training_room_and_no_leftovers(
    docker: Docker, images: dict[str, str], target: str
) -> None:
    """An image contains no AGPL code, no build secret, no installer's cache, and nothing of a developer's folder."""
    listed = docker.run(
        *("run", *LOCKED_DOWN, "--user", "0:0", "--entrypoint", "sh", images[target], "-c"),
        "find /app /run /var/cache/kizu /root /opt/kizu -maxdepth 6 2>/dev/null || true",
    )
    paths = listed.splitlines()
    packages = {path.rsplit("/", 1)[1] for path in paths if "/site-packages/" in path}
    assert not packages & {"torch", "ultralytics", "pip", "uv"}
    ours = [path for path in paths if path.startswith("/app/")]
    for forbidden in ("components/yolov8", "/__pycache__", ".kizu", ".git", "line_generator", "demo"):
        assert not [path for path in ours if forbidden in path], forbidden
    left = ("/run/secrets/", "/run/locks/", "/var/cache/kizu/", "/root/.cache")
    assert not [path for path in paths if path.startswith(left)]


@pytest.mark.parametrize("target", sorted(OWN_ROOMS))
def test_every_module_of_an_image_can_be_imported_in_it(docker: Docker, images: dict[str, str], target: str) -> None:
    """Every module of the image can be imported with the image's own packages and a read-only root file system."""
    arguments = ("--entrypoint", "python", images[target], "-c", IMPORT_ALL, *OWN_ROOMS[target])
    assert docker.run("run", *LOCKED_DOWN, *arguments).endswith("all imported")


@pytest.mark.parametrize("target", ["labeling", "data", "control"])
def test_a_steps_image_has_what_kubeflow_starts_it_with(docker: Docker, images: dict[str, str], target: str) -> None:
    """The image has a shell, python3 and kfp's executor, and no entry point that would swallow the command."""
    assert docker.run("inspect", "--format", "{{.Config.Entrypoint}}", images[target]) in ("[]", "<nil>")
    started = "program_path=$(mktemp -d) && python3 -c 'import kfp.dsl.executor_main' && echo started"
    assert docker.run("run", *LOCKED_DOWN, images[target], "sh", "-ec", started).endswith("started")


def test_the_device_and_the_steps_have_one_version_of_opencv_and_numpy(docker: Docker, images: dict[str, str]) -> None:
    """The images have equal versions, because resizing, and with it parity, differs between versions of OpenCV."""
    script = "import cv2, numpy; print(cv2.__version__, numpy.__version__)"
    versions = {
        target: docker.run("run", *LOCKED_DOWN, "--entrypoint", "python", images[target], "-c", script)
        for target in ("edge", "data", "labeling")
    }
    assert len(set(versions.values())) == 1, versions


def test_the_tags_are_those_that_pipelines_and_manifests_name(images: dict[str, str]) -> None:
    """The tags of the built images are the ones in `components/container_images.py`, the only place that names them."""
    assert images["labeling"] == names.LABELING
    assert images["data"] == names.DATA
    assert images["control"] == names.CONTROL
    assert images["mlflow"] == names.MLFLOW
    assert images["labelstudio"] == names.LABEL_STUDIO
    assert images["edge"] == names.EDGE


def test_the_edge_image_is_small(docker: Docker, images: dict[str, str], tmp_path: Path) -> None:
    """The edge image has at most 600 MB unpacked and 220 MB compressed; -s prints the largest folders."""
    unpacked = int(docker.run("image", "inspect", "--format", "{{.Size}}", images["edge"]))
    saved = tmp_path / "edge.tar"
    docker.run("save", "--output", str(saved), images["edge"])
    packer = zlib.compressobj(6, wbits=31)  # as registries and `docker save | gzip` keep layers
    with saved.open("rb") as file:
        compressed = sum(len(packer.compress(part)) for part in iter(lambda: file.read(2**20), b"")) + len(
            packer.flush()
        )
    largest = docker.run(
        *("run", *LOCKED_DOWN, "--entrypoint", "sh", images["edge"], "-c"),
        "du -sm /usr /opt/kizu /app; du -sm /opt/kizu/lib/python3.11/site-packages/* | sort -rn | head -8",
    )
    print(f"edge: {unpacked / 1e6:.0f} MB unpacked, {compressed / 1e6:.0f} MB compressed\n{largest}")
    assert unpacked <= 600e6
    assert compressed <= 220e6
