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
    metrics: dsl.Output[dsl.Metrics],
    parts_roc: dsl.Output[dsl.ClassificationMetrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    report: dsl.Output[dsl.HTML],
) -> NamedTuple("Outputs", map50=float, report_digest=str, failures=str):
    """Score the ONNX as it will run, the champion beside it; failures: what the gate has against it, in words."""
    from components.evaluation.evaluate import run
    from components.evaluation.kfp_artifacts import write

    result = run(run_id, dataset_digest, use_case)
    write(run_id, metrics, parts_roc, confusion, report)
    return (result.map50, result.report_digest, result.failures)


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def apply_gate(run_id: str, use_case: str, report_digest: str) -> bool:
    """Whether the report passes the use case's gate. Its one output is what `dsl.If` can read everywhere."""
    from components.evaluation.evaluate import passes_gate

    return passes_gate(run_id, use_case, report_digest)
