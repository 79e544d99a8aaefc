"""The training step and its MLflow runs. MLflow is real; the trainer is a fake at its port."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field

import pytest

from components.stores.datasets.manifest import Manifest, save_manifest
from components.stores.models.registry import (
    DATASET_MANIFEST,
    INT8_MODEL_FILE,
    MODEL_FILE,
    PACKAGES,
    TRAINING_RECORD,
    USE_CASE,
    ModelRegistry,
)
from components.stores.models.training_record import pictures_of
from components.stores.objects.image_cache import ImageCache
from components.training.checkpoints import S3Checkpoints
from components.training.job import find_finished, run, train
from components.training.trainer import TrainedModel, TrainingError
from components.use_case import BaseWeights, parse_use_case
from inspection.image import sha256_of
from tests.components.training.generated_dataset import generated_line
from tests.components.training.small_detector import small_detector

CODE = "source:1"


def use_case(epochs: int = 2, min_map50: float = 0.5):
    return parse_use_case(
        json.dumps(
            {
                "schema_version": 1,
                "name": "tag",
                "classes": ["scratch"],
                "labeling": {"instructions": "Draw a box around each scratch."},
                "training": {"epochs": epochs},
                "gates": {"min_map50": min_map50, "max_escape_rate": 0.1, "max_overkill_rate": 0.3},
            }
        )
    )


@dataclass
class FakeTrainer:
    """Writes some bytes as its model; raises `fails_with` after the first epoch."""

    fails_with: BaseException | None = None
    trained: list[str] = field(default_factory=list)

    def train(self, dataset, settings, workdir, on_epoch, **_):
        self.trained.append(dataset.digest)
        for epoch in range(1, settings.epochs + 1):
            on_epoch(epoch, {"train/box_loss": 1.0 / epoch, "metrics/mAP50": 0.1 * epoch})
            if self.fails_with is not None:
                raise self.fails_with
        workdir.mkdir(parents=True)
        path = workdir / "model.onnx"
        path.write_bytes(f"model of {dataset.digest} after {settings.epochs}".encode())
        return TrainedModel(path, {"schema_version": 1, "epochs_run": settings.epochs})


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """A client of a real MLflow server, on a free port of this machine."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "a")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 90
        while not _answers(f"{url}/health"):
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.3)
        yield ModelRegistry(url)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


@pytest.fixture
def checkpoints(store, installation, request):
    """Checkpoints of inputs that no other test has."""
    return S3Checkpoints(store, installation.bucket("weights"), {"test": request.node.name}, 60.0)


def _answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_a_finished_run_holds_all_and_is_reused(registry, tmp_path, checkpoints):
    """The run has model, record, use case and tags, and a second training with its inputs returns it."""
    line = generated_line(train=10, val=1)
    case = use_case()
    outcome = train(registry, FakeTrainer(), line.manifest, case, line.fetch, CODE, tmp_path, checkpoints)
    run = registry.run(outcome.run_id)
    assert run.status == "FINISHED"
    model = registry.get_artifact(outcome.run_id, MODEL_FILE)
    assert outcome.model_sha256 == run.tags["model_sha256"] == sha256_of(model)
    record = registry.get_artifact(outcome.run_id, TRAINING_RECORD)
    assert json.loads(record)["epochs_run"] == 2
    pictures = pictures_of(record)
    assert pictures.picture_limits.pictures == 10
    assert sum(pictures.picture_counts.brightness) == 10
    assert registry.get_artifact(outcome.run_id, USE_CASE).decode() == case.to_json()
    assert run.tags["dataset_digest"] == line.manifest.digest
    assert run.tags["code_digest"] == CODE
    found = find_finished(registry, case, line.manifest.digest, CODE)
    assert found is not None
    assert (found.run_id, found.model_sha256, found.reused) == (outcome.run_id, outcome.model_sha256, True)


@pytest.mark.parametrize("end", [KeyboardInterrupt(), RuntimeError("out of memory")])
def test_a_run_that_was_stopped_is_never_reused(registry, tmp_path, checkpoints, end):
    """The run is marked failed, the error is raised, and the run is not found afterwards."""
    line = generated_line(train=4, val=1)
    case = use_case(epochs=3)
    with pytest.raises(type(end)):
        train(registry, FakeTrainer(end), line.manifest, case, line.fetch, CODE, tmp_path, checkpoints)
    assert find_finished(registry, case, line.manifest.digest, CODE) is None


def test_a_run_without_its_model_is_never_reused(registry):
    """A run that is finished but has no stored model is not found."""
    line = generated_line(train=5, val=1)
    case = use_case()
    tags = {
        "dataset_digest": line.manifest.digest,
        "training_digest": case.training_digest,
        "code_digest": CODE,
        "use_case": case.name,
        "model_sha256": "0" * 64,
    }
    registry.end_run(registry.start_run(case.name, "x", tags))
    assert find_finished(registry, case, line.manifest.digest, CODE) is None


