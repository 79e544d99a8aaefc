# SPDX-License-Identifier: AGPL-3.0-only
"""Callbacks of an Ultralytics training: they report epochs, store checkpoints, and continue a stopped training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from components.training.trainer import Checkpoint, CheckpointKeeper, OnEpoch
from components.yolov8.ultralytics_state import BestWeights, begin_epoch, loaded_state, restore, saved_state


class EpochWatch:
    """Callbacks of one training.

    Args:
        versions: of the libraries that write the state of a checkpoint.
        resume_from: the checkpoint to continue from; its state is read at once, with torch's restricted loader.

    Raises:
        CheckpointError: `resume_from` cannot be read.
    """

    def __init__(
        self,
        threads: int,
        on_epoch: OnEpoch,
        keeper: CheckpointKeeper,
        versions: Mapping[str, str],
        resume_from: Checkpoint | None,
    ) -> None:
        self._threads, self._on_epoch, self._keeper = threads, on_epoch, keeper
        self._versions = dict(versions)
        self._resume_from = resume_from
        self._state = loaded_state(resume_from.state) if resume_from else None
        self._best = BestWeights()
        self._running = 0
        self._told: list[Mapping[str, float]] = []

    def register(self, yolo: Any) -> None:
        """Register the callbacks with the training of this model."""
        yolo.add_callback("on_pretrain_routine_end", self.ready)
        yolo.add_callback("on_train_epoch_start", self.epoch_starts)
        yolo.add_callback("on_fit_epoch_end", self.epoch_ended)

    def ready(self, trainer: Any) -> None:
        """Restore the checkpoint. Network, optimizer and data exist; no epoch has begun."""
        if self._state is None or self._resume_from is None:
            return
        restore(trainer, self._state, self._resume_from.epoch, self._best)
        self._state = None
        for numbers in self._resume_from.told:
            self._tell(numbers)

    def epoch_starts(self, trainer: Any) -> None:
        """Prepare an epoch, before its first batch."""
        self._running = int(trainer.epoch) + 1
        torch.set_num_threads(self._threads)  # Ultralytics sets fewer than there are cores
        begin_epoch(trainer)

    def epoch_ended(self, trainer: Any) -> None:
        """Report an epoch, after its validation, and store a checkpoint if one is due."""
        if self._running <= len(self._told):  # Ultralytics calls once more after the last epoch, with the best weights
            return
        self._tell(_numbers(trainer))
        self._best.update(trainer)
        # No checkpoint after the last epoch, because what follows is quick.
        if not trainer.stop and self._keeper.due():
            state = saved_state(trainer, self._best)
            self._keeper.keep(Checkpoint(len(self._told), tuple(self._told), state, self._versions))

    def _tell(self, numbers: Mapping[str, float]) -> None:
        self._told.append(numbers)
        self._on_epoch(len(self._told), numbers)


def _numbers(trainer: Any) -> Mapping[str, float]:
    """Losses, and scores where the epoch was validated, under names that MLflow accepts."""
    losses = trainer.label_loss_items(trainer.tloss, prefix="train")
    scores = trainer.metrics if trainer.fitness is not None else {}
    found = {**losses, **(scores or {}), "lr": trainer.optimizer.param_groups[0]["lr"]}
    return {name.replace("(B)", ""): float(value) for name, value in found.items()}
