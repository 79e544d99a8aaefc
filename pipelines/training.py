"""The training pipeline: freeze a dataset, train, evaluate, judge the gate, register a version for approval."""

from typing import NamedTuple

from kfp import dsl

from components.dataset.component import freeze_dataset
from components.evaluation.component import apply_gate
from components.registry.component import register_model
from components.training.component import prepare_base_weights, train_detector
from pipelines.evaluating import evaluated
from pipelines.step_pods import LONGEST_RUN_DAYS
from pipelines.wiring import pipeline_config, settled


class TrainingOutputs(NamedTuple):
    """The dataset, the training run and its result. The registered version is found by its run.

    failures: the gate's checks that do not hold. note: that the model was trained now, or the version or failed gate of
    the earlier run with the same inputs.
    """

    dataset_digest: str
    images: int
    run_id: str
    passed: bool
    map50: float
    failures: str
    note: str


@dsl.pipeline(
    name="training",
    description="Freeze a dataset, train, evaluate as deployed, gate, register.",
    pipeline_config=pipeline_config(days=LONGEST_RUN_DAYS),
)
def training(use_case: str, label_version: int = -1, force: bool = False) -> TrainingOutputs:
    """use_case: canonical JSON. label_version: -1 takes the latest labels. force: train the same inputs again."""
    frozen = settled(freeze_dataset(use_case=use_case, label_version=label_version), "training")
    base = settled(prepare_base_weights(use_case=use_case), "training")
    trained = settled(
        train_detector(
            dataset_digest=frozen.outputs["dataset_digest"],
            use_case=use_case,
            base_uri=base.outputs["uri"],
            base_sha256=base.outputs["sha256"],
            force=force,
            dataset=frozen.outputs["dataset"],
        ),
        "training",
    )
    report = evaluated(trained, frozen.outputs["dataset_digest"], use_case, again=False)
    gate = settled(
        apply_gate(run_id=trained.outputs["run_id"], report_digest=report.outputs["report_digest"]),
        "training",
    )
    # The gate is a step of its own with one output: kfp's local runner takes a condition on any other output as false.
    with dsl.If(gate.output == True, name="gate-passed"):  # noqa: E712 - an operator of kfp's
        settled(
            register_model(
                run_id=trained.outputs["run_id"],
                use_case=use_case,
                label_version=frozen.outputs["label_version"],
                pipeline_run=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            ),
            "training",
        )
    return TrainingOutputs(
        dataset_digest=frozen.outputs["dataset_digest"],
        images=frozen.outputs["images"],
        run_id=trained.outputs["run_id"],
        passed=gate.output,
        map50=report.outputs["map50"],
        failures=report.outputs["failures"],
        note=trained.outputs["note"],
    )
