"""The rule that decides whether the release contains the int8 variant as well as the fp32 model."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from components.evaluation.latency import Timed
from components.stores.models.evaluation_report import Int8Variant, Rate, Scores
from components.use_case import Gates
from inspection.image import sha256_of

MAX_LOSS: Final = 0.01
"""The mAP50 that the int8 variant may lose, on validation and on test."""
FASTER_ROUNDS: Final = 0.6
"""The share of rounds in which the int8 variant must be faster, besides its median: half would be chance."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What is compared of a model: its scores on both splits, and its latency."""

    validation: Scores
    test: Scores
    timed: Timed


def decide(onnx: bytes, int8: Compared, fp32: Compared, gates: Gates, golden_differences: Sequence[str]) -> Int8Variant:
    """Decide whether to keep the int8 variant, and say why.

    It is kept if it loses at most `MAX_LOSS`, keeps the bounds of the gate, reproduces the golden samples and is
    faster. golden_differences: how its answers to the golden samples differ, in words; empty where all hold.
    """
    reasons = [
        reason
        for split, ours, theirs in (
            ("validation", int8.validation, fp32.validation),
            ("test", int8.test, fp32.test),
        )
        if (reason := _loss(split, ours, theirs))
    ]
    for name, rate, full, bound in (
        ("escape rate", int8.test.escape, fp32.test.escape, gates.max_escape_rate),
        ("overkill rate", int8.test.overkill, fp32.test.overkill, gates.max_overkill_rate),
        ("review rate", int8.test.review, fp32.test.review, gates.max_review_rate),
    ):
        if rate is not None and full is not None and _worse(rate, full, bound, gates):
            reasons.append(f"its {name} is {rate}, expected <= {bound:.3f} as of the fp32 model")
    reasons += _below_class_bound(int8.test, fp32.test, gates)
    reasons += [f"it does not reproduce a golden sample: {difference}" for difference in golden_differences]
    if slower := _slower(int8.timed, fp32.timed):
        reasons.append(slower)
    ours, theirs = int8.timed.deployed, fp32.timed.deployed
    kept = (
        f"mAP50 {int8.test.map50 - fp32.test.map50:+.4f} on test and "
        f"{int8.validation.map50 - fp32.validation.map50:+.4f} on validation, "
        f"p50 {ours.latency_ms_p50:.1f} ms instead of {theirs.latency_ms_p50:.1f} ms"
    )
    return Int8Variant(
        kept=not reasons,
        reason="; ".join(reasons) or kept,
        model_sha256=sha256_of(onnx),
        bytes=len(onnx),
        validation_map50=int8.validation.map50,
        test=int8.test,
        deployed=ours,
    )


def _loss(split: str, int8: Scores, fp32: Scores) -> str:
    for name, ours, theirs in (
        ("mAP50", int8.map50, fp32.map50),
        ("image AUROC", int8.image_auroc, fp32.image_auroc),
    ):
        if ours is not None and theirs is not None and theirs - ours > MAX_LOSS + 1e-9:
            return f"it loses {theirs - ours:.4f} {name} on {split}, expected <= {MAX_LOSS}"
    return ""


def _below_class_bound(int8: Scores, fp32: Scores, gates: Gates) -> list[str]:
    """The measurable classes that are below both the bound and the fp32 model."""
    if gates.min_class_map50 is None:
        return []
    found = []
    for name, ours in sorted(int8.by_class.items()):
        theirs = fp32.by_class.get(name)
        if ours.map50 is None or theirs is None or theirs.map50 is None or ours.escape.n < gates.min_parts:
            continue
        if ours.map50 < min(gates.min_class_map50, theirs.map50):
            found.append(f"its mAP50 of {name} is {ours.map50:.3f}, expected >= {gates.min_class_map50:.3f} as of fp32")
    return found


def _worse(rate: Rate, full: Rate, bound: float, gates: Gates) -> bool:
    """Whether the rate is above both the bound and the fp32 model's; with too few parts, whether it is worse at all."""
    if rate.value is None or full.value is None:
        return False
    if rate.n < gates.min_parts:
        return rate.count > full.count
    if gates.bound == "upper_95":
        return rate.interval[1] > max(bound, full.interval[1])
    return rate.value > max(bound, full.value)


def _slower(int8: Timed, fp32: Timed) -> str:
    ours, theirs = statistics.median(int8.frames_ms), statistics.median(fp32.frames_ms)
    won = statistics.mean(a < b for a, b in zip(int8.frames_ms, fp32.frames_ms, strict=True))
    if ours < theirs and won >= FASTER_ROUNDS:
        return ""
    return f"it is not faster here: p50 {ours:.2f} ms instead of {theirs:.2f} ms, ahead in {won:.0%} of the rounds"
