"""The gate: a pure rule over an evaluation report. Evaluation applies it, the signer applies it again."""

from __future__ import annotations

from dataclasses import dataclass

from components.evaluation_report import EvaluationReport, Rate
from components.use_case import Gates
from inspection.codec import Document, Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Check(Part):
    """One check in words: what was measured, the bound, whether it holds."""

    name: str
    value: str
    bound: str
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport(Document):
    """All checks; the gate passes where each one does."""

    model_sha256: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check holds; a gate without checks never passes."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def failures(self) -> str:
        """The checks that do not hold, in one line."""
        return "; ".join(f"{c.name} is {c.value}, expected {c.bound}" for c in self.checks if not c.passed)


def judge(report: EvaluationReport, gates: Gates) -> GateReport:
    """Absolute bounds, then not worse than the champion on the same split."""
    checks = [
        Check(
            name="test mAP50",
            value=f"{report.test.map50:.3f}",
            bound=f">= {gates.min_map50:.3f}",
            passed=report.test.map50 >= gates.min_map50,
        ),
        _rate_check("escape_rate", report.test.escape, gates.max_escape_rate, gates),
        _rate_check("overkill_rate", report.test.overkill, gates.max_overkill_rate, gates),
    ]
    if report.champion is not None:
        champion = report.champion.test
        bound = champion.map50 - gates.max_map50_drop
        checks.append(
            Check(
                name=f"test mAP50 against champion version {report.champion.version}",
                value=f"{report.test.map50:.3f}",
                bound=f">= {bound:.3f} (champion {champion.map50:.3f})",
                passed=report.test.map50 >= bound,
            )
        )
        for name, value in sorted(report.test.map50_by_class.items()):
            if name in champion.map50_by_class:
                bound = champion.map50_by_class[name] - gates.max_class_map50_drop
                checks.append(
                    Check(
                        name=f"class {name} against champion", value=f"{value:.3f}", bound=f">= {bound:.3f}",
                        passed=value >= bound,
                    )
                )  # fmt: skip
    return GateReport(model_sha256=report.model_sha256, checks=tuple(checks))


def _rate_check(name: str, rate: Rate, bound: float, gates: Gates) -> Check:
    if rate.n < gates.min_parts:
        allowed = name in gates.allow_not_measurable
        return Check(
            name=name,
            value=f"not measurable (n={rate.n})",
            bound=f"<= {bound:.3f} on at least {gates.min_parts} parts" + (", or not measurable" if allowed else ""),
            passed=allowed,
        )
    assert rate.value is not None
    return Check(name=name, value=str(rate), bound=f"<= {bound:.3f}", passed=rate.value <= bound)
