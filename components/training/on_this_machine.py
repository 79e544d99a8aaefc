"""What trainers in this process have in common: threads, device, processes that load images, and what they refuse."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from components.settings import Settings
from components.training.device import CPU
from components.training.trainer import Checkpoint, CheckpointError, DetectionDataset, TrainingError

_CGROUP: Final = Path("/sys/fs/cgroup/cpu.max")


def processors(allowed: int, cgroup: Path = _CGROUP) -> int:
    """Processors that this process may use: those that it may run on, within the CPU limit of its container.

    Args:
        allowed: those that it may run on. In a container, these are all of the node.
        cgroup: the kernel's file with the limit: `<microseconds> <period>`, or `max <period>`.
    """
    try:
        quota, period = cgroup.read_text(encoding="ascii").split()
        limit = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no such file, or no limit
        return allowed
    return max(1, min(allowed, limit))


class OnThisMachine:
    """Base class of trainers that train in this process.

    Args:
        threads: CPU threads; where None, one for each processor that the process may use.
        base_weights: a file to begin from, in the trainer's own form.
        device: see `chosen_device`.
        workers: processes that load images, for each GPU; on a CPU there are none.
    """

    def __init__(
        self, threads: int | None = None, base_weights: Path | None = None, *, device: str = CPU, workers: int = 0
    ) -> None:
        self._threads = threads or processors(len(os.sched_getaffinity(0)))
        self._base_weights = base_weights
        self._device, self._workers = device, workers

    @classmethod
    def from_settings(cls, config: Settings, base_weights: Path | None = None) -> Self:
        """A trainer with the device, threads and workers of the settings."""
        return cls(
            config.training_threads, base_weights, device=config.training_device, workers=config.training_workers
        )


def refuse_unusable(dataset: DetectionDataset, resume_from: Checkpoint | None, versions: Mapping[str, str]) -> None:
    """Refuse a dataset or checkpoint that cannot be trained with, before anything is trained.

    Raises:
        TrainingError: the dataset has no training image.
        CheckpointError: other versions of the libraries wrote the checkpoint.
    """
    if not dataset.images.get("train"):
        raise TrainingError(f"the dataset {dataset.digest} has no training image; label more parts")
    if resume_from and dict(resume_from.versions) != versions:
        raise CheckpointError(f"expected one of {versions}, but it was written with {dict(resume_from.versions)}")


@contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Make torch deterministic while the block runs, then set it back. On processors a seed then gives one result."""
    import torch

    threads_before, before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warned_before = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_num_threads(threads)
    # warn_only, because an operation without a deterministic variant on a GPU would otherwise end the training.
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(threads_before)
        torch.use_deterministic_algorithms(before, warn_only=warned_before)
