"""The model card: the description of a version, as Markdown, which an approver reads first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from components.stores.models import acceptance_words
from components.stores.models.evaluation_report import ChampionScores, EvaluationReport, Rate, Scores, Slice
from components.stores.models.gate import GateReport
from components.stores.models.latency_report import LatencyReport
from components.stores.models.registry import MAX_DESCRIPTION, MODEL_CARD, REPORT_PAGE
from components.use_case import UseCase
from inspection.outputs import ANOMALY_MAP

_LEFT_OUT = f"*The rest is in the run's artifact `{MODEL_CARD}`.*"


@dataclass(frozen=True, slots=True)
class ModelOrigin:
    """Where a model comes from. Unknown values are ''.

    base_weights_sha256: `none` where the training began from scratch. manifest_uri: of the dataset manifest. packages:
    name -> version. pages: whether the run has the report page and its plots.
    """

    run_id: str
    label_version: int
    code_digest: str
    code_revision: str = ""
    base_weights_sha256: str = ""
    pipeline_run: str = ""
    manifest_uri: str = ""
    packages: Mapping[str, str] | None = None
    pages: bool = False


def model_card(
    report: EvaluationReport,
    gate: GateReport,
    use_case: UseCase,
    origin: ModelOrigin,
    latency: LatencyReport | None = None,
) -> str:
    """The whole card. `shortened` returns what fits into MLflow's column. latency: the latest."""
    return "\n\n".join(_blocks(report, gate, use_case, origin, latency))


def shortened(
    report: EvaluationReport,
    gate: GateReport,
    use_case: UseCase,
    origin: ModelOrigin,
    latency: LatencyReport | None = None,
    *,
    most: int = MAX_DESCRIPTION,
) -> str:
    """The card in at most `most` characters: whole blocks, the most important first, and where to find the rest."""
    blocks = _blocks(report, gate, use_case, origin, latency)
    if len("\n\n".join(blocks)) <= most:
        return "\n\n".join(blocks)
    room, kept = most - len(_LEFT_OUT) - 2, list[str]()
    for block in blocks:
        if len(block) + 2 > room:
            continue  # a later, smaller block may still fit
        kept.append(block)
        room -= len(block) + 2
    return "\n\n".join([*kept, _LEFT_OUT])


def _blocks(
    report: EvaluationReport, gate: GateReport, use_case: UseCase, origin: ModelOrigin, latency: LatencyReport | None
) -> list[str]:
    """The blocks of the card, the most important for an approver first."""
    test = report.test
    blocks = [
        _first(report),
        f"**Escape rate** {test.escape} · **overkill rate** {test.overkill} · **review rate** {_rate(test.review)}",
        *_escapes(test),
        _gate_table(gate),
        _bound(use_case),
        "To approve, set this version's tag `approval` to `approved` (or `rejected`).",
    ]
    if report.champion is not None:
        blocks.append(_champion(test, report.champion))
    if report.uncompared is not None:
        reason = _plain(report.uncompared.reason)
        blocks.append(f"**Not compared with the champion**, version {report.uncompared.version}: {reason}.")
    blocks.append(_lineage(report, use_case, origin))
    blocks.append(
        f"**Operating threshold** {', '.join(f'{_plain(k)} {v.fail:.2f}' for k, v in report.thresholds.items())} "
        f"({report.threshold_source})"
    )
    if report.calibration:
        blocks.append(f"**Scores calibrated** {_plain(report.calibration)}.")
    if report.acceptance is not None:
        blocks.append(
            _table(acceptance_words.HEAD, acceptance_words.rows(report.acceptance, report.classes))
            + "\n\nLabels and detections were judged by these rules: a part whose defects are all tolerated is good."
        )
    blocks += _behaviour(report, latency)
    if origin.pages:
        blocks.append(_pictures(origin.run_id))
    if test.by_class:
        blocks.append(_slices("class", test.by_class))
    if test.by_size:
        blocks.append(_slices("size of the defect", test.by_size))
    if test.by_camera:
        blocks.append(_slices("camera", test.by_camera))
    if test.by_reason:
        blocks.append(
            _slices("reason of capture", test.by_reason) + "\n\nOnly `control` images, which a device draws at random, "
            "estimate the line. Images of the other reasons were chosen, and their rates are not the line's."
        )
    if use_case.description:
        blocks.append(f"**Meant for** {_plain(use_case.description)}")
    return blocks


def _first(report: EvaluationReport) -> str:
    """What the model is measured by. Of an anomaly map there may be no defect to measure it by."""
    test = report.test
    split = f"**Test split** ({test.images} images of {test.parts} parts)"
    if report.output != ANOMALY_MAP:
        return (
            f"{split}: mAP50 {test.map50:.3f}, mAP50-95 {test.map50_95:.3f}, precision {test.precision:.3f}, "
            f"recall {test.recall:.3f}"
        )
    said = f"{split}: **learned from good parts alone**; it finds what looks unlike them, and names no class. "
    if test.image_auroc is None:
        return said + (
            "The test split has no defective part. How many defects escape is **not measurable**; only the overkill "
            "rate is known."
        )
    return said + f"Image AUROC {test.image_auroc:.3f} (1: every defective part scores higher than every good one)"


