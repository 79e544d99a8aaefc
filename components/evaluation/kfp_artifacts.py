"""What Kubeflow Pipelines' page shows of an evaluation: metrics, the ROC over parts, the confusion of boxes, the page.

The artifacts are objects of kfp's (`dsl.Metrics`, `dsl.ClassificationMetrics`, `dsl.HTML`). This module calls their
methods and does not import kfp.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.evaluation.stored import StoredEvaluation, numbers


def write(done: StoredEvaluation, metrics: Any, roc: Any, confusion: Any, page: Any) -> None:
    """Fill the artifacts with an evaluation.

    The ROC is left out where good or defective parts are missing. An evaluation without stored curves or page gets its
    metrics and a page that says so.
    """
    for name, value in numbers(done.report, done.latency).items():
        metrics.log_metric(name, round(float(value), 5))
    file = Path(page.path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(done.page or b"<p>This evaluation was made by an earlier version, which wrote no page.</p>")
    if done.curves is None:
        return
    if done.curves.roc[0]:
        roc.log_roc_curve(*done.curves.roc)
    confusion.log_confusion_matrix(list(done.curves.categories), [list(row) for row in done.curves.confusion])
