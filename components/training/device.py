"""On what a training runs: processors, one GPU, or several."""

from __future__ import annotations

from components.training.trainer import TrainingError

CPU = "cpu"
AUTO = "auto"


def chosen_device(asked: str, gpus: int, batch: int) -> str:
    """`cpu`, or the numbers of GPUs with commas between them.

    It is in no digest: it says how fast a model comes, not which. What was taken stands in the training record.

    Args:
        asked: `cpu`; `auto`, the first GPU where there is one; or numbers from 0, as in `0` or `0,1`.
        gpus: how many this machine has.
        batch: images a step, of all GPUs together.

    Raises:
        TrainingError: another form, a GPU that is not there, or a batch that several GPUs cannot share evenly.
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
