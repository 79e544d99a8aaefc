"""One training and its score.

The result is kept by the digest of all that it depends on, so that an interrupted run can continue.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.accuracy import plain
from benchmarks.edge.material import Material
from components.evaluation.detect import detect_all, load
from components.evaluation.matching import Scored, numbered_parts, precision_at_recall, ranked
from components.evaluation.metrics import average_precision
from components.evaluation.parts import parts_of
from components.evaluation.threshold import choose
from components.stores.datasets.manifest import Manifest, SplitName
from components.stores.models.evaluation_report import Rate
from components.training.trainer import DetectionDataset
from components.use_case import Tiles, TrainingSettings
from inspection.codec import canonical_json
from inspection.decode import Nms
from inspection.documents import InputSpec
from inspection.image import sha256_of

_log = logging.getLogger(__name__)
_LOOSE_IOU: Final = 0.33
_PACKAGES: Final = ("torch", "torchvision", "ultralytics-opencv-headless", "numpy", "opencv-python-headless")


@dataclass(frozen=True, slots=True)
class Rates:
    """What a line would see: counts of test parts at the threshold that the validation split chose.

    Each is (count, of): defective parts that were not judged defective, good parts that were, parts left to a person.
    map33: mAP at IoU 0.33. val_map50: mAP50 on the validation split, by which settings may be chosen.
    """

    escape: tuple[int, int]
    overkill: tuple[int, int]
    review: tuple[int, int]
    map33: float
    val_map50: float


@dataclass(frozen=True, slots=True)
class Trial:
    """The scores of one training on the test parts of one split. seconds: the time of the training alone."""

    split_seed: int
    map50: float
    map50_95: float
    images: Mapping[str, int]
    parts: Mapping[str, int]
    seconds: float
    rates: Rates | None = None


def _kept(document: Mapping[str, Any]) -> Trial:
    """A trial that was written before."""
    values = dict(document["trial"])
    rates = values.pop("rates", None)
    return Trial(**values, rates=None if rates is None else _kept_rates(rates))


def _kept_rates(values: Mapping[str, Any]) -> Rates:
    pairs = {name: (int(values[name][0]), int(values[name][1])) for name in ("escape", "overkill", "review")}
    return Rates(**pairs, map33=float(values["map33"]), val_map50=float(values["val_map50"]))


def log_to_stderr() -> None:
    """Set up logging as the program does. A training's process needs this again."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)


def base_weights(settings: TrainingSettings, work: Path) -> Path | None:
    """The checkpoint that these settings start from, or None. It is made once, below `work`."""
    from components.training.base_weights import make_from_generated_parts

    if settings.pretraining_digest is None:
        return None
    # As in a trial's inputs: FCOS depends on its settings and on our own code.
    made_by = _arguments(settings, 0)["code"].removeprefix("source:") if settings.detector == "fcos" else ""
    file = work / f"base-{settings.pretraining_digest}{made_by}.pt"
    if not file.exists():
        folder = _empty(work / f"making-{settings.pretraining_digest}")
        checkpoint, record = make_from_generated_parts(settings, folder)
        file.with_suffix(".json").write_text(json.dumps(dict(record), indent=2), encoding="utf-8")
        checkpoint.replace(file)  # last and atomically, so that a file that exists is whole
        shutil.rmtree(folder)
    return file


