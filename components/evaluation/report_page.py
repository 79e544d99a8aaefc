"""The report as one HTML page for MLflow's and Kubeflow Pipelines' artifact views. It loads nothing else."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from components.stores.models import acceptance_words
from components.stores.models.evaluation_report import EvaluationReport
from components.stores.models.gate import GateReport
from components.stores.models.latency_report import LatencyReport
from inspection.outputs import ANOMALY_MAP


@dataclass(frozen=True, slots=True)
class ExampleImage:
    """An example to show. name: begins with its kind; caption: what it shows; data: a JPEG."""

    name: str
    caption: str
    data: bytes

    @property
    def uri(self) -> str:
        """The image as a `data:` URI."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.data).decode()}"


_KINDS = (("best", "Found best"), ("miss", "Worst misses"), ("false-alarm", "Worst false alarms"))


def render(
    report: EvaluationReport,
    gate: GateReport,
    plots: Mapping[str, str],
    examples: Sequence[ExampleImage],
    *,
    latency: LatencyReport,
    use_case: str,
    run_id: str,
    by_upper_end: bool,
) -> str:
    """The page as HTML. plots: name -> SVG, as `plots` draws it. All other values are escaped.

    by_upper_end: whether the gate judged rates by the upper end of their interval.
    """
    environment = Environment(
        loader=PackageLoader("components.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    groups = [(title, [p for p in examples if p.name.startswith(f"{kind}-")]) for kind, title in _KINDS]
    return environment.get_template("report.html").render(
        report=report,
        test=report.test,
        rules_head=acceptance_words.HEAD,
        rules=acceptance_words.rows(report.acceptance, report.classes) if report.acceptance is not None else [],
        gate=gate,
        latency=latency,
        plots=[Markup(svg) for svg in plots.values()],  # noqa: S704 - written by `plots`, which escapes
        groups=[(title, found) for title, found in groups if found],
        use_case=use_case,
        run_id=run_id,
        by_upper_end=by_upper_end,
        anomalies=report.output == ANOMALY_MAP,
    )
