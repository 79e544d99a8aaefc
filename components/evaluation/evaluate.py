"""Score a run's ONNX on its dataset through `inspection`, the champion beside it, and apply the gate."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from components.champion import champion
from components.evaluation.golden import choose as choose_golden
from components.evaluation.metrics import Scored, score
from components.evaluation.threshold import choose as choose_threshold
from components.evaluation_report import ChampionScores, EvaluationReport, GoldenSet
from components.gate import GateReport, judge
from components.manifest import Manifest, SplitName, load_manifest
from components.model_registry import EVALUATION_REPORT, GATE_REPORT, GOLDEN, MODEL_FILE, USE_CASE, ModelRegistry
from components.object_store import S3ObjectStore
from components.onnx_session import open_session
from components.raw_images import RawImages
from components.settings import settings
from components.use_case import UseCase, parse_use_case
from inspection.decode import Nms
from inspection.documents import GoldenSample
from inspection.image import EXTENSIONS, decode_image, image_format, sha256_of
from inspection.inspector import Infer, Inspector
from inspection.preprocess import Preprocess
from inspection.verdict import ClassThreshold

_log = logging.getLogger(__name__)

_THREADS = 2
_FLOOR = 0.001
Fetch = Callable[[str, str], bytes]


class EvaluationError(ValueError):
    """What should be scored is not what was trained."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The outcome of the step."""

    passed: bool
    map50: float
    report_digest: str
    failures: str


def run(run_id: str, dataset_digest: str, use_case_json: str) -> Evaluated:
    """Evaluate one training run and store report, gate and golden samples with it.

    Running it again with the same inputs returns what is stored: a version may have been approved on that report.
    """
    use_case = parse_use_case(use_case_json)
    config = settings()
    registry = ModelRegistry.from_settings(config)
    store = S3ObjectStore.from_settings(config)
    manifest = load_manifest(store, config.bucket("datasets"), dataset_digest)
    onnx = registry.get_artifact(run_id, MODEL_FILE)
    expected = registry.run(run_id).tags.get("model_sha256", "")
    if sha256_of(onnx) != expected:
        raise EvaluationError(f"run {run_id} was tagged with model {expected}, but its bytes are {sha256_of(onnx)}")
    known = _stored(registry, run_id, expected, dataset_digest, use_case)
    if known is not None:
        _log.info("run %s was evaluated with these inputs already", run_id)
        gate = judge(known, use_case.gates)
        return Evaluated(gate.passed, known.test.map50, sha256_of(known.to_json()), gate.failures)
    fetch = RawImages(store, config.bucket("raw")).fetch
    report, golden, files = evaluate(onnx, manifest, use_case, fetch, registry)
    gate = judge(report, use_case.gates)
    _store(registry, run_id, use_case, report, gate, golden, files)
    for check in gate.checks:
        _log.info("%s %s: %s (expected %s)", "PASS" if check.passed else "FAIL", check.name, check.value, check.bound)
    return Evaluated(gate.passed, report.test.map50, sha256_of(report.to_json()), gate.failures)


def passes_gate(run_id: str, use_case_json: str, report_digest: str) -> bool:
    """Apply the gate to the stored report.

    Raises:
        EvaluationError: the stored report is another one.
    """
    data = ModelRegistry.from_settings(settings()).get_artifact(run_id, EVALUATION_REPORT)
    if sha256_of(data) != report_digest:
        raise EvaluationError(f"run {run_id}: expected the evaluation report {report_digest}, found {sha256_of(data)}")
    gate = judge(EvaluationReport.from_json(data), parse_use_case(use_case_json).gates)
    if not gate.passed:
        _log.warning("the gate holds run %s back: %s", run_id, gate.failures)
    return gate.passed


