"""Scores of detections against labels: COCO's mAP, and what a factory asks per part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from components.evaluation_report import Rate, Scores
from inspection.geometry import Detection, LabelledBox, iou
from inspection.verdict import ClassThreshold


@dataclass(frozen=True, slots=True)
class Scored:
    """One image: what people said, and what the model said from a very low score on."""

    group: str
    width: int
    height: int
    labels: tuple[LabelledBox, ...]
    detections: tuple[Detection, ...]


def score(images: Sequence[Scored], classes: Sequence[str], thresholds: Mapping[str, ClassThreshold]) -> Scores:
    """All scores of one split."""
    by_class = average_precision(images, classes)
    precision, recall = precision_recall(images, thresholds)
    escape, overkill = part_rates(images, thresholds)
    present = [value for value in by_class.values() if value is not None]
    return Scores(
        images=len(images),
        parts=len({image.group for image in images}),
        boxes=sum(len(image.labels) for image in images),
        map50=float(np.mean([value[0] for value in present])) if present else 0.0,
        map50_95=float(np.mean([value[1] for value in present])) if present else 0.0,
        precision=precision,
        recall=recall,
        escape=escape,
        overkill=overkill,
        map50_by_class={name: value[0] for name, value in by_class.items() if value is not None},
    )


def average_precision(images: Sequence[Scored], classes: Sequence[str]) -> dict[str, tuple[float, float] | None]:
    """class -> (AP at IoU 0.5, AP over 0.5..0.95), by COCO's 101-point rule, at most 100 detections an image.

    None for a class that no label has.
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
    images: Sequence[Scored], thresholds: Mapping[str, ClassThreshold], *, min_iou: float = 0.5
) -> tuple[float, float]:
    """At the `fail` thresholds: each label is matched once, by the best-scored detection of its class."""
    hits = false_alarms = labels = 0
    for image in images:
        labels += len(image.labels)
        free = list(image.labels)
        for detection in image.detections:
            if detection.score < thresholds[detection.class_name].fail:
                continue
            matches = [
                (iou(label.box, detection.box), index)
                for index, label in enumerate(free)
                if label.class_name == detection.class_name
            ]
            best = max(matches, default=(0.0, -1))
            if best[0] >= min_iou:
                free.pop(best[1])
                hits += 1
            else:
                false_alarms += 1
    precision = hits / (hits + false_alarms) if hits + false_alarms else 0.0
    return precision, (hits / labels if labels else 0.0)


def part_rates(images: Sequence[Scored], thresholds: Mapping[str, ClassThreshold]) -> tuple[Rate, Rate]:
    """(escape, overkill) over parts: a part is defective where any of its photographs is, in truth and in verdict."""
    defective: dict[str, bool] = defaultdict(bool)
    judged: dict[str, bool] = defaultdict(bool)
    for image in images:
        defective[image.group] |= bool(image.labels)
        judged[image.group] |= any(d.score >= thresholds[d.class_name].fail for d in image.detections)
    bad = [group for group, is_bad in defective.items() if is_bad]
    good = [group for group, is_bad in defective.items() if not is_bad]
    return (
        Rate(count=sum(not judged[group] for group in bad), n=len(bad)),
        Rate(count=sum(judged[group] for group in good), n=len(good)),
    )
