"""Scores of detections against labels: COCO's mAP, and the escape and overkill rates over parts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from components.evaluation.breakdown import by_camera, by_reason, by_size, class_slice
from components.evaluation.matching import MIN_IOU, Scored, matched
from components.evaluation.parts import escape_by_location, parts_of, top_scores
from components.stores.models.evaluation_report import ClassScores, Rate, Scores
from inspection.outputs import ANOMALY_MAP, BOXES
from inspection.verdict import ClassThreshold

# It logs each of its own steps, which would bury this step's log.
logging.getLogger("faster_coco_eval").setLevel(logging.WARNING)

__all__ = ["Scored", "average_precision", "part_rates", "precision_recall", "score"]


def score(
    images: Sequence[Scored], classes: Sequence[str], thresholds: Mapping[str, ClassThreshold], output: str = BOXES
) -> Scores:
    """All scores of one split. output: of the model."""
    by_class = average_precision(images, classes)
    precision, recall = precision_recall(images, thresholds)
    parts = parts_of(images, thresholds)
    matches = [matched(image, thresholds) for image in images]
    present = [value for value in by_class.values() if value is not None]
    return Scores(
        images=len(images),
        parts=len(parts.verdicts),
        boxes=sum(len(image.labels) for image in images),
        map50=float(np.mean([value[0] for value in present])) if present else 0.0,
        map50_95=float(np.mean([value[1] for value in present])) if present else 0.0,
        precision=precision,
        recall=recall,
        escape=parts.escape,
        overkill=parts.overkill,
        review=parts.review,
        escapes_in_review=parts.escapes_in_review,
        escape_by_location=escape_by_location(images, thresholds),
        map50_by_class={name: value[0] for name, value in by_class.items() if value is not None},
        by_class={name: _class_scores(class_slice(images, matches, name), by_class[name]) for name in classes},
        by_camera=by_camera(images, matches, thresholds),
        by_reason=by_reason(images, matches, thresholds),
        by_size=by_size(images, matches),
        image_auroc=auroc(*top_scores(images)) if output == ANOMALY_MAP else None,
    )


def auroc(good: Sequence[float], defective: Sequence[float]) -> float | None:
    """The share of pairs in which the defective score is the higher one, equal scores half, 0..1 (Mann and Whitney).

    None where there is no good or no defective score.
    """
    if not good or not defective:
        return None
    low, high = np.asarray(good), np.asarray(defective)[:, None]
    return float((low < high).mean() + (low == high).mean() / 2)


def _class_scores(found: tuple[Rate, Rate, Rate, Rate], map50: tuple[float, float] | None) -> ClassScores:
    precision, recall, escape, overkill = found
    return ClassScores(
        precision=precision,
        recall=recall,
        escape=escape,
        overkill=overkill,
        map50=map50[0] if map50 else None,
        map50_95=map50[1] if map50 else None,
    )


def average_precision(images: Sequence[Scored], classes: Sequence[str]) -> dict[str, tuple[float, float] | None]:
    """Class -> (AP at IoU 0.5, AP over IoU 0.5 to 0.95), by COCO's 101-point rule, at most 100 detections an image.

    None for a class without labels.
    """
    ids = {name: index + 1 for index, name in enumerate(classes)}
    truth = [
        {
            "id": 0,
            "image_id": image_id,
            "category_id": ids[label.class_name],
            "bbox": [label.box.x, label.box.y, label.box.width, label.box.height],
            "area": label.box.area,
            "iscrowd": 0,
        }
        for image_id, image in enumerate(images, start=1)
        for label in image.labels
    ]
    for number, annotation in enumerate(truth, start=1):
        annotation["id"] = number
    found = [
        {
            "image_id": image_id,
            "category_id": ids[d.class_name],
            "bbox": [d.box.x, d.box.y, d.box.width, d.box.height],
            "score": d.score,
        }
        for image_id, image in enumerate(images, start=1)
        for d in image.detections
    ]
    labelled = {label.class_name for image in images for label in image.labels}
    if not found or not truth:
        return {name: (0.0, 0.0) if name in labelled else None for name in classes}
    reference = COCO(
        {
            "images": [{"id": n, "width": i.width, "height": i.height} for n, i in enumerate(images, start=1)],
            "annotations": truth,
            "categories": [{"id": number, "name": name} for name, number in ids.items()],
        }
    )
    evaluation = COCOeval_faster(reference, reference.loadRes(found), iouType="bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"]  # (IoU, recall, class, area, detections); -1 where there is no label
    result: dict[str, tuple[float, float] | None] = {}
    for index, name in enumerate(classes):
        curve = precision[:, :, index, 0, -1]
        result[name] = (float(curve[0].mean()), float(curve.mean())) if name in labelled else None
    return result


def precision_recall(
    images: Sequence[Scored], thresholds: Mapping[str, ClassThreshold], *, min_iou: float = MIN_IOU
) -> tuple[float, float]:
    """(precision, recall) at the `fail` thresholds; see `matched`. Each is 0 where there is nothing to count."""
    matches = [matched(image, thresholds, min_iou=min_iou) for image in images]
    labels = sum(len(image.labels) for image in images)
    hits = sum(len(match.hits) for match in matches)
    said = sum(len(match.said) for match in matches)
    return (hits / said if said else 0.0), (hits / labels if labels else 0.0)


def part_rates(images: Sequence[Scored], thresholds: Mapping[str, ClassThreshold]) -> tuple[Rate, Rate]:
    """(escape, overkill) over parts. A part is defective, by labels or by verdict, if any of its photographs is."""
    parts = parts_of(images, thresholds)
    return parts.escape, parts.overkill