def trial(
    material: Material,
    manifest: Manifest,
    settings: TrainingSettings | None,
    work: Path,
    *,
    with_rates: bool = False,
    tiles: Tiles | None = None,
) -> Trial:
    """Train and score, or return what an earlier run found. settings: None trains plain Ultralytics.

    with_rates: also count what a line would see. tiles: how pictures are cut; None: they are seen whole.
    """
    from components.training.dataset_folder import write_dataset

    base = base_weights(settings, work) if settings else None
    inputs = {
        "manifest": manifest.digest,
        "settings": settings.model_dump(mode="json", exclude={"pretraining", "base_weights"}) if settings else None,
        "arguments": _arguments(settings, len(manifest.of(SplitName.TRAIN))) if settings else plain.ARGUMENTS,
        "base": sha256_of(base.read_bytes()) if base else None,
        "packages": {name: version(name) for name in _PACKAGES},
    } | ({"operating": material.use_case.operating.model_dump(mode="json")} if with_rates else {})
    if tiles is not None:
        inputs["tiles"] = tiles.model_dump(mode="json")
    spec = _cut(settings, tiles)
    digest = hashlib.sha256(canonical_json(inputs)).hexdigest()
    kept = work / f"trial-{digest}.json"
    if kept.exists():
        return _kept(json.loads(kept.read_bytes()))
    folder = _empty(work / f"training-{digest}")
    dataset = (
        write_dataset(manifest, material.fetch, folder / "dataset")
        if spec is None
        else write_dataset(manifest, material.fetch, folder / "dataset", spec.to_preprocess(), tiles)
    )
    began = time.monotonic()
    onnx = _trained(dataset, settings, base, folder / "training")
    seconds = time.monotonic() - began
    scored = _scored(
        material, manifest, onnx.read_bytes(), spec, (SplitName.TEST, *((SplitName.VAL,) if with_rates else ()))
    )
    found = Trial(
        manifest.split_seed,
        *_score(material, scored[SplitName.TEST]),
        images={name.value: len(manifest.of(name)) for name in SplitName},
        parts={name.value: len({image.group for image in manifest.of(name)}) for name in SplitName},
        seconds=seconds,
        rates=_rates(material, scored) if with_rates else None,
    )
    _write(kept, {"inputs": inputs, "trial": asdict(found)})
    shutil.rmtree(folder)
    return found


def _cut(settings: TrainingSettings | None, tiles: Tiles | None) -> InputSpec | None:
    """The input of a network that sees tiles; None for one that sees whole pictures."""
    if tiles is None or settings is None:
        return None
    return InputSpec(width=settings.image_width, height=settings.image_height, tiles=tiles.to_release())


def _trained(dataset: DetectionDataset, settings: TrainingSettings | None, base: Path | None, folder: Path) -> Path:
    from components.training.detectors import trainer_of

    if settings is None:
        return plain.train(dataset, folder)
    return (
        trainer_of(settings, base_weights=base)
        .train(dataset, settings, folder, lambda epoch, _: _log.info("epoch %d of %d", epoch, settings.epochs))
        .onnx_path
    )


def _arguments(settings: TrainingSettings, training_images: int) -> Mapping[str, Any]:
    """What a training depends on besides the settings: the arguments of YOLOv8's library, or our own code for FCOS."""
    if settings.detector != "yolov8":
        from components.training.code_digest import code_digest

        return {"code": code_digest(settings.detector)}
    from components.yolov8.trainer import arguments_of

    return arguments_of(settings, training_images)


def _scored(
    material: Material, manifest: Manifest, onnx: bytes, spec: InputSpec | None, splits: Sequence[SplitName]
) -> dict[SplitName, list[Scored]]:
    """What the model finds on some splits, through the code that the device runs."""
    detectors = {"model": load(onnx, material.use_case.classes, Nms(), spec)}
    return {split: detect_all(detectors, manifest.of(split), material.fetch, {})["model"] for split in splits}


def _score(material: Material, scored: Sequence[Scored]) -> tuple[float, float]:
    """(mAP50, mAP50-95)."""
    values = [v for v in average_precision(scored, material.use_case.classes).values() if v is not None]
    return _mean([value[0] for value in values]), _mean([value[1] for value in values])


def _rates(material: Material, scored: Mapping[SplitName, Sequence[Scored]]) -> Rates:
    classes = material.use_case.classes
    thresholds, _ = choose(scored[SplitName.VAL], classes, material.use_case.operating)
    test = scored[SplitName.TEST]
    parts = parts_of(test, thresholds)
    return Rates(
        escape=_pair(parts.escape),
        overkill=_pair(parts.overkill),
        review=_pair(parts.review),
        map33=_map_at(test, classes, _LOOSE_IOU),
        val_map50=_score(material, scored[SplitName.VAL])[0],
    )


def _pair(rate: Rate) -> tuple[int, int]:
    return rate.count, rate.n


def _map_at(images: Sequence[Scored], classes: Sequence[str], min_iou: float) -> float:
    """mAP at one IoU, by COCO's rule; classes without a label are left out."""
    numbers = numbered_parts(images)
    curves = (precision_at_recall(ranked(images, name, numbers, min_iou=min_iou)) for name in classes)
    return _mean([float(curve.mean()) for curve in curves if curve is not None])


def _mean(values: Sequence[float]) -> float:
    """0 where no class has a label."""
    return float(np.mean(values)) if values else 0.0


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _write(file: Path, document: Mapping[str, Any]) -> None:
    part = file.with_suffix(".part")
    with part.open("w", encoding="utf-8") as stream:
        json.dump(document, stream, indent=2)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)