def _escapes(test: Scores) -> list[str]:
    """How many escapes a person sees, and how many parts were rejected for another place than that of their defect."""
    said = []
    if test.escapes_in_review is not None and test.escape.count:
        seen = f"{test.escapes_in_review} of {test.escape.count}"
        said.append(f"Escapes that are uncertain, so that a person looks at them: {seen}.")
    if test.escape_by_location is not None and test.escape_by_location.count > test.escape.count:
        hidden = test.escape_by_location.count - test.escape.count
        said.append(
            f"**Escape by location** {test.escape_by_location}: of these parts, {hidden} "
            f"{'is' if hidden == 1 else 'are'} rejected only because of a detection elsewhere."
        )
    return [" ".join(said)] if said else []


def _bound(use_case: UseCase) -> str:
    if use_case.gates.bound == "point":
        return "Rates are judged by their value (`bound: point`), whatever their interval."
    return "Rates are judged by the upper end of their 95 % interval (`bound: upper_95`)."


def _rate(rate: Rate | None) -> str:
    return "not counted" if rate is None else str(rate)


def _gate_table(gate: GateReport) -> str:
    return _table(
        ("Gate", "Value", "Bound", ""),
        [(c.name, c.value, c.bound, "✓" if c.passed else "✗") for c in gate.checks],
    )


def _champion(test: Scores, champion: ChampionScores) -> str:
    rows = [
        (name, f"{found.map50:.3f}", f"{found.map50_95:.3f}", *map(_rate, (found.escape, found.overkill, found.review)))
        for name, found in (("this model", test), (f"champion, version {champion.version}", champion.test))
    ]
    table = _table(("On the same test split", "mAP50", "mAP50-95", "Escape rate", "Overkill rate", "Review rate"), rows)
    said = [table]
    if champion.map50_difference is not None:
        said.append(f"mAP50 less the champion's: {champion.map50_difference}")
    if champion.seen_test_images:
        said.append(
            f"The champion learned from {champion.seen_test_images} of these {test.images} test images, or from their "
            "parts. It looks too good here."
        )
    return "\n\n".join(said)


def _behaviour(report: EvaluationReport, latency: LatencyReport | None) -> list[str]:
    found = []
    deployed = latency.deployed if latency is not None else report.deployed
    if deployed is not None:
        at = f", measured at {latency.measured_at:%Y-%m-%d %H:%M} UTC" if latency is not None else ""
        memory = f", peak memory {deployed.peak_memory_bytes / 1e6:.0f} MB" if deployed.peak_memory_bytes else ""
        found.append(
            f"**Latency** p50 {deployed.latency_ms_p50:.1f} ms, p95 {deployed.latency_ms_p95:.1f} ms a frame with "
            f"{deployed.threads} threads where it was evaluated{at}{memory}"
        )
    if report.int8 is not None:
        state = "kept beside fp32" if report.int8.kept else "not kept"
        found.append(f"**int8** {state}: {_plain(report.int8.reason)}")
    return found


def _lineage(report: EvaluationReport, use_case: UseCase, origin: ModelOrigin) -> str:
    rows = [
        ("Detector", f"{use_case.training.detector} {use_case.training.model}"),
        ("Dataset", f"`{report.dataset_digest}`"),
        ("Manifest", f"`{origin.manifest_uri}`" if origin.manifest_uri else ""),
        ("Label-store version", str(origin.label_version)),
        ("Split seed", str(use_case.split.seed)),
        ("Model", f"`{report.model_sha256}`"),
        ("int8 model", f"`{report.int8_sha256}`" if report.int8_sha256 else ""),
        ("Base weights", f"`{origin.base_weights_sha256}`" if origin.base_weights_sha256 else ""),
        ("Code", f"`{origin.code_digest}`"),
        ("Code revision", f"`{origin.code_revision}`" if origin.code_revision else ""),
        ("Training run", f"`{origin.run_id}`"),
        ("Pipeline run", f"`{origin.pipeline_run}`" if origin.pipeline_run else ""),
        ("Packages", ", ".join(f"{name} {version}" for name, version in sorted((origin.packages or {}).items()))),
    ]
    return _table(("Lineage", ""), [row for row in rows if row[1]])


def _slices(title: str, found: Mapping[str, Slice]) -> str:
    reviewed = any(s.review is not None for s in found.values())
    rows = [
        (name, str(s.escape), str(s.overkill), *((_rate(s.review),) if reviewed else ()), str(s.recall))
        for name, s in found.items()
    ]
    head = ("Escape rate", "Overkill rate", *(("Review rate",) if reviewed else ()), "Recall")
    return _table((f"By {title}", *head), rows)


def _pictures(run_id: str) -> str:
    """Links to plots and page, relative to MLflow's page, so that they hold at any address of the server."""

    def at(path: str) -> str:
        return f"get-artifact?path={quote(path, safe='')}&run_uuid={run_id}"

    return (
        f"![precision and recall]({at('evaluation/plots/precision-recall.svg')}) "
        f"![scores of good and defective parts]({at('evaluation/plots/scores.svg')})\n\n"
        f"[The whole report]({at(REPORT_PAGE)}), with confusion, best finds, worst misses and worst false alarms; "
        f"it is the run's artifact `{REPORT_PAGE}`."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """Text as one line without markup for a table cell: names come from use case files and from devices."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")
