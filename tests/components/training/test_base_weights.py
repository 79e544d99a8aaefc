"""Base weights: named by the use case, or made once from generated parts and pinned. S3 is real."""

import uuid

import pytest
import torch

from components.training.base_weights import base_weights_of, fetch_base_weights, make_from_generated_parts
from components.training.checkpoints import S3Checkpoints
from components.training.trainer import TrainingError
from components.use_case import BaseWeights, Pretraining, TrainingSettings
from components.yolov8.trainer import UltralyticsTrainer
from inspection.image import sha256_of

NAMED = BaseWeights(uri="s3://kizu-weights/ours.pt", sha256="a" * 64)


def wanted(seed=None, **recipe):
    """Settings with a recipe that no other test uses."""
    seed = uuid.uuid4().int % 2**31 if seed is None else seed
    return TrainingSettings(pretraining=Pretraining(seed=seed, **recipe))


@pytest.fixture
def bucket(installation):
    return installation.bucket("weights")


class Maker:
    """Stands in for the training; calls `meanwhile` before it is finished."""

    def __init__(self, data, meanwhile=lambda: None):
        self.data, self.meanwhile, self.made = data, meanwhile, 0

    def __call__(self, settings, workdir):
        self.made += 1
        self.meanwhile()
        (workdir / "made.pt").write_bytes(self.data)
        return workdir / "made.pt", {"epochs_run": settings.pretraining.epochs}


def test_weights_that_are_named_are_taken_as_they_are_and_none_are_none(store, bucket, tmp_path):
    """Named weights are used unchanged, and without named weights there are none. The store gets no request."""
    maker = Maker(b"never")
    assert base_weights_of(TrainingSettings(base_weights=NAMED), store, bucket, tmp_path, maker) == NAMED
    assert base_weights_of(TrainingSettings(), store, bucket, tmp_path, maker) is None
    assert maker.made == 0
    assert fetch_base_weights(store, None, tmp_path) is None


def test_a_recipe_is_followed_once_and_pinned(store, bucket, tmp_path):
    """The next training with the same recipe and network begins from the same bytes, whatever its own settings."""
    settings, first, second = wanted(), Maker(b"weights"), Maker(b"others")
    made = base_weights_of(settings, store, bucket, tmp_path, first)
    assert made.sha256 == sha256_of(b"weights")
    longer = settings.model_copy(update={"epochs": 99, "learning_rate": 0.5})
    assert base_weights_of(longer, store, bucket, tmp_path, second) == made
    assert (first.made, second.made) == (1, 0)
    assert fetch_base_weights(store, made, tmp_path).read_bytes() == b"weights"


def test_another_recipe_or_network_is_another_pin(store, bucket, tmp_path):
    """Every setting that the weights depend on changes their digest."""
    settings = wanted(seed=1)
    others = [
        wanted(seed=2), wanted(seed=1, parts=21), wanted(seed=1, scratches="burr"),
        settings.model_copy(update={"width_multiple": 0.125}), settings.model_copy(update={"image_width": 640}),
    ]  # fmt: skip
    digests = {other.pretraining_digest for other in (settings, *others)}
    assert len(digests) == len(others) + 1


def test_a_larger_training_can_begin_from_what_was_learned_at_a_smaller_size():
    """With a size in the recipe, the training's own input size does not change the weights' digest."""
    small = wanted(seed=1)
    large = wanted(seed=1, image_width=320, image_height=224).model_copy(update={"image_width": 640})
    assert large.pretraining_digest == small.pretraining_digest
    own = large.for_pretraining()
    assert (own.image_width, own.image_height, own.epochs, own.pretraining) == (320, 224, 12, None)


def test_two_that_make_them_at_once_agree_on_what_was_pinned_first(store, bucket, tmp_path):
    """Two concurrent makers both return the weights that were pinned first; the slower one's are not used."""
    settings, (one, other) = wanted(), (tmp_path / "one", tmp_path / "other")
    one.mkdir()
    other.mkdir()
    quick = Maker(b"quick")
    slow = Maker(b"slow", meanwhile=lambda: base_weights_of(settings, store, bucket, one, quick))
    assert base_weights_of(settings, store, bucket, other, slow).sha256 == sha256_of(b"quick")
    assert (quick.made, slow.made) == (1, 1)


def test_what_is_not_what_was_pinned_is_refused(store, bucket, tmp_path):
    """Other bytes, and a pin that cannot be read, are refused; the message says what to do."""
    settings = wanted()
    made = base_weights_of(settings, store, bucket, tmp_path, Maker(b"weights"))
    store.put(bucket, f"base/{made.sha256}.pt", b"damaged")
    with pytest.raises(TrainingError, match=f"expected base weights with sha256 {made.sha256}"):
        fetch_base_weights(store, made, tmp_path)
    store.put(bucket, f"base/{settings.pretraining_digest}.json", b"{}")
    with pytest.raises(TrainingError, match="remove it, and they are made again"):
        base_weights_of(settings, store, bucket, tmp_path, Maker(b"weights"))


def test_generated_parts_make_a_checkpoint_that_a_training_can_begin_from(tmp_path):
    """The real trainer trains a very small network for one epoch."""
    settings = TrainingSettings(
        width_multiple=0.0625, image_width=96, image_height=64, batch=8,
        pretraining=Pretraining(parts=20, epochs=1, defect_rate=1.0),
    )  # fmt: skip
    checkpoint, record = make_from_generated_parts(settings, tmp_path)
    assert checkpoint.stat().st_size > 100_000
    assert (record["epochs_run"], record["images"]) == (1, {"train": 20, "val": 8})


class Stopped(Exception):
    """Raised where the process would be killed."""


class StoppedTrainer(UltralyticsTrainer):
    """Trains for real and stops after the epoch `after` was reported."""

    def __init__(self, after):
        super().__init__(threads=1)
        self.after, self.resumed_after = after, None

    def train(self, dataset, settings, workdir, on_epoch, **more):
        def told(epoch, numbers):
            on_epoch(epoch, numbers)
            if epoch == self.after:
                raise Stopped

        checkpoint = more.get("resume_from")
        self.resumed_after = checkpoint.epoch if checkpoint else None
        return super().train(dataset, settings, workdir, told, **more)


def test_making_them_goes_on_where_it_was_stopped(store, bucket, tmp_path):
    """The weights are those of a training that was not stopped, and the checkpoints are of this recipe alone."""
    settings = wanted(parts=20, epochs=3, defect_rate=1.0).model_copy(
        update={"width_multiple": 0.0625, "image_width": 64, "image_height": 64, "batch": 4}
    )
    inputs = {"recipe": settings.pretraining_digest}

    def make(name, after=0):
        checkpoints = S3Checkpoints(store, bucket, inputs, 0.0, clock=lambda: 0.0)  # each epoch is due
        trainer = StoppedTrainer(after)
        checkpoint, record = make_from_generated_parts(settings, tmp_path / name, trainer, checkpoints)
        return torch.load(checkpoint, weights_only=False)["model"].state_dict(), record, trainer

    with pytest.raises(Stopped):
        make("stopped", after=3)
    resumed, record, trainer = make("resumed")
    assert (trainer.resumed_after, record["epochs_run"]) == (2, 3)
    S3Checkpoints(store, bucket, inputs, 0.0).finished()
    whole, _, trainer = make("whole")
    assert trainer.resumed_after is None
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())
