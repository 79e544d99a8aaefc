"""Continuing a stopped training: real processes, a real kill, real S3 and MLflow."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.stores.models.registry import MODEL_FILE, TRAINING_RECORD
from components.training.checkpoints import S3Checkpoints, next_due
from components.training.job import train
from components.training.stopping import StopRequest, TrainingStopped
from components.training.trainer import Checkpoint, CheckpointError, TrainedModel
from components.use_case import parse_use_case
from tests.components.training.generated_dataset import generated_line

ROOT = Path(__file__).resolve().parents[3]

# One training of the generated line; KILL_AT: the epoch whose numbers are told last.
_SCRIPT = """
import json, os, signal, sys
from pathlib import Path
sys.path.insert(0, "tests/components/training")
from tests.components.training.generated_dataset import generated_line
from components.stores.models.registry import ModelRegistry
from components.stores.objects.s3 import S3ObjectStore
from components.settings import settings
from components.training.checkpoints import S3Checkpoints
from components.training.job import train
from components.yolov8.trainer import UltralyticsTrainer, quiet_ultralytics
from components.use_case import parse_use_case

order = json.loads(sys.argv[1])
case = parse_use_case(order["use_case"])
line = generated_line(train=4, val=2)

# Each epoch is worse than the one before it, so that the model is the first epoch's.
quiet_ultralytics()
from ultralytics.models.yolo.detect import DetectionTrainer
validate = DetectionTrainer.validate
def worse_and_worse(trainer):
    best = trainer.best_fitness
    metrics, _ = validate(trainer)
    fitness = 1.0 / (trainer.epoch + 1)
    trainer.best_fitness = max(best or 0.0, fitness)
    return metrics, fitness
DetectionTrainer.validate = worse_and_worse

if order["asked_to_end"]:  # in the middle of the first epoch, at its first batch
    preprocess = DetectionTrainer.preprocess_batch
    def once(trainer, batch):
        DetectionTrainer.preprocess_batch = preprocess
        os.kill(os.getpid(), signal.SIGTERM)
        return preprocess(trainer, batch)
    DetectionTrainer.preprocess_batch = once

class Killed:
    def train(self, dataset, settings, workdir, on_epoch, **more):
        def told(epoch, numbers):
            on_epoch(epoch, numbers)
            if epoch == order["kill_at"]:
                os.kill(os.getpid(), signal.SIGKILL)
        return UltralyticsTrainer(threads=1).train(dataset, settings, workdir, told, **more)

config = settings()
answer = []
for code in order["codes"]:
    store = S3ObjectStore.from_settings(config)
    inputs = {"test": order["name"], "code": code}
    every_s = order["every_s"]  # with 0, each epoch is due
    checkpoints = S3Checkpoints(store, config.bucket("weights"), inputs, every_s, clock=lambda: 0.0)
    workdir = Path(order["folder"]) / code
    workdir.mkdir()
    outcome = train(ModelRegistry.from_settings(config), Killed(), line.manifest, case, line.fetch, code, workdir,
                    checkpoints)
    rows = (workdir / "training/ultralytics/results.csv").read_text().splitlines()[1:]
    answer.append([outcome.run_id, [int(row.split(",")[0]) for row in rows]])
