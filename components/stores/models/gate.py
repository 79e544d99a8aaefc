"""The gate: a pure rule over an evaluation report.

Evaluation judges and stores the result as `evaluation/gate.json`; registration, model card and report page show that
document. MLflow's server, before an approval, and the signer, before a signature, judge the report again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from components.stores.models.evaluation_report import ChampionScores, EvaluationReport, Rate
from components.stores.models.latency_report import LatencyReport
from components.use_case import Gates, UseCase
from inspection.codec import Document, Part
from inspection.outputs import ANOMALY_MAP

AUROC: Final = "image_auroc"
"""The name of the check of how well good and defective parts are told apart by an anomaly map."""
LATENCY: Final = "latency p95"
"""The name of the check of the latency budget."""
_NOT_COUNTED: Final = "an earlier version evaluated, which did not count it"
_OR_NOT: Final = ", or not measurable"


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


def judge(
    report: EvaluationReport,
    gates: Gates,
    *,
    latency: LatencyReport | None = None,
    latency_budget_ms: float | None = None,
    asks_classes: bool = True,
) -> GateReport:
    """Judge a report: rates, classes, the latency budget, then the comparison with the champion on the same split.

    Args:
        latency: the latest; without it, a report of schema version 1 has its own, or is not checked for it.
        latency_budget_ms: milliseconds a frame, compared with the 95th percentile; not checked where it is None.
        asks_classes: whether each class has to be measurable. If the gates bound each class, it always has to.
    """
    if report.output == ANOMALY_MAP:
        return _judge_anomaly_map(report, gates, latency, latency_budget_ms)
    checks = [
        GateCheck(
            name="test mAP50",
            value=f"{report.test.map50:.3f}",
            bound=f">= {gates.min_map50:.3f}",
            passed=report.test.map50 >= gates.min_map50,
        ),
        *_rate_checks(report, gates),
    ]
    if asks_classes or gates.min_class_map50 is not None:
        checks += [_class_check(name, report, gates) for name in report.classes]
    if latency_budget_ms is not None:
        checks += _latency_checks(report, latency, latency_budget_ms)
    if report.champion is not None:
        checks += _against_champion(report, report.champion, gates, asks_classes)
    return GateReport(model_sha256=report.model_sha256, checks=tuple(checks))


def _judge_anomaly_map(
    report: EvaluationReport, gates: Gates, latency: LatencyReport | None, latency_budget_ms: float | None
) -> GateReport:
    """Judge a model that learned from good parts alone. It finds no classes, so no mAP is asked of it.

    Overkill is measurable from the first day; escape and the image AUROC as soon as defects are in the test split.
    """
    checks = _rate_checks(report, gates)
    ours, good, defective = report.test.image_auroc, report.test.overkill.n, report.test.escape.n
    measurable = ours is not None and min(good, defective) >= gates.min_parts
    least = gates.min_image_auroc
    if least is not None:
        allowed = AUROC in gates.allow_not_measurable
        checks.append(
            GateCheck(
                name=AUROC,
                value=f"{ours:.3f}" if measurable else f"not measurable ({good} good, {defective} defective parts)",
                bound=f">= {least:.3f} on at least {gates.min_parts} parts of each kind{_OR_NOT if allowed else ''}",
                passed=ours is not None and ours >= least if measurable else allowed,
            )
        )
    if latency_budget_ms is not None:
        checks += _latency_checks(report, latency, latency_budget_ms)
    champion = report.champion
    if champion is not None and measurable and ours is not None and champion.test.image_auroc is not None:
        bound = champion.test.image_auroc - gates.max_map50_drop
        checks.append(
            GateCheck(
                name=f"{AUROC} against champion version {champion.version}",
                value=f"{ours:.3f}",
                bound=f">= {bound:.3f} (champion {champion.test.image_auroc:.3f})",
                passed=ours >= bound,
            )
        )
    return GateReport(model_sha256=report.model_sha256, checks=tuple(checks))


def _rate_checks(report: EvaluationReport, gates: Gates) -> list[GateCheck]:
    checks = [
        _rate_check("escape_rate", report.test.escape, gates.max_escape_rate, gates),
        _rate_check("overkill_rate", report.test.overkill, gates.max_overkill_rate, gates),
    ]
    if gates.max_review_rate < 1:
        checks.append(_rate_check("review_rate", report.test.review, gates.max_review_rate, gates))
    return checks


def judge_by(report: EvaluationReport, use_case: UseCase, latency: LatencyReport | None) -> GateReport:
    """Judge a report, and the latest latency, by the gates and the latency budget of a use case.

    A report of schema version 1 under a use case of version 1 is judged as it was when it was made: not by class. A
    report of another form of output than the use case trains does not pass: its checks are others.
    """
    found = judge(
        report,
        use_case.gates,
        latency=latency,
        latency_budget_ms=use_case.rollout.latency_budget_ms,
        asks_classes=report.schema_version > 1 or use_case.schema_version > 1,
    )
    wanted = use_case.training.output
    if report.output == wanted:
        return found
    other = GateCheck(name="output", value=report.output, bound=f"{wanted}, as the use case trains", passed=False)
    return replace(found, checks=(*found.checks, other))


def _latency_checks(report: EvaluationReport, latency: LatencyReport | None, budget_ms: float) -> list[GateCheck]:
    deployed = latency.deployed if latency is not None else report.deployed
    if deployed is None and report.schema_version == 1:
        return []
    p95 = deployed.latency_ms_p95 if deployed is not None else None
    return [
        GateCheck(
            name=LATENCY,
            value=f"{p95:.1f} ms" if p95 is not None else "not measured",
            bound=f"<= {budget_ms:.1f} ms",
            passed=p95 is not None and p95 <= budget_ms,
        )
    ]


def _against_champion(
    report: EvaluationReport, champion: ChampionScores, gates: Gates, asks_classes: bool
) -> list[GateCheck]:
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
        if asks_classes and not _is_measurable(name, report, gates):
            continue  # one box more or less would decide; the check of the class itself says that it is not measurable
        if name in champion.test.map50_by_class:
            bound = champion.test.map50_by_class[name] - gates.max_class_map50_drop
            checks.append(
                GateCheck(
                    name=f"class {name} against champion", value=f"{value:.3f}", bound=f">= {bound:.3f}",
                    passed=value >= bound,
                )
            )  # fmt: skip
    return checks


def _class_check(name: str, report: EvaluationReport, gates: Gates) -> GateCheck:
    """Whether the test split can say anything about a class, and whether its mAP50 reaches a bound if there is one."""
    least = gates.min_class_map50
    asked = f"on at least {gates.min_parts} defective parts"
    if least is not None:
        asked = f"mAP50 >= {least:.3f} {asked}"
    n = _defective_parts(name, report)
    if _is_measurable(name, report, gates):
        found = report.test.by_class[name]
        if found.map50 is not None or least is None:
            map50 = f"mAP50 {found.map50:.3f}, " if found.map50 is not None else ""
            passed = least is None or (found.map50 is not None and found.map50 >= least)
            return GateCheck(name=f"class {name}", value=f"{map50}escape {found.escape}", bound=asked, passed=passed)
        n = None  # an early report has the parts of a class, but not its mAP50
    allowed = name in gates.allow_classes_not_measurable
    return GateCheck(
        name=f"class {name}",
        value=f"not measurable ({_NOT_COUNTED})" if n is None else _not_measurable(n, gates.min_parts - n),
        bound=asked + (_OR_NOT if allowed else ""),
        passed=allowed,
    )


def _is_measurable(class_name: str, report: EvaluationReport, gates: Gates) -> bool:
    n = _defective_parts(class_name, report)
    return n is not None and n >= gates.min_parts


def _defective_parts(class_name: str, report: EvaluationReport) -> int | None:
    """The test parts that have a defect of the class; None where the report does not say."""
    found = report.test.by_class.get(class_name)
    return found.escape.n if found is not None else None


def _rate_check(name: str, rate: Rate | None, bound: float, gates: Gates) -> GateCheck:
    allowed = name in gates.allow_not_measurable
    by_upper = gates.bound == "upper_95"
    asked = f"<= {bound:.3f}" + (" at the upper end of the interval" if by_upper else "")
    if rate is None:
        value, asked, passed = f"not measurable ({_NOT_COUNTED})", asked + (_OR_NOT if allowed else ""), allowed
        return GateCheck(name=name, value=value, bound=asked, passed=passed)
    needed = rate.parts_for(bound) if by_upper else None
    if not _says_something(rate, bound, gates):
        more = max(gates.min_parts, needed or 0) - rate.n
        asked += "" if by_upper and rate.n >= gates.min_parts else f" on at least {gates.min_parts} parts"
        asked += _OR_NOT if allowed else ""
        return GateCheck(name=name, value=_not_measurable(rate.n, more), bound=asked, passed=allowed)
    assert rate.value is not None
    passed = (rate.interval[1] if by_upper else rate.value) <= bound
    value = str(rate)
    if by_upper and not passed and needed is not None and rate.value <= bound:
        value += f"; at least {needed - rate.n} more parts without an error needed"
    return GateCheck(name=name, value=value, bound=asked, passed=passed)


def _says_something(rate: Rate, bound: float, gates: Gates) -> bool:
    """Whether the parts are enough to pass, or the rate is too high already."""
    if rate.value is None or rate.n < gates.min_parts:
        return False
    return rate.value > bound or gates.bound == "point" or Rate(count=0, n=rate.n).interval[1] <= bound


def _not_measurable(n: int, more: int) -> str:
    return f"not measurable (n={n}); at least {more} more part{'' if more == 1 else 's'} needed"
