"""The evaluation pipeline: evaluate a registered version again, beside the champion of now.

A version that was evaluated beside an earlier champion can be neither approved nor signed. Its latency may be measured
again, too. It runs with the identity of the training.
"""

from typing import NamedTuple

from kfp import dsl

from components.registry.component import find_version, renew_version
from pipelines.evaluating import evaluated
from pipelines.wiring import pipeline_config, settled


class EvaluationOutputs(NamedTuple):
    """The training run of the version, and the result.

    failures: the gate's checks that do not hold. approval: of the version now; `pending` if it was evaluated anew.
    """

    run_id: str
    passed: bool
    map50: float
    failures: str
    approval: str


@dsl.pipeline(
    name="evaluation",
    description="Evaluate a registered version again, beside the champion of now.",
    pipeline_config=pipeline_config(days=1),
)
def evaluation(use_case: str, version: int = 0) -> EvaluationOutputs:
    """use_case: canonical JSON, whose name is that of the model. version: as MLflow shows it; 0: the newest."""
    found = settled(find_version(use_case=use_case, version=version), "training")
    report = evaluated(found, found.outputs["dataset_digest"], use_case, again=True)
    renewed = settled(
        renew_version(
            use_case=use_case, version=found.outputs["version"], report_digest=report.outputs["report_digest"]
        ),
        "training",
    )
    return EvaluationOutputs(
        run_id=found.outputs["run_id"],
        passed=renewed.outputs["passed"],
        map50=report.outputs["map50"],
        failures=report.outputs["failures"],
        approval=renewed.outputs["approval"],
    )
