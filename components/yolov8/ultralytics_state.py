# SPDX-License-Identifier: AGPL-3.0-only
"""The state of an Ultralytics training between two epochs, as tensors and numbers.

Ultralytics' own `resume` is not used. It takes the arguments, and so the paths, from the checkpoint. It continues from
the moving average instead of the network, both in half precision. It does not restore random numbers, and its file is a
pickle of modules. This module stores the network, its moving average and the optimizer as they are, and seeds each
epoch anew, so that a training on a CPU ends with the same bytes whether it was stopped or not.
"""

from __future__ import annotations

import io
import pickle
import random
from typing import Any, Final

import numpy as np
import torch

from components.training.trainer import CheckpointError

_STOPPER: Final = ("best_fitness", "best_epoch", "possible_stop")


def begin_epoch(trainer: Any) -> None:
    """Seed the random numbers of an epoch, so that they do not depend on what this process did before."""
    from ultralytics.utils import RANK

    loader = trainer.train_loader
    seed = (trainer.args.seed * 100_003 + trainer.epoch) * 64 + RANK + 1  # each GPU has its own
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    if loader.num_workers == 0:
        # A new iterator draws a random number, so every epoch gets a new iterator, as the first after a restart does.
        # (Workers load ahead and are costly to start: with them, a resumed training is as good, but not the same.)
        loader.generator.manual_seed(seed)
        loader.reset()


class BestWeights:
    """The moving average of the best epoch, where each epoch is validated."""

    def __init__(self) -> None:
        self._state: dict[str, Any] | None = None
        self._fitness: float | None = None

    def update(self, trainer: Any) -> None:
        """Take the moving average of the epoch that just ended, if it is the best."""
        if trainer.args.val and trainer.fitness is not None and trainer.best_fitness == trainer.fitness:
            average = trainer.ema.ema.state_dict()
            self._state = {name: t.detach().half().cpu() if t.is_floating_point() else t.cpu().clone()
                           for name, t in average.items()}  # fmt: skip
            self._fitness = float(trainer.fitness)

    def saved(self) -> dict[str, Any]:
        """The best weights and their fitness, for a checkpoint."""
        return {"weights": self._state, "fitness": self._fitness}

    def restore(self, trainer: Any, saved: dict[str, Any]) -> None:
        """Restore the best weights of a checkpoint and write best.pt, which Ultralytics reads at the end."""
        self._state, self._fitness = saved["weights"], saved["fitness"]
        if self._state is not None:
            trainer.ema.ema.load_state_dict(self._state)
            trainer.best_fitness = trainer.fitness = self._fitness
            trainer.save_model()


def saved_state(trainer: Any, best: BestWeights) -> bytes:
    """The state of a training after an epoch, as a file of torch's."""
    stopper = {name: _plain(getattr(trainer.stopper, name)) for name in _STOPPER}
    buffer = io.BytesIO()
    torch.save(
        {
            "network": _network(trainer).state_dict(),
            "average": trainer.ema.ema.state_dict(),
            "average_updates": trainer.ema.updates,
            "optimizer": trainer.optimizer.state_dict(),
            "stopper": stopper,
            "best": best.saved(),
        },
        buffer,
    )
    return buffer.getvalue()


def loaded_state(data: bytes) -> dict[str, Any]:
    """Read a state with torch's restricted loader, which loads tensors and plain values and no code.

    Raises:
        CheckpointError: the data is not a state of a training.
    """
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as e:
        raise CheckpointError(f"it is not the state of a training: {_first_line(e)}") from e
    if not isinstance(state, dict) or {"network", "average", "optimizer", "stopper", "best"} - state.keys():
        raise CheckpointError("it is not the state of a training: some of its parts are missing")
    return state


def restore(trainer: Any, state: dict[str, Any], epoch: int, best: BestWeights) -> None:
    """Restore, before the first epoch, the state that a training had after `epoch` epochs.

    Raises:
        CheckpointError: the state is of another network.
    """
    trainer.epoch = epoch - 1  # counted from 0
    try:
        best.restore(trainer, state["best"])
        _network(trainer).load_state_dict(state["network"])
        trainer.ema.ema.load_state_dict(state["average"])
        trainer.ema.updates = state["average_updates"]
        trainer.optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError, KeyError) as e:
        raise CheckpointError(f"it is of another network: {_first_line(e)}") from e
    trainer.stopper.__dict__.update(state["stopper"])
    trainer.best_fitness = state["best"]["fitness"]
    trainer.fitness = None
    trainer.start_epoch = epoch
    trainer.scheduler.last_epoch = epoch - 1


def _network(trainer: Any) -> Any:
    from ultralytics.utils.torch_utils import unwrap_model

    return unwrap_model(trainer.model)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
