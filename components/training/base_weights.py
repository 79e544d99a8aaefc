"""Base weights, from which a training begins: named by the use case, or made once from generated parts and pinned."""

from __future__ import annotations

import logging
import tempfile
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from components.generated_parts.photographs import CLASS_NAME, LineGenerator
from components.settings import Settings
from components.stores.datasets.manifest import Manifest, ManifestImage, SplitName, regions
from components.stores.objects.s3 import ObjectNotFound, S3ObjectStore, parse_uri
from components.training.checkpoints import S3Checkpoints, StoredCheckpoint, go_on
from components.training.code_digest import code_digest
from components.training.dataset_folder import write_dataset
from components.training.detectors import trainer_of
from components.training.trainer import NoCheckpoints, TrainedModel, Trainer, TrainingError
from components.use_case import BaseWeights, TrainingSettings
from inspection.codec import Document, DocumentError, canonical_json
from inspection.image import decode_image, sha256_of

_log = logging.getLogger(__name__)

# Added to a recipe's seed, so that its parts are none of those that a demo or a test generates.
_LINE: Final = 1_000_000
_VALIDATION_PARTS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedWeights(Document):
    """The weights that a recipe gave when it was first followed.

    The record of that training is stored beside them as `base/<sha256>.training.json`.
    """

    recipe: str
    uri: str
    sha256: str


Make = Callable[[TrainingSettings, Path], tuple[Path, Mapping[str, object]]]
"""`make(settings, workdir)` trains on generated parts; returns the file of the weights and the training's record."""


def prepare(config: Settings, wanted: TrainingSettings) -> BaseWeights | None:
    """Return the base weights of a use case's training, and make them first where its recipe asks for it.

    None: the training begins from scratch.

    Raises:
        TrainingError: the generated parts could not be learned from.
    """
    store, bucket = S3ObjectStore.from_settings(config), config.bucket("weights")
    if wanted.pretraining_digest is None:
        return wanted.base_weights
    inputs = {
        "step": "base weights",
        "recipe": wanted.pretraining_digest,
        "code_digest": code_digest(wanted.detector, config.training_image_digest),
    }
    checkpoints = S3Checkpoints(store, bucket, inputs, config.checkpoint_every_s)
    make = partial(make_from_generated_parts, trainer=trainer_of(wanted, config), checkpoints=checkpoints)
    with tempfile.TemporaryDirectory(prefix="kizu-pretraining-") as folder:
        weights = base_weights_of(wanted, store, bucket, Path(folder), make)
    checkpoints.finished()  # only now: the weights are pinned, so that no checkpoint is needed any more
    return weights


def base_weights_of(
    wanted: TrainingSettings, store: S3ObjectStore, bucket: str, workdir: Path, make: Make | None = None
) -> BaseWeights | None:
    """Return the weights that the settings name, or those of their recipe; make the latter where nobody has yet.

    Where two processes make them at the same time, both return the weights that were pinned first. None: the training
    begins from scratch.

    Raises:
        TrainingError: the generated parts could not be learned from, or the pin cannot be read.
    """
    recipe = wanted.pretraining_digest
    if recipe is None:
        return wanted.base_weights
    pin = f"base/{recipe}.json"
    if (pinned := _read(store, bucket, pin)) is None:
        _log.info("there are no base weights of the recipe %s yet; making them from generated parts", recipe[:12])
        checkpoint, record = (make or make_from_generated_parts)(wanted, workdir)
        data = checkpoint.read_bytes()
        sha256 = sha256_of(data)
        key = f"base/{sha256}.pt"
        store.put(bucket, key, data, if_absent=True)
        store.put(bucket, f"base/{sha256}.training.json", canonical_json(record), content_type="application/json")
        document = PinnedWeights(recipe=recipe, uri=f"s3://{bucket}/{key}", sha256=sha256)
        store.put(bucket, pin, document.to_json(), if_absent=True, content_type="application/json")
        pinned = _read(store, bucket, pin)
        assert pinned is not None
    _log.info("base weights: %s (sha256 %s)", pinned.uri, pinned.sha256)
    return BaseWeights(uri=pinned.uri, sha256=pinned.sha256)


