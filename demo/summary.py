"""What came of the demo's rounds, and the tables that it shows at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from rich.table import Table

from components.stores.models.evaluation_report import EvaluationReport
from inspection.outputs import BOXES


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


@dataclass(frozen=True, slots=True)
class RoundFacts:
    """What came of a round. Shares and rates are the words of the evaluation report. took_s: of each step."""

    number: int
    spoilt: str
    images: int
    run_id: str
    dataset: str
    map50: float
    escape: str
    overkill: str
    version: int
    approved_by: str
    reason: str
    release: str
    rollout: str
    rollout_reason: str
    champion: int | None
    sent_back: int
    took_s: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """A JSON value."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The facts of `to_json`."""
        return cls(**value)


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
            f"{test.map50:.3f}" if result.report.output == BOXES else "not asked",
            _rate(test.escape.count, test.escape.n),
            _rate(test.overkill.count, test.overkill.n),
            _rate(test.review.count, test.review.n) if test.review else "not counted",
            str(result.version) if result.version else "refused",
            (result.release_digest or "none")[:8],
            str(result.sent_back),
        )
    return table


def rollout_table(rounds: Sequence[RoundFacts]) -> Table:
    """Return a table of rounds that the reconciler turned."""
    table = Table(title="people labelled, verified and approved; the reconciler did the rest", padding=(0, 0))
    for column in ("round", "images", "mAP50", "escape", "version", "approved with", "rollout", "champion", "took"):
        table.add_column(column, overflow="fold")
    for facts in rounds:
        minutes, seconds = divmod(int(sum(facts.took_s.values())), 60)
        table.add_row(
            str(facts.number),
            str(facts.images),
            f"{facts.map50:.3f}",
            facts.escape,
            str(facts.version),
            facts.reason,
            f"{facts.rollout}: {facts.rollout_reason}" if facts.rollout_reason else facts.rollout,
            str(facts.champion),
            f"{minutes} min {seconds} s",
        )
    return table


def _rate(count: int, n: int) -> str:
    return f"{count / n:.2f} ({count}/{n})" if n else "n=0"
