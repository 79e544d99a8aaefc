"""What Kubeflow Pipelines' page shows of an evaluation: metrics, the ROC over parts, the confusion of boxes, the page.

The artifacts are kfp's (`dsl.Metrics`, `dsl.ClassificationMetrics`, `dsl.HTML`); here they are only spoken to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.evaluation.curves import Curves
from components.evaluation.evaluate import numbers
from components.settings import settings
from components.stores.models.evaluation_report import EvaluationReport
from components.stores.models.registry import CURVES, EVALUATION_REPORT, REPORT_PAGE, ModelRegistry


def write(run_id: str, metrics: Any, roc: Any, confusion: Any, page: Any) -> None:
    """Fill the artifacts from what is stored with the run.

    The curve is left out where good or defective parts are missing; all but the metrics where an evaluation of before
    there were any is shown again.
    """
    registry = ModelRegistry.from_settings(settings())
    report = EvaluationReport.from_json(registry.get_artifact(run_id, EVALUATION_REPORT))
    for name, value in numbers(report).items():
        metrics.log_metric(name, round(float(value), 5))
    html = b"<p>This evaluation was made before there was a page of it.</p>"
    if registry.has_artifact(run_id, REPORT_PAGE):
        html = registry.get_artifact(run_id, REPORT_PAGE)
    file = Path(page.path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(html)
    if not registry.has_artifact(run_id, CURVES):
        return
    curves = Curves.from_json(registry.get_artifact(run_id, CURVES))
    if curves.roc[0]:
        roc.log_roc_curve(*curves.roc)
    confusion.log_confusion_matrix(list(curves.categories), [list(row) for row in curves.confusion])
