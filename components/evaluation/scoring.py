"""Score the models of a run and the champion on the run's dataset, with the code that the device runs."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from components.evaluation.bootstrap import paired_difference
from components.evaluation.calibrate_scores import apply, fit
from components.evaluation.curves import Curves, draw_curves
from components.evaluation.detect import Detector, detect_all, load
from components.evaluation.drift_reference import count_detections
from components.evaluation.examples import choose_examples, draw
from components.evaluation.golden import Answers
from components.evaluation.golden import choose as choose_golden
from components.evaluation.int8 import Compared
from components.evaluation.int8 import decide as decide_int8
from components.evaluation.latency import InspectionSettings, Measure, Timed, measure
from components.evaluation.matching import Scored
from components.evaluation.metrics import score
from components.evaluation.origins import Origin
from components.evaluation.pictures import Pictures
from components.evaluation.threshold import choose as choose_threshold
from components.stores.datasets.manifest import Manifest, ManifestImage, SplitName
from components.stores.datasets.overlap import seen_before
from components.stores.models.champion import Champion
from components.stores.models.evaluation_report import (
    ChampionScores,
    Deployed,
    EvaluationReport,
    GoldenSet,
    Int8Variant,
    Scores,
    UncomparedChampion,
)
from components.stores.models.training_record import MeasuredPictures
from components.stores.objects.image_cache import Fetch
from components.use_case import UseCase
from inspection.anomaly import ANOMALY
from inspection.decode import Nms
from inspection.drift import DriftReference
from inspection.image import decode_image, sha256_of
from inspection.outputs import ANOMALY_MAP
from inspection.verdict import ClassThreshold

_log = logging.getLogger(__name__)

_FP32, _INT8, _CHAMPION = "fp32", "int8", "champion"


@dataclass(frozen=True, slots=True)
class ModelUnderTest:
    """The model of a training, and its int8 variant or the reason why there is none.

    measured: what the training measured of the pictures that it learned from.
    """

    onnx: bytes
    int8: bytes | None = None
    int8_reason: str = "the training made no int8 variant"
    measured: MeasuredPictures = field(default_factory=MeasuredPictures)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The results of an evaluation. golden_files: name -> bytes; examples: file name -> (JPEG, caption).

    deployed: what was timed of each model, "fp32" and, if it was made, "int8".
    """

    report: EvaluationReport
    deployed: Mapping[str, Deployed]
    golden: GoldenSet
    golden_files: Mapping[str, bytes]
    curves: Curves
    examples: Mapping[str, tuple[bytes, str]]


