# mypy: disable-error-code="valid-type"
"""The kfp side of evaluation and gate."""

from typing import NamedTuple

from kfp import dsl

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def evaluate_model(
    run_id: str,
    dataset_digest: str,
    use_case: str,
    again: bool,
    metrics: dsl.Output[dsl.Metrics],
    parts_roc: dsl.Output[dsl.ClassificationMetrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    report: dsl.Output[dsl.HTML],
    model: dsl.Input[dsl.Model] = None,
) -> NamedTuple("Outputs", [("map50", float), ("report_digest", str), ("failures", str)]):
    """Score a run's ONNX as it will run, with the champion beside it, and judge the gate.

    again: compare with the champion of now and measure the latency again, even if the run was evaluated already.
    failures: the checks of the gate that do not hold, in words. model: for the lineage.
    """
    from components.evaluation.evaluate import run
    from components.evaluation.kfp_artifacts import write
    from components.settings import settings
    from components.use_case import parse_use_case

    done = run(settings(), run_id, dataset_digest, parse_use_case(use_case), again=again)
    write(done, metrics, parts_roc, confusion, report)
    return (done.report.test.map50, done.report_digest, done.gate.failures)


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def apply_gate(run_id: str, report_digest: str) -> bool:
    """Whether the evaluated run passes its gate: one output, which `dsl.If` can read everywhere."""
    from components.evaluation.evaluate import passes_gate
    from components.settings import settings
    from components.stores.models.registry import ModelRegistry

    return passes_gate(ModelRegistry.from_settings(settings()), run_id, report_digest)