def fetch_base_weights(store: S3ObjectStore, weights: BaseWeights | None, workdir: Path) -> Path | None:
    """Store base weights as a file below `workdir` and return its path; None for None.

    Raises:
        TrainingError: the bytes do not have the pinned digest.
        ObjectNotFound: nothing is stored at the weights' URI.
    """
    if weights is None:
        return None
    data = store.get(*parse_uri(weights.uri))
    if sha256_of(data) != weights.sha256:
        raise TrainingError(
            f"{weights.uri}: expected base weights with sha256 {weights.sha256}, but the bytes have {sha256_of(data)}"
        )
    path = workdir / "base_weights.pt"
    path.write_bytes(data)
    return path


def make_from_generated_parts(
    wanted: TrainingSettings,
    workdir: Path,
    trainer: Trainer | None = None,
    checkpoints: S3Checkpoints | None = None,
) -> tuple[Path, Mapping[str, object]]:
    """Train the network of the settings on the generated parts of their recipe.

    Returns the file of the weights and the record of the training. checkpoints: of this recipe; where a training of it
    was stopped, this one continues from its last checkpoint.

    Raises:
        TrainingError: see `Trainer.train`.
    """
    recipe = wanted.pretraining
    assert recipe is not None
    images: dict[str, bytes] = {}
    entries = []
    generator = LineGenerator(
        seed=_LINE + recipe.seed,
        defect_rate=recipe.defect_rate,
        photographs_per_part=1,
        scratches=recipe.scratches,
    )
    for number, photograph in enumerate(generator.photographs(range(recipe.parts + _VALIDATION_PARTS))):
        height, width = decode_image(photograph.jpeg).shape[:2]
        sha256 = sha256_of(photograph.jpeg)
        images[sha256] = photograph.jpeg
        entries.append(
            ManifestImage(
                sha256=sha256,
                uri=photograph.name,
                width=width,
                height=height,
                group=photograph.part_id,
                split=SplitName.TRAIN if number < recipe.parts else SplitName.VAL,
                boxes=regions(photograph.boxes),
            )
        )
    manifest = Manifest(
        use_case="generated",
        classes=(CLASS_NAME,),
        split_seed=0,
        images=tuple(sorted(entries, key=lambda entry: entry.sha256)),
    )
    dataset = write_dataset(manifest, lambda _, sha256: images[sha256], workdir / "generated")
    own = wanted.for_pretraining()

    def on_epoch(epoch: int, numbers: Mapping[str, float]) -> None:
        _log.info("generated parts, epoch %d/%d: box loss %.3f", epoch, recipe.epochs, numbers.get("train/box_loss", 0))

    network = trainer or trainer_of(wanted)
    keeper = checkpoints.keeper(uuid.uuid4().hex) if checkpoints else NoCheckpoints()

    def train_from(found: StoredCheckpoint | None) -> TrainedModel:
        if found:
            _log.info("continuing after epoch %d of another run of this step", found.checkpoint.epoch)
        checkpoint = found.checkpoint if found else None
        return network.train(dataset, own, workdir / "pretraining", on_epoch, keeper=keeper, resume_from=checkpoint)

    trained = go_on(checkpoints, train_from) if checkpoints else train_from(None)
    assert trained.weights_path is not None
    return trained.weights_path, dict(trained.record)


def _read(store: S3ObjectStore, bucket: str, key: str) -> PinnedWeights | None:
    try:
        return PinnedWeights.from_json(store.get(bucket, key))
    except ObjectNotFound:
        return None
    except DocumentError as e:
        raise TrainingError(
            f"s3://{bucket}/{key} cannot be read as a pin of base weights: {e}; remove it, and they are made again"
        ) from e
