"""Training runs as an MLflow server holds them, evaluated, without a training."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from components.stores.models.evaluation_report import (
    ChampionScores,
    ClassScores,
    Deployed,
    EvaluationReport,
    GoldenSet,
    Int8Variant,
    Rate,
    Scores,
)
from components.stores.models.gate import judge_by
from components.stores.models.latency_report import LatencyReport
from components.stores.models.registry import (
    EVALUATION_REPORT,
    GATE_REPORT,
    GOLDEN,
    INT8_MODEL_FILE,
    LATENCY_REPORT,
    MODEL_FILE,
    USE_CASE,
    ModelRegistry,
    ModelVersion,
)
from components.use_case import UseCase, parse_use_case
from inspection.decode import Nms
from inspection.documents import GoldenSample, InputSpec
from inspection.drift import DetectionCounter, DriftReference, count_pictures
from inspection.geometry import Box, Detection
from inspection.image import sha256_of
from inspection.picture import PictureLimits, PictureMeasure
from inspection.verdict import ClassThreshold

DATASET = "da" * 32
GOLDEN_IMAGE = b"the bytes of a picture"
PICTURE_COUNTS = count_pictures([PictureMeasure(brightness=100.0, contrast=30.0, sharpness=55.0)] * 80)
DRIFT = DriftReference(pictures=PICTURE_COUNTS, detections=DetectionCounter().counts())
PICTURE_LIMITS = PictureLimits(
    brightness_low=60.5, brightness_high=210.0, contrast_low=20.0, sharpness_low=50.25, pictures=80
)


def unique_use_case(**sections) -> UseCase:
    """A use case that no other test registers models of."""
    name = f"tag-{uuid.uuid4().hex[:10]}"
    base = {
        "name": name, "classes": ["scratch"], "labeling": {"instructions": ""},
        "gates": {"min_map50": 0.7, "max_escape_rate": 0.25, "max_overkill_rate": 0.4, "bound": "point"},
        "rollout": {"group": name, "probation_s": 60, "canary": ["line-1"]},
    }  # fmt: skip
    import json

    return parse_use_case(json.dumps({**base, **sections}))


def evaluated_run(
    registry: ModelRegistry,
    use_case: UseCase,
    *,
    onnx: bytes = b"onnx",
    map50: float = 0.8,
    int8: bytes | None = None,
    champion: ChampionScores | None = None,
    dataset: str = DATASET,
    p95_ms: float = 2.5,
) -> str:
    """A run with all that training and evaluation leave behind, a kept int8 variant where there is one; its id."""
    scores = Scores(
        images=40, parts=16, boxes=20, map50=map50, map50_95=0.5, precision=0.9, recall=0.9,
        escape=Rate(count=1, n=8), overkill=Rate(count=1, n=8), map50_by_class={"scratch": map50},
        by_class={"scratch": ClassScores(
            recall=Rate(count=9, n=10), escape=Rate(count=1, n=8), overkill=Rate(count=1, n=8),
            precision=Rate(count=9, n=10), map50=map50,
        )},
        review=Rate(count=2, n=16), escapes_in_review=1, escape_by_location=Rate(count=1, n=8),
    )  # fmt: skip
    file = f"{sha256_of(GOLDEN_IMAGE)}.jpg"
    seen = (Detection("scratch", 0.75, Box(1, 2, 3, 4)),)
    golden = GoldenSet(samples=(GoldenSample(file=file, sha256=sha256_of(GOLDEN_IMAGE), expected=seen),))
    report = EvaluationReport(
        picture_limits=PICTURE_LIMITS,
        drift=DRIFT,
        model_sha256=sha256_of(onnx), dataset_digest=dataset, use_case_digest=use_case.digest, classes=("scratch",),
        preprocess=InputSpec(width=64, height=64), nms=Nms(), thresholds={"scratch": ClassThreshold(0.5, 0.25)},
        threshold_source="default", validation=scores, test=scores, champion=champion,
        int8=Int8Variant(kept=True, reason="as good", model_sha256=sha256_of(int8), bytes=len(int8)) if int8 else None,
        golden_sha256=sha256_of(golden.to_json()),
        acceptance=use_case.acceptance.to_acceptance(),
    )  # fmt: skip
    latency = LatencyReport(
        model_sha256=sha256_of(onnx), measured_at=datetime(2025, 4, 1, 12, tzinfo=UTC),
        deployed=Deployed(threads=2, frames=60, latency_ms_p50=1.5, latency_ms_p95=p95_ms, peak_memory_bytes=1),
    )  # fmt: skip
    tags = {
        "model_sha256": sha256_of(onnx),
        "code_digest": "c0de",
        "dataset_digest": dataset,
        "use_case": use_case.name,
    }
    run_id = registry.start_run(use_case.name, "test", tags)
    for path, data in {
        MODEL_FILE: onnx,
        USE_CASE: use_case.to_json().encode(),
        EVALUATION_REPORT: report.to_json(),
        LATENCY_REPORT: latency.to_json(),
        GATE_REPORT: judge_by(report, use_case, latency).to_json(),
        GOLDEN: golden.to_json(),
        f"golden/{file}": GOLDEN_IMAGE,
    }.items():
        registry.put_artifact(run_id, path, data)
    if int8 is not None:
        registry.put_artifact(run_id, INT8_MODEL_FILE, int8)
    registry.end_run(run_id)
    return run_id


def champion_scores(version: ModelVersion) -> ChampionScores:
    """The scores of a registered version of `evaluated_run`, as the report of a later model has them beside its own."""
    scores = Scores(
        images=40, parts=16, boxes=20, map50=0.8, map50_95=0.5, precision=0.9, recall=0.9,
        escape=Rate(count=1, n=8), overkill=Rate(count=1, n=8), map50_by_class={"scratch": 0.8},
    )  # fmt: skip
    return ChampionScores(version=version.version, model_sha256=version.tags["model_sha256"], test=scores)
