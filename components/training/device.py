"""The device that a training runs on: processors, one GPU, or several."""

from __future__ import annotations

from components.training.trainer import TrainingError

CPU = "cpu"
AUTO = "auto"


def chosen_device(asked: str, gpus: int, batch: int) -> str:
    """The device to train on: `cpu`, or the numbers of GPUs, separated by commas.

    The device is part of no digest: it changes how fast a model is trained, not which. The training record names it.

    Args:
        asked: `cpu`; `auto`, the first GPU where there is one; or numbers from 0, as in `0` or `0,1`.
        gpus: number of GPUs of this machine.
        batch: images in one step, over all GPUs.

    Raises:
        TrainingError: `asked` has another form, names a GPU that is not there, or names GPUs that cannot share a batch
            evenly.
    """
    if asked == AUTO:
        return "0" if gpus else CPU
    if asked == CPU:
        return CPU
    numbers = asked.split(",")
    if not all(number.isdecimal() for number in numbers) or len(set(numbers)) != len(numbers):
        raise TrainingError(f"expected KIZU_TRAINING_DEVICE to be cpu, auto, 0 or 0,1 and so on, but got {asked!r}")
    if max(int(number) for number in numbers) >= gpus:
        raise TrainingError(
            f"expected GPU {asked} of KIZU_TRAINING_DEVICE, but torch finds {gpus} here; "
            "set it to cpu or auto, or give the pod GPUs (`resources.gpus` of the use case)"
        )
    if batch % len(numbers):
        raise TrainingError(f"expected a batch that {len(numbers)} GPUs share evenly, but `training.batch` is {batch}")
    return asked
