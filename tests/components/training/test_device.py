"""Processors, one GPU, several: what is asked of Ultralytics. There is no GPU where these tests run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from components.training.device import chosen_device
from components.training.trainer import Checkpoint, DetectionDataset, NoCheckpoints, TrainingError
from components.use_case import TrainingSettings
from components.yolov8.other_process import far_side
from components.yolov8.trainer import UltralyticsTrainer, training_arguments

DATASET = DetectionDataset(Path("/d"), Path("/d/data.yaml"), ("scratch",), {"train": 8, "val": 2}, "d" * 64)


@pytest.mark.parametrize(
    ("asked", "gpus", "taken"),
    [("cpu", 0, "cpu"), ("cpu", 2, "cpu"), ("auto", 0, "cpu"), ("auto", 2, "0"), ("0", 1, "0"), ("0,1", 2, "0,1"),
     ("1", 2, "1")],
)  # fmt: skip
def test_the_device_is_the_one_asked_for(asked, gpus, taken):
    """`auto` takes a GPU if there is one."""
    assert chosen_device(asked, gpus, batch=8) == taken


@pytest.mark.parametrize(
    ("asked", "gpus", "batch", "said"),
    [
        ("0", 0, 8, "torch finds 0 here; set it to cpu or auto"),
        ("0,1", 1, 8, "expected GPU 0,1 of KIZU_TRAINING_DEVICE, but torch finds 1"),
        ("0,1,2", 4, 8, "3 GPUs share evenly, but `training.batch` is 8"),
        ("cuda:0", 1, 8, "but got 'cuda:0'"),
        ("0,0", 1, 8, "but got '0,0'"),
        ("", 1, 8, "but got ''"),
    ],
)
def test_a_device_that_cannot_be_had_is_refused_in_one_line(asked, gpus, batch, said):
    """The error says what was expected, what there is, and what to do."""
    with pytest.raises(TrainingError) as refused:
        chosen_device(asked, gpus, batch)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_training_that_asks_for_a_gpu_here_is_refused_before_it_reads_anything(tmp_path):
    """The training is refused although the folder of the dataset does not exist."""
    with pytest.raises(TrainingError, match=r"expected GPU 0 .* torch finds 0 here"):
        UltralyticsTrainer(device="0").train(DATASET, TrainingSettings(), tmp_path / "w", lambda *_: None)
    assert not (tmp_path / "w").exists()


def test_ultralytics_is_asked_for_these_devices_and_loaders(tmp_path):
    """On processors there are no workers. Mixed precision is off, because its check downloads a model."""
    cpu = training_arguments(DATASET, TrainingSettings(), tmp_path, "cpu", 4)
    gpus = training_arguments(DATASET, TrainingSettings(), tmp_path, "0,1", 4)
    assert (cpu["device"], cpu["workers"], cpu["amp"]) == ("cpu", 0, False)
    assert (gpus["device"], gpus["workers"], gpus["amp"]) == ("0,1", 4, False)
    assert {key for key in cpu if cpu[key] != gpus[key]} == {"device", "workers"}


class Keeper:
    """A keeper to which one checkpoint is due."""

    def __init__(self):
        self.kept = []

    def due(self):
        return not self.kept

    def keep(self, checkpoint):
        self.kept.append(checkpoint)


_FAR = """
import pickle, sys, time
far = pickle.load(open(sys.argv[1], "rb"))
from components.training.trainer import Checkpoint
for epoch in (1, 2, 3):
    far.on_epoch(epoch, {"loss": 1.0 / epoch})
    if epoch == 2:
        while not far.due():
            time.sleep(0.01)
        far.keep(Checkpoint(2, ({"loss": 1.0}, {"loss": 0.5}), b"state", {"torch": "1"}))
"""


def test_epochs_of_another_process_are_told_and_kept_here(tmp_path):
    """The callbacks that cross to another process, as with several GPUs, are a pickle without a client of a server."""
    import cloudpickle

    told, keeper = [], Keeper()
    with far_side(tmp_path / "epochs", lambda epoch, numbers: told.append((epoch, numbers)), keeper) as far:
        (tmp_path / "far").write_bytes(cloudpickle.dumps(far))
        root = Path(__file__).resolve().parents[3]
        subprocess.run([sys.executable, "-c", _FAR, str(tmp_path / "far")], cwd=root, check=True, timeout=120)
    assert told == [(1, {"loss": 1.0}), (2, {"loss": 0.5}), (3, {"loss": 1 / 3})]
    assert keeper.kept == [Checkpoint(2, ({"loss": 1.0}, {"loss": 0.5}), b"state", {"torch": "1"})]


def test_what_goes_wrong_while_an_epoch_is_told_comes_through(tmp_path):
    """An error of `on_epoch`, raised in another thread, is raised to the caller."""

    def refuse(epoch, numbers):
        raise TrainingError(f"epoch {epoch} with {json.dumps(numbers)}")

    with (
        pytest.raises(TrainingError, match=r'epoch 1 with \{"loss": 1\.0\}'),
        far_side(tmp_path / "epochs", refuse, NoCheckpoints()) as far,
    ):
        far.on_epoch(1, {"loss": 1.0})


def test_the_callbacks_of_a_training_can_cross_over(tmp_path):
    """The process of each GPU can unpickle the callbacks, torch's state of a checkpoint included."""
    import cloudpickle

    from components.yolov8.epoch_watch import EpochWatch

    with far_side(tmp_path / "epochs", lambda *_: None, NoCheckpoints()) as far:
        watch = EpochWatch(2, far.on_epoch, far, {"torch": "1"}, None)
        again = cloudpickle.loads(cloudpickle.dumps({"on_fit_epoch_end": [watch.epoch_ended]}))
    (method,) = again["on_fit_epoch_end"]
    assert method.__self__._keeper == far
