"""The images, built once; and the services of the local overlay in them, started once."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from components import container_images as names
from components.deployment import keys
from components.enrolment.bundle import CREDENTIALS_FILE, ROOT_FILE
from components.enrolment.port import DeviceIdentity
from components.enrolment.seaweedfs import SeaweedFSIdentities
from deploy.k8s.credentials import Addresses, make
from tests.containers.docker_engine import REPOSITORY, Docker
from tests.containers.pods import Cluster, Pod
from tests.manifests.rendered import Workload, workloads

OVERLAY = "local"
# All but `training` and `training-permissive`, whose packages alone are 6 GB: `make images` builds them.
TARGETS = ("seaweedfs", "control", "mlflow", "labelstudio", "labeling", "data", "edge")


@pytest.fixture(scope="session")
def docker() -> Docker:
    """The engine of this machine (`KIZU_DOCKER` names another command)."""
    command = os.environ.get("KIZU_DOCKER") or shutil.which("docker")
    if command is None:
        pytest.skip("no docker command on this machine")
    done = subprocess.run([command, "info"], capture_output=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        pytest.skip("the Docker engine does not answer to `docker info`")
    return Docker(command)


@pytest.fixture(scope="session")
def images(docker: Docker) -> dict[str, str]:
    """Target -> tag of every image but those that train, built as `make images` builds them."""
    done = subprocess.run(
        [str(REPOSITORY / "tools" / "images"), *TARGETS],
        env=os.environ | {"KIZU_DOCKER": docker.command},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, "the images could not be built: see above (with -s)"
    return {target: f"{names.REGISTRY}/{target}:{names.TAG}" for target in TARGETS}


@pytest.fixture(scope="session")
def cluster(docker: Docker, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A network with the names of the cluster, and the Secrets as `deploy.k8s.credentials` makes them."""
    folder = tmp_path_factory.mktemp("cluster")
    keys.init(folder / "root-key", folder / "signer-keys")
    made = make(folder / "secrets", folder / "signer-keys", Addresses(), pipelines_namespace="kubeflow")
    secrets = {(s["metadata"]["namespace"], s["metadata"]["name"]): s["stringData"] for s in made}
    running = Cluster(docker, OVERLAY, secrets)
    running.create()
    try:
        yield running
    finally:
        running.destroy()


def workload(name: str) -> Workload:
    """A workload of the overlay."""
    return next(found for found in workloads(OVERLAY) if found.name == name)


@pytest.fixture(scope="session")
def seaweedfs(cluster: Cluster) -> Pod:
    """S3 with the buckets, made by the Job, and the example device enrolled."""
    pod = cluster.start(workload("seaweedfs"))
    pod.wait_until_started()
    cluster.run(workload("bucket-setup"))
    admin = cluster.secrets["kizu", "kizu-bucket-setup"]
    identities = SeaweedFSIdentities(pod.url(), "us-east-1", admin["AWS_ACCESS_KEY_ID"], admin["AWS_SECRET_ACCESS_KEY"])
    key = identities.create(DeviceIdentity("line1", "factory"))
    cluster.secrets["kizu-edge", "kizu-device-line1"] = {
        CREDENTIALS_FILE: key.to_json().decode(),
        ROOT_FILE: cluster.secrets["kizu-signer", "kizu-signer-keys"][ROOT_FILE],
    }
    return pod


@pytest.fixture(scope="session")
def mlflow(cluster: Cluster, seaweedfs: Pod) -> Pod:
    """Tracking and registry."""
    pod = cluster.start(workload("mlflow"))
    pod.wait_until_started()
    return pod


@pytest.fixture(scope="session")
def labelstudio(cluster: Cluster, seaweedfs: Pod) -> Pod:
    """Label Studio with its first account."""
    pod = cluster.start(workload("labelstudio"))
    pod.wait_until_started()
    return pod


@pytest.fixture(scope="session")
def signer(cluster: Cluster, mlflow: Pod) -> Pod:
    """The signer with its keys."""
    pod = cluster.start(workload("signer"))
    pod.wait_until_started()
    return pod


@pytest.fixture(scope="session")
def edge(cluster: Cluster, seaweedfs: Pod) -> Pod:
    """A device."""
    pod = cluster.start(workload("edge"))
    pod.wait_until_started()
    return pod


@pytest.fixture
def shared_folder(tmp_path: Path) -> Iterator[Path]:
    """Where task outputs pass between the runner (this user) and the containers (10001): open to both."""
    before = os.umask(0)
    tmp_path.chmod(0o755)
    folder = tmp_path / "outputs"
    folder.mkdir()
    try:
        yield folder
    finally:
        os.umask(before)