def evaluate(
    trained: ModelUnderTest,
    manifest: Manifest,
    use_case: UseCase,
    fetch: Fetch,
    champion: Champion | None = None,
    *,
    origins: Mapping[str, Origin] | None = None,
    champion_manifest: Manifest | None = None,
    measure: Measure = measure,
) -> Evaluation:
    """Choose the operating threshold on the validation split, and score the models on the test split.

    Args:
        champion: is scored on the same test split; not where its classes are others.
        origins: sha256 of an image -> its camera and reasons, see `detect_all`.
        champion_manifest: the dataset that the champion was trained on; None where it is not known.
        measure: times the models, see `latency.measure`.
    """
    classes, nms, output = use_case.model_classes, Nms(), use_case.training.output
    reading = use_case.input_spec()
    detectors = {_FP32: load(trained.onnx, classes, nms, output=output, reading=reading)}
    if trained.int8 is not None:
        detectors[_INT8] = load(trained.int8, classes, nms, output=output, reading=reading)
    # Acceptance rules are about the product's classes, which an anomaly map does not tell apart.
    acceptance = None if output == ANOMALY_MAP else use_case.acceptance.to_acceptance()
    by_rules = partial(detect_all, origins=origins or {}, acceptance=acceptance, view_of=use_case.acceptance.view_of)
    validation = by_rules(detectors, _as_answered(manifest.of(SplitName.VAL), output), fetch)
    tables, calibration = fit(validation[_FP32], classes) if use_case.operating.calibrate_scores else ({}, "")
    if tables:
        # The int8 variant has the tables of the fp32 model, because a device that runs it uses those.
        validation = {name: apply(images, tables) for name, images in validation.items()}
        detectors = {name: replace(detector, score_tables=tables) for name, detector in detectors.items()}
    uncompared = None
    if champion is not None and champion.report.classes != classes:
        reason = f"it knows the classes {list(champion.report.classes)}, not {list(classes)}"
        _log.warning("not compared with the champion, version %d: %s", champion.version.version, reason)
        uncompared = UncomparedChampion(
            version=champion.version.version, model_sha256=sha256_of(champion.onnx), reason=reason
        )
        champion = None
    beside = {_CHAMPION: _load_champion(champion)} if champion is not None else {}
    entries = _as_answered(manifest.of(SplitName.TEST), output)
    test = by_rules({**detectors, **beside}, entries, fetch)
    thresholds, source = choose_threshold(validation[_FP32], classes, use_case.operating, output)
    pictures = Pictures(entries, fetch)
    models = {_FP32: trained.onnx} | ({_INT8: trained.int8} if trained.int8 is not None else {})
    settings = InspectionSettings(classes, thresholds, nms, output, reading)
    timed = measure(models, pictures.some(16), settings)
    scores = {
        name: (score(validation[name], classes, thresholds, output), score(test[name], classes, thresholds, output))
        for name in detectors
    }
    answers = Answers(detectors[_FP32], detectors.get(_INT8), thresholds, pictures)
    chosen = choose_golden(
        test[_FP32], faint_from=min(t.fail for t in thresholds.values()), holds=lambda index: not answers.differs(index)
    )
    samples = tuple(answers.sample(index) for index in chosen)
    seen = None if champion_manifest is None else len(seen_before(manifest, champion_manifest))
    if champion is not None and seen:
        _log.warning(
            "the champion learned from %d of the %d test images, or from their parts: it looks too good here",
            seen,
            len(entries),
        )
    golden = GoldenSet(samples=samples)
    report = EvaluationReport(
        model_sha256=sha256_of(trained.onnx),
        dataset_digest=manifest.digest,
        use_case_digest=use_case.digest,
        classes=classes,
        output=output,
        preprocess=detectors[_FP32].spec,
        nms=nms,
        thresholds=thresholds,
        threshold_source=source,
        validation=scores[_FP32][0],
        test=scores[_FP32][1],
        champion=_champion_scores(champion, test, classes, seen) if champion is not None else None,
        uncompared=uncompared,
        picture_limits=trained.measured.picture_limits,
        drift=DriftReference(
            pictures=trained.measured.picture_counts, detections=count_detections(validation[_FP32], thresholds)
        ),
        int8=_int8(trained, scores, timed, use_case, [said for i in chosen if (said := answers.differs(i))]),
        golden_sha256=sha256_of(golden.to_json()),
        acceptance=acceptance,
        score_tables=tables or None,
        calibration=calibration,
    )
    return Evaluation(
        report,
        {name: found.deployed for name, found in timed.items()},
        golden,
        {sample.file: pictures[index] for sample, index in zip(samples, chosen, strict=True)},
        draw_curves(test[_FP32], classes, thresholds),
        _examples(test[_FP32], thresholds, pictures),
    )


def _as_answered(entries: Sequence[ManifestImage], output: str) -> tuple[ManifestImage, ...]:
    """The images with the labels that a model can answer: of an anomaly map, each defect is an anomaly."""
    if output != ANOMALY_MAP:
        return tuple(entries)
    return tuple(
        replace(entry, boxes=tuple(replace(box, class_name=ANOMALY) for box in entry.boxes)) for entry in entries
    )


def _load_champion(champion: Champion) -> Detector:
    report = champion.report
    loaded = load(champion.onnx, report.classes, report.nms, report.preprocess, output=report.output)
    return replace(loaded, score_tables=report.score_tables)


def _champion_scores(
    champion: Champion, test: Mapping[str, Sequence[Scored]], classes: tuple[str, ...], seen: int | None
) -> ChampionScores:
    return ChampionScores(
        version=champion.version.version,
        model_sha256=sha256_of(champion.onnx),
        test=score(test[_CHAMPION], classes, champion.report.thresholds, champion.report.output),
        map50_difference=paired_difference(test[_FP32], test[_CHAMPION], classes),
        seen_test_images=seen,
    )


def _int8(
    trained: ModelUnderTest,
    scores: Mapping[str, tuple[Scores, Scores]],
    timed: Mapping[str, Timed],
    use_case: UseCase,
    differences: Sequence[str],
) -> Int8Variant:
    if trained.int8 is None:
        return Int8Variant(kept=False, reason=trained.int8_reason)
    variant, full = (Compared(*scores[name], timed[name]) for name in (_INT8, _FP32))
    found = decide_int8(trained.int8, variant, full, use_case.gates, differences)
    _log.info("int8 is %s: %s", "kept" if found.kept else "not kept", found.reason)
    return found


def _examples(
    images: Sequence[Scored], thresholds: Mapping[str, ClassThreshold], pictures: Pictures
) -> dict[str, tuple[bytes, str]]:
    """File name -> (JPEG, caption)."""
    counts: Counter[str] = Counter()
    found = {}
    for example in choose_examples(images, thresholds):
        counts[example.kind] += 1
        drawn = draw(decode_image(pictures[example.index]), images[example.index], thresholds)
        found[f"{example.kind}-{counts[example.kind]}.jpg"] = (drawn, example.caption)
    return found
