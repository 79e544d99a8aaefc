"""The step that `training` and `evaluation` share: both judge a model by the same report."""

from __future__ import annotations

from typing import Any, Final

from components.evaluation.component import evaluate_model
from pipelines.wiring import IDENTITIES, settled

_IDENTITY: Final = IDENTITIES["training"]


def evaluated(made: Any, dataset_digest: Any, use_case: Any, *, again: bool) -> Any:
    """The task that evaluates the model of a training run beside the champion.

    Its outputs are `report_digest`, `map50` and `failures`: the gate's checks that do not hold.

    Args:
        made: the task with the outputs `run_id` and `model`.
        again: whether a model that was evaluated before is evaluated anew.
    """
    return settled(
        evaluate_model(
            run_id=made.outputs["run_id"],
            dataset_digest=dataset_digest,
            use_case=use_case,
            again=again,
            model=made.outputs["model"],
        ),
        _IDENTITY,
    )
