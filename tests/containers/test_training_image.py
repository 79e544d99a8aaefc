"""`make test-training-image`: a training in the image `training`, as kfp's DockerRunner starts a step."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kfp import local

from components.container_images import TRAINING
from components.ingest.folder import image_files, ingest
from components.settings import Settings
from components.stores.labels.store import LabelEvent, LabelStatus, LabelStore
from components.stores.objects.s3 import S3ObjectStore
from components.stores.raw_images.images import RawImages
from demo.choices import demo_use_case
from demo.data import DemoData, generated
from demo.state import DemoOptions
from inspection.image import decode_image, sha256_of
from pipelines.training import training
from tests.containers.docker_engine import Docker
from tests.containers.pods import Cluster, Pod

pytestmark = pytest.mark.training_image

PARTS = 30


@pytest.fixture
def image(docker: Docker) -> str:
    """The image, which nothing here builds: its packages alone have 6 GB."""
    if not docker.run("images", "--quiet", TRAINING).strip():
        pytest.fail(f"expected the image {TRAINING} in the Docker engine; build it with: tools/images training")
    return TRAINING


def approve_all(config: Settings, data: DemoData, use_case: str) -> None:
    """An approved label for each photograph, as the labeling pipeline would append it."""
    photographs = {sha256_of(photograph.data): photograph for photograph in data.first}
    listed = S3ObjectStore.from_settings(config).list(config.bucket("raw"))
    keys = {key.rpartition("/")[2].partition(".")[0]: key for each in listed if not (key := each.key).endswith(".json")}
    at = datetime(2026, 11, 1, tzinfo=UTC)
    events = []
    for number, (sha256, photograph) in enumerate(photographs.items()):
        height, width = decode_image(photograph.data).shape[:2]
        events.append(
            LabelEvent(
                event_id=uuid.uuid4().hex, status=LabelStatus.APPROVED, at=at + timedelta(seconds=number),
                use_case=use_case, image_uri=f"s3://{config.bucket('raw')}/{keys[sha256]}", sha256=sha256, width=width,
                height=height, boxes=tuple(data.truth[sha256]), group=photograph.part_id, source="test", annotator="7",
                verifier="8",
            )
        )  # fmt: skip
    LabelStore.open(config).append(events)


# On one machine, kfp warns that the sizes of a step's pod are for a cluster.
@pytest.mark.filterwarnings("ignore:.* no effect in the current local runner:UserWarning")
def test_a_training_in_its_image_registers_a_version(
    image: str, cluster: Cluster, seaweedfs: Pod, mlflow: Pod, shared_folder: Path, tmp_path: Path
) -> None:
    """All steps of the pipeline in their images, with the Secret of the pipeline and nothing else: three epochs."""
    use_case, _ = demo_use_case(DemoOptions(quick=True))
    data = generated(PARTS, 0)
    folder = tmp_path / "photographs"
    folder.mkdir()
    for photograph in data.first:
        (folder / photograph.name).write_bytes(photograph.data)
    key = cluster.secrets["kizu", "kizu-bucket-setup"]
    environment = {
        "KIZU_S3_ENDPOINT": seaweedfs.url(), "KIZU_S3_REGION": "us-east-1", "KIZU_S3_ADDRESSING": "path",
        "AWS_ACCESS_KEY_ID": key["AWS_ACCESS_KEY_ID"], "AWS_SECRET_ACCESS_KEY": key["AWS_SECRET_ACCESS_KEY"],
    }  # fmt: skip
    config = Settings.from_environment(environment)
    raw = RawImages(S3ObjectStore.from_settings(config), config.bucket("raw"))
    parts = {photograph.name: photograph.part_id for photograph in data.first}
    ingest(raw, folder, image_files(folder), name=use_case.name, site="factory", parts=parts)
    approve_all(config, data, use_case.name)
    runner = local.DockerRunner(
        network=cluster.name,
        environment=dict(cluster.secrets["kubeflow", "kizu-training"]),
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        read_only=True,
        tmpfs={"/tmp": "size=2g"},
        mem_limit="6g",
    )
    local.init(runner, pipeline_root=str(shared_folder), raise_on_error=True)
    outputs = training(use_case=use_case.to_json()).outputs
    assert int(outputs["images"]) == len(data.first)
    assert outputs["run_id"]
    assert outputs["passed"], outputs["failures"]