(Path(order["folder"]) / "answer.json").write_text(json.dumps(answer))
"""


def use_case(epochs=5, name="resumed", **training):
    settings = {"width_multiple": 0.0625, "image_width": 64, "image_height": 64, "batch": 2, "epochs": epochs}
    return parse_use_case(
        json.dumps(
            {
                "name": name,
                "classes": ["scratch"],
                "labeling": {"instructions": "-"},
                "training": settings | training,
                "gates": {"min_map50": 0.5, "max_escape_rate": 0.1, "max_overkill_rate": 0.3},
            }
        )
    )


def process(installation, mlflow, folder, *, codes, kill_at=0, asked_to_end=False):
    """Run the script in a process; returns its exit code. asked_to_end: by SIGTERM, in the first epoch."""
    folder.mkdir()
    environment = {
        **os.environ,
        "KIZU_S3_ENDPOINT": installation.s3_endpoint,
        "AWS_ACCESS_KEY_ID": installation.access_key_id,
        "AWS_SECRET_ACCESS_KEY": installation.secret_access_key.get_secret_value(),
        "KIZU_BUCKET_PREFIX": installation.bucket_prefix,
        "MLFLOW_TRACKING_URI": mlflow.uri,
    }
    order = {"codes": codes, "kill_at": kill_at, "folder": str(folder), "name": "killed"}
    order |= {"asked_to_end": asked_to_end, "every_s": 60.0 if asked_to_end else 0.0}
    order["use_case"] = use_case(patience=9).to_json()
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, json.dumps(order)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    if asked_to_end:
        assert "asked to end (SIGTERM) and ended after epoch 1" in done.stderr
    elif not kill_at:
        assert done.returncode == 0, done.stderr
    return done.returncode


def curve(mlflow, run_id, name="train/box_loss"):
    """The curve of a metric in MLflow, as (epoch, value)."""
    history = MlflowClient(mlflow.uri).get_metric_history(run_id, name)
    return [(point.step, point.value) for point in sorted(history, key=lambda point: point.timestamp)]


def test_a_killed_training_goes_on_and_ends_as_if_it_had_not_been(installation, store, registry, mlflow, tmp_path):
    """kill -9 in the fourth of five epochs. The next process trains two epochs, has each once in its curve, and its
    model, of the first and best epoch, is byte for byte that of a training that nobody stopped."""
    assert process(installation, mlflow, tmp_path / "first", codes=["killed"], kill_at=4) == -signal.SIGKILL
    (killed,) = MlflowClient(mlflow.uri).search_runs(
        [registry.experiment("resumed")], "tags.code_digest = 'killed'", order_by=["attributes.start_time"]
    )
    assert killed.info.status == "RUNNING"
    assert [epoch for epoch, _ in curve(mlflow, killed.info.run_id)] == [1, 2, 3, 4]

    process(installation, mlflow, tmp_path / "second", codes=["killed", "whole"])
    (resumed, trained), (whole, all_trained) = json.loads((tmp_path / "second" / "answer.json").read_text())
    assert trained == [4, 5]
    assert all_trained == [1, 2, 3, 4, 5]
    assert curve(mlflow, resumed) == curve(mlflow, whole)
    assert [epoch for epoch, _ in curve(mlflow, resumed)] == [1, 2, 3, 4, 5]
    assert registry.get_artifact(resumed, MODEL_FILE) == registry.get_artifact(whole, MODEL_FILE)
    record = json.loads(registry.get_artifact(resumed, TRAINING_RECORD))
    assert (record["epochs_run"], record["resumed_after_epoch"]) == (5, 3)

    new, old = registry.run(resumed), registry.run(killed.info.run_id)
    assert (new.tags["resumed_from"], new.tags["resumed_after_epoch"]) == (killed.info.run_id, "3")
    assert (old.tags["resumed_by"], old.status) == (resumed, "FAILED")
    assert [
        info.key for info in store.list(installation.bucket("weights"), "checkpoints/") if resumed in info.key
    ] == []


def test_a_training_that_is_asked_to_end_in_its_first_epoch_goes_on_after_it(
    installation, store, registry, mlflow, tmp_path
):
    """SIGTERM at the first batch: the epoch ends, its checkpoint is stored, and so does the process, as failed.

    The next training of these inputs begins with the second epoch.
    """
    assert process(installation, mlflow, tmp_path / "first", codes=["asked"], asked_to_end=True) == 1
    (ended,) = MlflowClient(mlflow.uri).search_runs(
        [registry.experiment("resumed")], "tags.code_digest = 'asked'", order_by=["attributes.start_time"]
    )
    assert ended.info.status == "FAILED"
    assert [epoch for epoch, _ in curve(mlflow, ended.info.run_id)] == [1]
    left = S3Checkpoints(store, installation.bucket("weights"), {"test": "killed", "code": "asked"}, 60.0)
    trainer = CountingTrainer()
    outcome = trained_by(trainer, registry, left, tmp_path)
    assert trainer.trained == [2, 3, 4, 5]
    assert registry.run(outcome.run_id).tags["resumed_from"] == ended.info.run_id


@pytest.mark.parametrize("epoch_ends", [True, False])
def test_a_training_ends_within_the_grace_period_and_leaves_the_process_as_it_was(epoch_ends):
    """An epoch that does not end in time is given up; without a request, nothing is."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)
    stop, seen = StopRequest(grace_s=60.0 if epoch_ends else 0.05), threading.Event()
    stop.end_if_asked(1)

    def epoch():
        os.kill(os.getpid(), signal.SIGTERM)
        while not stop.asked or not epoch_ends:
            seen.wait(0.01)
        stop.end_if_asked(7)

    with (
        pytest.raises(TrainingStopped, match="ended after epoch 7" if epoch_ends else "did not end within"),
        stop.heard(),
    ):
        epoch()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)) == before


