"""Whether a report compares its model with the champion that runs now. A pure rule.

Evaluation applies it before it trusts a stored report, MLflow's server when a person approves, and the signer before it
signs.
"""

from __future__ import annotations

from dataclasses import dataclass

from components.stores.models.evaluation_report import EvaluationReport


@dataclass(frozen=True, slots=True)
class RunningChampion:
    """The version that has the alias `champion` now, and the SHA-256 of its model."""

    version: int
    model_sha256: str


def compares_with(report: EvaluationReport, running: RunningChampion | None) -> bool:
    """Whether the report compares with this champion, or says why it cannot. running: None where none runs."""
    if running is None:
        return True
    named = report.champion or report.uncompared
    return named is not None and (named.version, named.model_sha256) == (running.version, running.model_sha256)


def why_not(where: str, version: int, report: EvaluationReport, running: RunningChampion | None) -> str:
    """In words, why a version may not be approved or signed before it is evaluated again; '' where it may.

    The champion itself may: it is not compared with itself. where: how messages call the version.
    """
    if running is None or running.version == version or compares_with(report, running):
        return ""
    named = report.champion or report.uncompared
    then = f"champion version {named.version}" if named is not None else "no champion"
    return (
        f"{where} was compared with {then}, but version {running.version} is the champion now; "
        f"evaluate it again first: kizu train --evaluate {version}"
    )
