"""Makes the table of the rounds that the demo shows at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from components.stores.models.evaluation_report import EvaluationReport


@dataclass(frozen=True, slots=True)
class RoundResult:
    """The results of one round. A model that failed its gate has no version and no release."""

    number: int
    images: int
    dataset_digest: str
    report: EvaluationReport
    version: int | None
    release_digest: str | None
    sent_back: int


def round_table(results: Sequence[RoundResult]) -> Table:
    """Return a table of both rounds. The figures come from the evaluation report of each run."""
    table = Table(
        title="test split, parts kept apart, the ONNX scored as it runs; escape and overkill by part",
        padding=(0, 0),
    )
    for column in (
        "round",
        "images",
        "dataset",
        "mAP50",
        "escape",
        "overkill",
        "review",
        "version",
        "on the device",
        "sent back",
    ):
        table.add_column(column, overflow="fold")
    for result in results:
        test = result.report.test
        table.add_row(
            str(result.number),
            str(result.images),
            result.dataset_digest[:8],
            f"{test.map50:.3f}",
            _rate(test.escape.count, test.escape.n),
            _rate(test.overkill.count, test.overkill.n),
            _rate(test.review.count, test.review.n) if test.review else "not counted",
            str(result.version) if result.version else "refused",
            (result.release_digest or "none")[:8],
            str(result.sent_back),
        )
    return table


def _rate(count: int, n: int) -> str:
    return f"{count / n:.2f} ({count}/{n})" if n else "n=0"
