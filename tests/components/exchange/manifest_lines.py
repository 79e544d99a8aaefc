"""Rows of an output manifest, in the form that SageMaker's documentation shows."""

import json
from datetime import datetime, timedelta

DRAWN = datetime(2021, 1, 28, 9, 50, 34, 527256)


def boxes(*rectangles, at=DRAWN, width=64, height=48, job="find-scratches", classes=None, **more):
    """An attribute of a bounding box job and its metadata. rectangles: (class_id, left, top, width, height)."""
    names = ("class_id", "left", "top", "width", "height")
    value = {
        "image_size": [{"width": width, "height": height, "depth": 3}],
        "annotations": [dict(zip(names, rectangle, strict=True)) for rectangle in rectangles],
    }
    metadata = {
        "objects": [{"confidence": 0.09} for _ in rectangles],
        "class-map": {"0": "scratch", "1": "dent"} if classes is None else classes,
        "type": "groundtruth/object-detection",
        "human-annotated": "yes",
        "creation-date": at.isoformat(),
        "job-name": f"labeling-job/{job}",
        **more,
    }
    return value, metadata


def verification(word, at=DRAWN + timedelta(hours=1)):
    """An attribute of a label verification job and its metadata."""
    metadata = {
        "class-name": word,
        "confidence": 0.93,
        "type": "groundtruth/label-verification",
        "job-name": "verify-bounding-boxes",
        "human-annotated": "yes",
        "creation-date": at.isoformat(),
        "worker-feedback": [{"comment": "The box on the right is too wide."}],
    }
    return 0 if word == "good" else 1, metadata


def line(image, **attributes):
    """A line of a manifest."""
    item = {"source-ref": image}
    for name, (value, metadata) in attributes.items():
        item |= {name.replace("_", "-"): value, f"{name.replace('_', '-')}-metadata": metadata}
    return json.dumps(item) + "\n"