def test_other_settings_or_other_code_train_anew_and_a_new_gate_does_not(registry, tmp_path, checkpoints):
    """Inputs of the training decide whether a run is reused; the gate does not."""
    line = generated_line(train=6, val=1)
    train(registry, FakeTrainer(), line.manifest, use_case(), line.fetch, CODE, tmp_path, checkpoints)
    digest = line.manifest.digest
    assert find_finished(registry, use_case(min_map50=0.9), digest, CODE) is not None
    assert find_finished(registry, use_case(epochs=9), digest, CODE) is None
    assert find_finished(registry, use_case(), digest, "source:2") is None
    assert find_finished(registry, use_case(), "0" * 64, CODE) is None
    assert find_finished(registry, use_case(), digest, CODE, BaseWeights(uri="s3://w/x.pt", sha256="a" * 64)) is None


def test_a_dataset_of_other_classes_is_refused_before_a_run_is_made(registry, tmp_path, checkpoints):
    """The error names both lists of classes."""
    line = generated_line(train=2, val=1)
    other = use_case().model_copy(update={"classes": ("dent",)})
    trainer = FakeTrainer()
    with pytest.raises(TrainingError, match="dent"):
        train(registry, trainer, line.manifest, other, line.fetch, CODE, tmp_path, checkpoints)
    assert trainer.trained == []


@dataclass
class SmallTrainer(FakeTrainer):
    """Writes a small detector that can be quantised, of the size that the settings ask for."""

    def train(self, dataset, settings, workdir, on_epoch, **_):
        import onnx

        trained = super().train(dataset, settings, workdir, on_epoch)
        onnx.save(small_detector(), str(trained.onnx_path))
        return trained


def test_an_int8_variant_is_made_beside_the_model_from_its_training_images(registry, tmp_path, checkpoints):
    """The variant is stored and tagged by its digest; the run has manifest and packages as well."""
    import onnx

    line = generated_line(train=7, val=1)
    sized = use_case().training.model_copy(update={"image_width": 64, "image_height": 32})
    case = use_case().model_copy(update={"training": sized})
    outcome = train(registry, SmallTrainer(), line.manifest, case, line.fetch, CODE, tmp_path, checkpoints)
    int8 = registry.get_artifact(outcome.run_id, INT8_MODEL_FILE)
    assert registry.run(outcome.run_id).tags["model_int8_sha256"] == sha256_of(int8)
    kinds = {node.op_type for node in onnx.load_from_string(int8).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    record = json.loads(registry.get_artifact(outcome.run_id, TRAINING_RECORD))
    assert record["int8"] == {"made": True, "reason": "", "sha256": sha256_of(int8)}
    assert Manifest.from_json(registry.get_artifact(outcome.run_id, DATASET_MANIFEST)) == line.manifest
    assert "onnx==" in registry.get_artifact(outcome.run_id, PACKAGES).decode()


def test_a_model_that_cannot_be_quantised_is_stored_with_the_reason(registry, tmp_path, checkpoints):
    """The training succeeds without an int8 variant."""
    line = generated_line(train=8, val=1)
    outcome = train(registry, FakeTrainer(), line.manifest, use_case(), line.fetch, CODE, tmp_path, checkpoints)
    assert not registry.has_artifact(outcome.run_id, INT8_MODEL_FILE)
    assert "model_int8_sha256" not in registry.run(outcome.run_id).tags
    said = json.loads(registry.get_artifact(outcome.run_id, TRAINING_RECORD))["int8"]
    assert said["made"] is False
    assert said["reason"]


def test_the_same_inputs_again_name_the_version_or_the_failed_gate(registry, tmp_path, checkpoints):
    """The note says what became of the earlier run: not evaluated yet, gate failed, or registered."""
    line = generated_line(train=9, val=1)
    outcome = train(registry, FakeTrainer(), line.manifest, use_case(), line.fetch, CODE, tmp_path, checkpoints)
    assert outcome.note == f"run {outcome.run_id} was trained now"

    def note():
        return find_finished(registry, use_case(), line.manifest.digest, CODE).note

    assert note().endswith("; it is evaluated next")
    registry.set_run_tag(outcome.run_id, "gate_failures", "escape_rate is 0.5, expected <= 0.1")
    registry.set_run_tag(outcome.run_id, "gate", "failed")
    assert "it did not pass its gate: escape_rate is 0.5, expected <= 0.1" in note()
    assert "--force" in note()
    registry.set_run_tag(outcome.run_id, "gate", "passed")
    registry.create_version("tag", outcome.run_id, {"approval": "pending"}, "")
    assert note().endswith("; it is tag version 1 (approval: pending)")
    assert outcome.run_id in note()


def test_the_step_reads_its_images_from_the_cache_of_the_machine(store, installation, tmp_path):
    """None of the images is in S3. The step reads them and finds that no training image shows a defect."""
    line = generated_line(train=3, val=2, test=0, defect_rate=0.0)
    digest = save_manifest(store, installation.bucket("datasets"), line.manifest)
    cache = ImageCache(tmp_path / "images", 10**9, leave_free_bytes=0)
    for sha256, data in line.images.items():
        cache.write(sha256, data)
    # Nothing listens on port 9: MLflow is not asked before there is something to record.
    nowhere = {"mlflow_tracking_uri": "http://127.0.0.1:9", "cache_dir": str(tmp_path)}
    config = installation.model_copy(update=nowhere)
    with pytest.raises(TrainingError, match="none of the 3 training images"):
        run(config, use_case(), digest, force=True)