def test_the_first_epoch_has_a_checkpoint_and_the_others_wait_for_their_time(checkpoints, store, installation):
    """A pod that is lost in its first minute loses an epoch, not all."""
    now = [100.0]
    timed = S3Checkpoints(store, installation.bucket("weights"), {"test": "timed"}, 60.0, clock=lambda: now[0])
    keeper = timed.keeper("run")
    assert keeper.due()
    keeper.keep(checkpoint(1))
    assert not keeper.due()
    now[0] = 160.0
    assert keeper.due()
    timed.finished()


@pytest.fixture
def checkpoints(store, installation, request):
    """Checkpoints of inputs that no other test has; each is due at once."""
    return S3Checkpoints(store, installation.bucket("weights"), {"test": request.node.name}, 0.0, clock=lambda: 0.0)


def checkpoint(epoch, state=b"state", versions=None):
    return Checkpoint(epoch, tuple({"loss": 1.0 / (e + 1)} for e in range(epoch)), state, versions or {"torch": "1"})


def keys(store, checkpoints):
    bucket = checkpoints._bucket
    return [info.key.removeprefix(checkpoints.prefix) for info in store.list(bucket, checkpoints.prefix)]


def test_the_newest_two_are_kept_and_none_when_the_training_is_done(store, checkpoints):
    """Checkpoints of an earlier run are removed when the new run has its own."""
    before, now = checkpoints.keeper("before"), checkpoints.keeper("now")
    for epoch in (1, 2, 3):
        before.keep(checkpoint(epoch))
    assert keys(store, checkpoints) == [f"before/epoch-0000{n}.{kind}" for n in (2, 3) for kind in ("json", "pt")]
    now.keep(checkpoint(4))
    assert keys(store, checkpoints) == ["now/epoch-00004.json", "now/epoch-00004.pt"]
    checkpoints.finished()
    assert keys(store, checkpoints) == []


def test_a_damaged_checkpoint_is_set_aside_with_one_line_and_the_one_before_is_taken(store, checkpoints, caplog):
    """A checkpoint whose bytes do not have their digest is skipped."""
    keeper = checkpoints.keeper("run")
    keeper.keep(checkpoint(1, b"one"))
    keeper.keep(checkpoint(2, b"two"))
    store.put(checkpoints._bucket, f"{checkpoints.prefix}run/epoch-00002.pt", b"tw")
    with caplog.at_level(logging.WARNING, "components.training"):
        (found,) = checkpoints.usable()
    assert (found.run_id, found.checkpoint) == ("run", checkpoint(1, b"one"))
    (line,) = caplog.records
    assert "epoch-00002.json is set aside: expected sha256" in line.getMessage()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("inputs", {"test": "another"}, "expected one of the inputs"),
        ("schema_version", 2, "schema_version 1"),
        ("told", [], "the numbers of each epoch"),
        ("told", [1], "expected numbers of each epoch"),
        ("epoch", "1", "expected epoch in another form"),
    ],
)
def test_a_checkpoint_of_other_inputs_or_another_form_is_set_aside(store, checkpoints, caplog, key, value, said):
    """A checkpoint of other inputs or of another form is skipped with one line in the log."""
    checkpoints.keeper("run").keep(checkpoint(1))
    name = f"{checkpoints.prefix}run/epoch-00001.json"
    head = json.loads(store.get(checkpoints._bucket, name))
    store.put(checkpoints._bucket, name, json.dumps({**head, key: value}).encode())
    assert list(checkpoints.usable()) == []
    (line,) = caplog.records
    assert said in line.getMessage()


