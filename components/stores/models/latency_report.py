"""The latest latency of a run's models, beside the evaluation report. It is measured again on demand.

The report is written once, and approvals name it by its digest. A latency is a measurement of one machine at one time:
a few slow frames must not decide about a model for good. The device measures again before it takes a release.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from components.stores.models.evaluation_report import Deployed
from inspection.codec import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyReport(Document):
    """Latency and memory of the deployed path of a run's model, and of its int8 variant if it has one."""

    model_sha256: str
    measured_at: datetime
    deployed: Deployed
    int8: Deployed | None = None