def evaluate(
    onnx: bytes, manifest: Manifest, use_case: UseCase, fetch: Fetch, registry: ModelRegistry | None
) -> tuple[EvaluationReport, GoldenSet, dict[str, bytes]]:
    """The report, the golden samples and their image files (name -> bytes)."""
    infer, spec = open_session(onnx, len(use_case.classes), threads=_THREADS)
    nms = Nms()
    detector = _detector(infer, spec.to_preprocess(), use_case.classes, nms)
    validation, _, _ = _detect_all(detector, manifest, SplitName.VAL, fetch)
    test, images, latencies = _detect_all(detector, manifest, SplitName.TEST, fetch)
    thresholds, source = choose_threshold(validation, use_case.classes, use_case.operating)
    report = EvaluationReport(
        model_sha256=sha256_of(onnx),
        dataset_digest=manifest.digest,
        use_case_digest=use_case.digest,
        classes=use_case.classes,
        preprocess=spec,
        nms=nms,
        thresholds=thresholds,
        threshold_source=source,
        validation=score(validation, use_case.classes, thresholds),
        test=score(test, use_case.classes, thresholds),
        champion=_score_champion(registry, manifest, use_case, fetch),
        latency_ms_p50=statistics.median(latencies) if latencies else 0.0,
    )
    inspector = Inspector(infer, spec.to_preprocess(), use_case.classes, thresholds, nms)
    samples, files = [], {}
    for index in choose_golden(test):
        data = images[index]
        name = f"{sha256_of(data)}.{EXTENSIONS[image_format(data)]}"
        answer = inspector.inspect(decode_image(data)).detections
        samples.append(GoldenSample(file=name, sha256=sha256_of(data), expected=answer))
        files[name] = data
    return report, GoldenSet(samples=tuple(samples)), files


def _score_champion(
    registry: ModelRegistry | None, manifest: Manifest, use_case: UseCase, fetch: Fetch
) -> ChampionScores | None:
    current = champion(registry, use_case.name) if registry else None
    if current is None:
        return None
    if current.report.classes != use_case.classes:
        _log.warning("the champion knows %s, not %s: not compared", current.report.classes, use_case.classes)
        return None
    infer, _ = open_session(current.onnx, len(current.report.classes), threads=_THREADS)
    detector = _detector(infer, current.report.preprocess.to_preprocess(), use_case.classes, current.report.nms)
    scored, _, _ = _detect_all(detector, manifest, SplitName.TEST, fetch)
    return ChampionScores(
        version=current.version.version,
        model_sha256=sha256_of(current.onnx),
        test=score(scored, use_case.classes, current.report.thresholds),
    )


def _detector(infer: Infer, preprocess: Preprocess, classes: tuple[str, ...], nms: Nms) -> Inspector:
    always = {name: ClassThreshold(fail=1.0, uncertain=_FLOOR) for name in classes}
    return Inspector(infer, preprocess, classes, always, nms)


def _detect_all(
    detector: Inspector, manifest: Manifest, split: SplitName, fetch: Fetch
) -> tuple[list[Scored], list[bytes], list[float]]:
    entries = manifest.of(split)
    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(lambda entry: fetch(entry.uri, entry.sha256), entries))
    scored, latencies = [], []
    for entry, data in zip(entries, contents, strict=True):
        began = time.perf_counter()
        detections = detector.detect(decode_image(data), _FLOOR)
        latencies.append((time.perf_counter() - began) * 1000)
        scored.append(Scored(entry.group, entry.width, entry.height, entry.labels, detections))
    return scored, contents, latencies


def _stored(
    registry: ModelRegistry, run_id: str, model_sha256: str, dataset_digest: str, use_case: UseCase
) -> EvaluationReport | None:
    if "gate" not in registry.run(run_id).tags:  # written last: an evaluation that was killed is done again
        return None
    report = EvaluationReport.from_json(registry.get_artifact(run_id, EVALUATION_REPORT))
    found = (report.model_sha256, report.dataset_digest, report.use_case_digest)
    return report if found == (model_sha256, dataset_digest, use_case.digest) else None


def _store(
    registry: ModelRegistry,
    run_id: str,
    use_case: UseCase,
    report: EvaluationReport,
    gate: GateReport,
    golden: GoldenSet,
    files: dict[str, bytes],
) -> None:
    for name, data in files.items():
        registry.put_artifact(run_id, f"golden/{name}", data)
    registry.put_artifact(run_id, GOLDEN, golden.to_json())
    # A run is reused where only policy changed; a release takes the policy that its model was judged by.
    registry.put_artifact(run_id, USE_CASE, use_case.to_json().encode())
    registry.put_artifact(run_id, EVALUATION_REPORT, report.to_json())
    registry.put_artifact(run_id, GATE_REPORT, gate.to_json())
    test = report.test
    metrics = {
        "test_map50": test.map50,
        "test_map50_95": test.map50_95,
        "test_precision": test.precision,
        "test_recall": test.recall,
        "latency_ms_p50": report.latency_ms_p50,
    }
    for name, rate in (("test_escape_rate", test.escape), ("test_overkill_rate", test.overkill)):
        if rate.value is not None:
            metrics[name] = rate.value
    registry.log_metrics(run_id, metrics)
    registry.set_run_tag(run_id, "gate", "passed" if gate.passed else "failed")
    if not gate.passed:
        registry.set_run_tag(run_id, "gate_failures", gate.failures)
