"""FCOS by torchvision behind the port `Trainer`: a detector without AGPL code."""

from __future__ import annotations

import io
import json
import logging
import math
import pickle
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from components.training.device import CPU, chosen_device
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

_log = logging.getLogger(__name__)
_NO_CHECKPOINTS: Final = NoCheckpoints()
_FORMAT: Final = "kizu-fcos-2"
_WARMUP_EPOCHS: Final = 2
_FINAL_RATE: Final = 0.05
_WEIGHT_DECAY: Final = 0.0005
_LARGEST_GRADIENT: Final = 10.0
_WITHOUT_MOSAIC: Final = 0.2  # share of the epochs, at the end


class FcosTrainer(OnThisMachine):
    """Trains FCOS on MobileNetV3: `model` n (Small) or s (Large), narrowed by `width_multiple`.

    It takes all settings of the augmentation. Its mosaic is a crop of four images at the same scale.

    Args:
        threads: CPU threads; all cores where None.
        base_weights: of an earlier training of this trainer; tensors of the same name and shape are loaded. torch's
            restricted loader reads the file and refuses code in it.
        device: `cpu`, `auto`, or one GPU by number; see `chosen_device`. In float32.
        workers: processes that load images for a GPU; on a CPU there are none.
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
        import torch

        from components.training.fcos_network import Answered, Deployed, network_of

        chosen = chosen_device(self._device, torch.cuda.device_count(), settings.batch)
        if "," in chosen:
            raise TrainingError(f"expected one GPU or processors for detector fcos, but got {chosen}")
        refuse_unusable(dataset, resume_from, versions())
        workdir.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        device = torch.device(CPU if chosen == CPU else f"cuda:{chosen}")
        with reproducible(self._threads):
            torch.manual_seed(settings.seed)
            network = network_of(settings, len(dataset.classes))
            transferred = self._start_from_base_weights(network)
            course = _Course(network.to(device), settings, dataset.digest, device)
            if resume_from:
                course.restore(resume_from)
                for number, numbers in enumerate(course.told, 1):
                    on_epoch(number, numbers)
            course.run(dataset, 0 if chosen == CPU else self._workers, on_epoch, keeper)
            trained_s = time.monotonic() - begun
            network = course.best_network().cpu().eval()
            deployed = Deployed(network, settings.image_width, settings.image_height).eval()
            onnx_path = workdir / "model.onnx"
            exported = write_onnx(
                deployed,
                Answered(network).eval(),
                settings.image_width,
                settings.image_height,
                dataset.classes,
                onnx_path,
                self._threads,
            )
        weights = workdir / "weights.pt"
        torch.save({"format": _FORMAT, "network": network.state_dict()}, weights)
        before = resume_from.epoch if resume_from else 0
        _log.info(
            "trained %d epochs on %d images in %.0f s", len(course.told) - before, dataset.images["train"], trained_s
        )
        record = training_record(
            dataset,
            settings,
            exported,
            told=course.told,
            resumed_after=before,
            seconds=trained_s,
            parameters=sum(p.numel() for p in network.parameters()),
            transferred=transferred,
            device=chosen,
            threads=self._threads,
            versions=versions(),
        )
        return TrainedModel(onnx_path, record | {"best_epoch": course.best_epoch or len(course.told)}, weights)

    def _start_from_base_weights(self, network: Any) -> int:
        """Load the tensors that fit into the network; returns their number."""
        if self._base_weights is None:
            return 0
        name = self._base_weights.name
        try:
            found = _loaded(self._base_weights.read_bytes())
            if found["format"] != _FORMAT:
                raise ValueError(
                    f"its format is {found['format']!r}, of another version of Kizu; bring weights of this one, or, "
                    "where a recipe made them, remove its pin (base/<recipe>.json in the bucket kizu-weights): "
                    "the next run makes new ones"
                )
            base = dict(found["network"])
        except (*_UNREADABLE, OSError) as e:
            said = str(e).partition("\n")[0]
            raise TrainingError(f"the base weights {name} are not weights of detector fcos ({_FORMAT}): {said}") from e
        own = network.state_dict()
        fitting = {key: value for key, value in base.items() if key in own and own[key].shape == value.shape}
        # The head has the same shape for every backbone, so some tensor always fits: the backbone decides.
        if any(key.startswith("backbone.") and key not in fitting for key in own):
            raise TrainingError(
                f"the base weights {name} are of another network; "
                "train with the `model` and `width_multiple` that they were made with"
            )
        network.load_state_dict(fitting, strict=False)
        return len(fitting)


@dataclass
class _Course:
    """The state of a training between epochs: all that the next epoch depends on, and the numbers of those before."""

    network: Any
    settings: TrainingSettings
    dataset_digest: str
    device: Any
    told: list[Mapping[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        import torch

        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.settings.learning_rate, weight_decay=_WEIGHT_DECAY
        )
        self._best: dict[str, Any] | None = None
        self._best_loss = math.inf
        self.best_epoch = 0  # 0: no epoch was validated

    def run(self, dataset: DetectionDataset, workers: int, on_epoch: OnEpoch, keeper: CheckpointKeeper) -> None:
        """Train the epochs that are left."""
        from components.training.fcos_images import Images

        learned = Images(dataset, "train", self.settings, self.settings.augmentation, keep=workers == 0)
        judged = Images(dataset, "val", self.settings, None) if self.settings.patience else None
        epochs = self.settings.epochs
        for epoch in range(len(self.told) + 1, epochs + 1):
            if epoch > epochs * (1 - _WITHOUT_MOSAIC):
                learned.without_mosaic()
            numbers = self._epoch(epoch, learned, workers)
            if judged is not None:
                numbers["val/loss"] = self._judge(judged)
                if numbers["val/loss"] < self._best_loss:
                    self._best_loss, self.best_epoch = numbers["val/loss"], epoch
                    self._best = {key: value.clone() for key, value in self.network.state_dict().items()}
            self._check(epoch, numbers)
            self.told.append(numbers)
            on_epoch(epoch, numbers)
            if judged is not None and epoch - self.best_epoch >= self.settings.patience:
                _log.info("no epoch was better for %d epochs; taking epoch %d", self.settings.patience, self.best_epoch)
                return
            # No checkpoint after the last epoch, because what follows is quick.
            if epoch < epochs and keeper.due():
                keeper.keep(Checkpoint(epoch, tuple(self.told), self._state(), versions()))

    def best_network(self) -> Any:
        """With `patience`, the network of the epoch with the lowest validation loss; else that of the last epoch.

        The last epoch is a good choice, because the learning rate ends near 0.
        """
        if self._best is not None:
            self.network.load_state_dict(self._best)
        return self.network

    def restore(self, checkpoint: Checkpoint) -> None:
        """Set the state that the training had after the checkpoint's epoch.

        Raises:
            CheckpointError: the checkpoint is of another network, dataset or settings.
        """
        try:
            state = _loaded(checkpoint.state)
            for name, value in self._identity().items():
                if state[name] != value:
                    raise ValueError(f"its {name} is {state[name]!r}"[:300])
            self.network.load_state_dict(state["network"])
            self._optimizer.load_state_dict(state["optimizer"])
            self._best, self._best_loss, self.best_epoch = state["best"], state["best_loss"], state["best_epoch"]
        except _UNREADABLE as e:
            raise CheckpointError(f"the training cannot continue from it: {str(e).partition(chr(10))[0]}") from e
        self.told = list(checkpoint.told)

    def _state(self) -> bytes:
        import torch

        stream = io.BytesIO()
        torch.save(
            {
                **self._identity(),
                "network": self.network.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "best": self._best,
                "best_loss": self._best_loss,
                "best_epoch": self.best_epoch,
            },
            stream,
        )
        return stream.getvalue()

    def _identity(self) -> dict[str, Any]:
        """The values that must be equal in a checkpoint and in the training that continues from it."""
        settings = json.dumps(self.settings.model_dump(mode="json"), sort_keys=True)
        return {"format": _FORMAT, "dataset": self.dataset_digest, "settings": settings}

    def _check(self, epoch: int, numbers: Mapping[str, float]) -> None:
        import torch

        sound = all(math.isfinite(value) for value in numbers.values())
        if not sound or not all(bool(torch.isfinite(value).all()) for value in self.network.state_dict().values()):
            raise TrainingError(
                f"epoch {epoch} gave values that are not finite: {dict(numbers)}; lower `learning_rate`"
            )

    def _epoch(self, epoch: int, images: Any, workers: int) -> dict[str, float]:
        """Train on each image once. The random numbers depend on seed and epoch alone, not on earlier epochs."""
        import torch
        from torch.utils.data import DataLoader

        from components.training.fcos_images import batch_of
        from components.training.fcos_network import losses_of

        torch.manual_seed(self.settings.seed * 1_000_003 + epoch)
        batches = DataLoader(
            images, self.settings.batch, shuffle=True, num_workers=workers, collate_fn=batch_of,
            generator=torch.Generator().manual_seed(self.settings.seed * 1_000_003 + epoch),
            worker_init_fn=_no_threads_of_opencv if workers else None,
        )  # fmt: skip
        self.network.train()
        found: dict[str, float] = {}
        for number, (pictures, targets) in enumerate(batches):
            rate = self._rate(epoch - 1 + number / len(batches))
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            sums, count = losses_of(self.network, pictures.to(self.device), self._moved(targets))
            # In a batch of good parts no place answers for a box: divided by that number, it would weigh too much.
            losses = {name: loss / max(count, self.settings.batch) for name, loss in sums.items()}
            total = sum(losses.values())
            self._optimizer.zero_grad()
            total.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
            self._optimizer.step()
            for name, loss in losses.items():
                found[name] = found.get(name, 0.0) + float(loss.detach())
        means = {f"train/{_NAMES[name]}": value / len(batches) for name, value in found.items()}
        return {**means, "lr": self._optimizer.param_groups[0]["lr"]}

    def _judge(self, images: Any) -> float:
        """The validation loss: the sum over all images, divided by the number of places that answer for a box."""
        import torch
        from torch.utils.data import DataLoader

        from components.training.fcos_images import batch_of
        from components.training.fcos_network import losses_of

        self.network.eval()
        with torch.no_grad():
            batches = DataLoader(images, self.settings.batch, collate_fn=batch_of)
            found = [
                losses_of(self.network, pictures.to(self.device), self._moved(targets)) for pictures, targets in batches
            ]
        return sum(float(sum(losses.values())) for losses, _ in found) / max(1, sum(count for _, count in found))

    def _moved(self, targets: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{name: tensor.to(self.device) for name, tensor in target.items()} for target in targets]

    def _rate(self, epochs_done: float) -> float:
        """The learning rate: up in a straight line during warm-up, then down along half a cosine."""
        warmup = min(_WARMUP_EPOCHS, self.settings.epochs // 2)
        if epochs_done < warmup:
            return self.settings.learning_rate * max(0.01, epochs_done / warmup)
        share = (epochs_done - warmup) / max(1, self.settings.epochs - warmup)
        return self.settings.learning_rate * (
            _FINAL_RATE + (1 - _FINAL_RATE) * (1 + math.cos(math.pi * min(1.0, share))) / 2
        )


_NAMES: Final = {"classification": "cls_loss", "bbox_regression": "box_loss", "bbox_ctrness": "centreness_loss"}
_UNREADABLE: Final = (pickle.UnpicklingError, RuntimeError, ValueError, KeyError, TypeError, EOFError, AttributeError)
"""The errors of torch's restricted loader and of `load_state_dict` for data that is not theirs."""


def versions() -> dict[str, str]:
    """The versions of the libraries that train and export."""
    return {name: version(name) for name in ("torch", "torchvision", "onnx")}


def _loaded(data: bytes) -> dict[str, Any]:
    import torch

    found = torch.load(io.BytesIO(data), map_location=CPU, weights_only=True)
    if not isinstance(found, dict):
        raise ValueError(f"expected a dictionary, but it is of type {type(found).__name__}")
    return found


def _no_threads_of_opencv(_: int) -> None:
    """Turn OpenCV's threads off in a process that loads images: they do not survive a fork, nor are needed there."""
    import cv2

    cv2.setNumThreads(0)
