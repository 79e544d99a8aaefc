"""The gate: a pure rule over an evaluation report.

Evaluation judges and stores the result as `evaluation/gate.json`; registration, model card and report page show that
document. MLflow's server, before an approval, and the signer, before a signature, judge the report again.
"""

from __future__ import annotations

from dataclasses import dataclass

from components.stores.models.evaluation_report import ChampionScores, EvaluationReport, Rate
from components.use_case import Gates, UseCase
from inspection.codec import Document, Part


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCheck(Part):
    """One check in words: what was measured, the bound, and whether the check holds."""

    name: str
    value: str
    bound: str
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport(Document):
    """All checks of one model. The gate passes if every check holds."""

    model_sha256: str
    checks: tuple[GateCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether there is a check and every check holds."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def failures(self) -> str:
        """The checks that do not hold, in one line; '' where all hold."""
        return "; ".join(f"{c.name} is {c.value}, expected {c.bound}" for c in self.checks if not c.passed)


def judge(report: EvaluationReport, gates: Gates, *, latency_budget_ms: float | None = None) -> GateReport:
    """Judge a report: absolute bounds, the latency budget, then the comparison with the champion on the same split.

    latency_budget_ms: milliseconds a frame, compared with the 95th percentile; not checked where it is None or the
    report has no latency.
    """
    checks = [
        GateCheck(
            name="test mAP50",
            value=f"{report.test.map50:.3f}",
            bound=f">= {gates.min_map50:.3f}",
            passed=report.test.map50 >= gates.min_map50,
        ),
        _rate_check("escape_rate", report.test.escape, gates.max_escape_rate, gates),
        _rate_check("overkill_rate", report.test.overkill, gates.max_overkill_rate, gates),
    ]
    if latency_budget_ms is not None and report.deployed is not None:
        p95 = report.deployed.latency_ms_p95
        checks.append(
            GateCheck(
                name="latency p95",
                value=f"{p95:.1f} ms",
                bound=f"<= {latency_budget_ms:.1f} ms",
                passed=p95 <= latency_budget_ms,
            )
        )
    if report.champion is not None:
        checks += _against_champion(report, report.champion, gates)
    return GateReport(model_sha256=report.model_sha256, checks=tuple(checks))


def judge_by(report: EvaluationReport, use_case: UseCase) -> GateReport:
    """Judge a report by the gates and the latency budget of a use case."""
    return judge(report, use_case.gates, latency_budget_ms=use_case.rollout.latency_budget_ms)


def _against_champion(report: EvaluationReport, champion: ChampionScores, gates: Gates) -> list[GateCheck]:
    bound = champion.test.map50 - gates.max_map50_drop
    checks = [
        GateCheck(
            name=f"test mAP50 against champion version {champion.version}",
            value=f"{report.test.map50:.3f}",
            bound=f">= {bound:.3f} (champion {champion.test.map50:.3f})",
            passed=report.test.map50 >= bound,
        )
    ]
    difference = champion.map50_difference
    if difference is not None and gates.max_map50_drop < 1:  # a drop of 1 compares nothing
        measurable = difference.parts >= gates.min_parts
        allowed = "champion_interval" in gates.allow_not_measurable
        asked = "the upper end >= 0"
        if not measurable:
            asked += f" on at least {gates.min_parts} parts" + (", or not measurable" if allowed else "")
        checks.append(
            GateCheck(
                name="champion_interval",
                value=str(difference) if measurable else f"not measurable (n={difference.parts})",
                bound=asked,
                passed=difference.high >= 0 if measurable else allowed,
            )
        )
    for name, value in sorted(report.test.map50_by_class.items()):
        if name in champion.test.map50_by_class:
            bound = champion.test.map50_by_class[name] - gates.max_class_map50_drop
            checks.append(
                GateCheck(
                    name=f"class {name} against champion", value=f"{value:.3f}", bound=f">= {bound:.3f}",
                    passed=value >= bound,
                )
            )  # fmt: skip
    return checks


def _rate_check(name: str, rate: Rate, bound: float, gates: Gates) -> GateCheck:
    if rate.n < gates.min_parts:
        allowed = name in gates.allow_not_measurable
        return GateCheck(
            name=name,
            value=f"not measurable (n={rate.n})",
            bound=f"<= {bound:.3f} on at least {gates.min_parts} parts" + (", or not measurable" if allowed else ""),
            passed=allowed,
        )
    assert rate.value is not None
    return GateCheck(name=name, value=str(rate), bound=f"<= {bound:.3f}", passed=rate.value <= bound)