def test_bytes_without_their_digest_beside_them_are_no_checkpoint(store, checkpoints):
    """A process that was killed while it wrote a checkpoint leaves such bytes; they are ignored."""
    store.put(checkpoints._bucket, f"{checkpoints.prefix}run/epoch-00001.pt", b"half")
    assert list(checkpoints.usable()) == []


@dataclass
class CountingTrainer:
    """A trainer whose state is a number. `refuses`: it accepts no checkpoint."""

    refuses: bool = False
    trained: list[int] = field(default_factory=list)

    def train(self, dataset, settings, workdir, on_epoch, *, keeper, resume_from=None):
        if resume_from and self.refuses:
            raise CheckpointError("expected torch 2, but it was written with torch 1")
        told = []
        for numbers in resume_from.told if resume_from else ():
            told.append(numbers)
            on_epoch(len(told), numbers)
        while len(told) < settings.epochs:
            told.append({"loss": 1.0 / (len(told) + 1)})
            self.trained.append(len(told))
            on_epoch(len(told), told[-1])
            if len(told) < settings.epochs and keeper.due():
                keeper.keep(Checkpoint(len(told), tuple(told), b"state", {"torch": "1"}))
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / "model.onnx").write_bytes(b"model")
        return TrainedModel(workdir / "model.onnx", {"schema_version": 1})


def trained_by(trainer, registry, checkpoints, tmp_path):
    line = generated_line(train=2, val=1)
    return train(registry, trainer, line.manifest, use_case(), line.fetch, "c", tmp_path, checkpoints)


def test_a_checkpoint_that_the_trainer_refuses_begins_the_training_anew(registry, checkpoints, tmp_path, caplog):
    """A checkpoint of another library version is logged in one line, and the new run continues no other."""
    before = registry.start_run("resumed", "before", {})
    checkpoints.keeper(before).keep(checkpoint(3))
    trainer = CountingTrainer(refuses=True)
    outcome = trained_by(trainer, registry, checkpoints, tmp_path)
    assert trainer.trained == [1, 2, 3, 4, 5]
    assert "resumed_from" not in registry.run(outcome.run_id).tags
    assert registry.run(before).status == "RUNNING"
    jobs = [record for record in caplog.records if record.name == "components.training.checkpoints"]
    assert [record.getMessage() for record in jobs if record.levelno == logging.WARNING] == [
        "the checkpoint of epoch 3 is set aside: expected torch 2, but it was written with torch 1"
    ]


def test_a_store_that_takes_nothing_does_not_fail_the_training(store, registry, tmp_path, caplog):
    """Without a bucket each checkpoint is a warning, and the run is finished."""
    away = S3Checkpoints(store, "no-such-bucket", {}, 0.0, clock=lambda: 0.0)
    trainer = CountingTrainer()
    outcome = trained_by(trainer, registry, away, tmp_path)
    assert registry.run(outcome.run_id).status == "FINISHED"
    assert trainer.trained == [1, 2, 3, 4, 5]
    assert sum("the training goes on without" in record.getMessage() for record in caplog.records) == 4


def test_checkpoints_take_a_small_share_of_the_time():
    """A checkpoint is due each minute; in a slow store, after twenty times what the last one took."""
    assert next_due(100.0, 101.0, 60.0) == 160.0
    assert next_due(100.0, 110.0, 60.0) == 310.0


def test_a_checkpoint_with_code_in_it_is_refused_unrun(tmp_path):
    """Its digest is right, but torch's restricted loader makes only tensors and plain values."""
    import io

    import torch

    from components.yolov8.ultralytics_state import loaded_state

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "was-here",))

    buffer = io.BytesIO()
    torch.save({"network": Evil(), "average": {}, "optimizer": {}, "stopper": {}, "best": {}}, buffer)
    for data in (buffer.getvalue(), buffer.getvalue()[:-200], b"", b"no checkpoint"):
        with pytest.raises(CheckpointError, match="not the state of a training"):
            loaded_state(data)
    assert not (tmp_path / "was-here").exists()
