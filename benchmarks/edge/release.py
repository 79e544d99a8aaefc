"""The weights as a release for a device, with fp32 and int8 models."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.edge.material import Material
from benchmarks.edge.models import Models
from components.stores.datasets.manifest import SplitName
from edge_agent.inference import RELEASE_FILE, RuntimeChoice, load_model
from inspection import (
    Approval,
    ClassThreshold,
    GoldenSample,
    InputSpec,
    Inspector,
    ModelFile,
    Nms,
    Release,
    Sampling,
    decode_image,
    sha256_of,
)

FAIL_SCORE = 0.3
_THRESHOLD = ClassThreshold(fail=FAIL_SCORE, uncertain=0.15)


@dataclass(frozen=True, slots=True)
class BuiltRelease:
    """release.json and the files that it names, in memory."""

    release: Release
    files: dict[str, bytes]

    @property
    def digest(self) -> str:
        """The digest of release.json, which names the release."""
        return hashlib.sha256(self.files[RELEASE_FILE]).hexdigest()

    def write(self, folder: Path) -> Path:
        """Write all files below `folder`, and return `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        return folder


def build_release(material: Material, models: Models, version: int = 1) -> BuiltRelease:
    """A release of these models. Its golden samples are two held-out photographs with the fp32 model's detections."""
    data = {"fp32.onnx": models.fp32.read_bytes(), "int8.onnx": models.int8.read_bytes()}
    use_case, size = material.use_case, material.preprocess
    infer = load_model(models.fp32, (1, 3, size.height, size.width), RuntimeChoice())
    thresholds = dict.fromkeys(use_case.classes, _THRESHOLD)
    inspector = Inspector(infer, size, use_case.classes, thresholds, Nms())
    golden = []
    for entry, image in list(material.of(SplitName.TEST))[:2]:
        name = f"{entry.sha256}.jpg"
        data[name] = image
        found = inspector.inspect(decode_image(image)).detections
        golden.append(GoldenSample(file=name, sha256=entry.sha256, expected=found))
    release = Release(
        use_case=use_case.name,
        version=version,
        models=tuple(
            ModelFile(precision=precision, file=file, sha256=sha256_of(data[file]), bytes=len(data[file]))
            for precision, file in (("fp32", "fp32.onnx"), ("int8", "int8.onnx"))
        ),
        preprocess=InputSpec(width=size.width, height=size.height),
        classes=use_case.classes,
        thresholds=thresholds,
        nms=Nms(),
        sampling=Sampling(uncertain_low=0.15, uncertain_high=0.5, nothing_found_rate=0.05, control_rate=0.02),
        latency_budget_ms=2000.0,
        probation_s=0.5,
        golden=tuple(golden),
        min_agent_version="0.1.0",
        dataset_digest=material.manifest.digest,
        training_run="bench",
        evaluation_digest="0" * 64,
        approval=Approval(by="bench", at=datetime(2026, 1, 1, tzinfo=UTC), model_sha256=sha256_of(data["fp32.onnx"])),
    )
    return BuiltRelease(release, {RELEASE_FILE: release.to_json(), **data})
