"""Pipelines in their images through kfp's DockerRunner, against the services of the cluster's network."""

from __future__ import annotations

import contextlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from kfp import local

from components.dataset.component import freeze_dataset
from components.ingest.folder import image_files, ingest
from components.stores.objects.s3 import S3ObjectStore
from components.stores.raw_images.images import RawImages
from components.use_case import load_use_case
from pipelines.labeling import labeling
from tests.containers.docker_engine import REPOSITORY
from tests.containers.pods import Cluster, Pod

pytestmark = pytest.mark.containers

USE_CASE = load_use_case(REPOSITORY / "use_cases" / "metal-tag.yaml").to_json()


def run_in_containers(cluster: Cluster, pipeline: str, folder: Path) -> None:
    """From here on kfp starts each task in its image, with the Secret of the pipeline and nothing else."""
    runner = local.DockerRunner(
        network=cluster.name,
        environment=dict(cluster.secrets["kubeflow", f"kizu-{pipeline}"]),
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        read_only=True,
        tmpfs={"/tmp": "size=256m"},
        mem_limit="2g",
    )
    local.init(runner, pipeline_root=str(folder), raise_on_error=True)


def ingest_pictures(cluster: Cluster, seaweedfs: Pod, folder: Path, count: int) -> None:
    """Small pictures, put into the raw bucket as `kizu import images` does."""
    folder.mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((60, 90, 3), 40 * (number + 1), np.uint8))
    key = cluster.secrets["kizu", "kizu-bucket-setup"]
    store = S3ObjectStore(seaweedfs.url(), "us-east-1", key["AWS_ACCESS_KEY_ID"], key["AWS_SECRET_ACCESS_KEY"])
    done = ingest(RawImages(store, "kizu-raw"), folder, image_files(folder), name="probe", site="factory", parts={})
    assert done.new == count


# On one machine, kfp warns that the sizes of a step's pod are for a cluster.
@pytest.mark.filterwarnings("ignore:.* no effect in the current local runner:UserWarning")
def test_the_labeling_pipeline_makes_tasks_for_new_images_and_none_twice(
    cluster: Cluster, seaweedfs: Pod, labelstudio: Pod, shared_folder: Path, tmp_path: Path
) -> None:
    """All three steps in their image. Label Studio reaches S3's private address with the protection of its manifest.

    Outputs are what counts: a container that failed may be reported as good when it is removed before it is asked.
    """
    ingest_pictures(cluster, seaweedfs, tmp_path / "pictures", 3)
    run_in_containers(cluster, "labeling", shared_folder)
    first = labeling(use_case=USE_CASE, wait_s=0).outputs
    assert (int(first["found"]), int(first["open_labeling"]), int(first["approved"])) == (3, 3, 0)
    again = labeling(use_case=USE_CASE, wait_s=0).outputs
    assert int(again["open_labeling"]) == 3


def test_a_step_that_cannot_go_on_says_why(
    cluster: Cluster, seaweedfs: Pod, shared_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Freezing a dataset before anybody labelled: no outputs, and the log has the library's own message.

    The log is what counts: whether the runner raises depends on when the engine removes the container.
    """
    run_in_containers(cluster, "training", shared_folder)
    with contextlib.suppress(RuntimeError):
        freeze_dataset(use_case=USE_CASE, label_version=-1)
    assert "DatasetError" in capfd.readouterr().out
    assert not list(shared_folder.rglob("dataset_digest"))
