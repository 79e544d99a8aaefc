"""SageMaker Ground Truth's output manifest: JSON lines, one for each image.

A labeling job adds an attribute to each line, and `<attribute>-metadata`, whose `type` says what the attribute is
(https://docs.aws.amazon.com/sagemaker/latest/dg/sms-data-output.html). This module reads:

- `groundtruth/object-detection`: the boxes. Where an adjustment job ran after it (`adjustment-status` in its metadata),
  the adjusted attribute wins; of several adjustments the last one.
- `groundtruth/label-verification`: what a verifier said, in `class-name`. It is about the boxes before it; a
  verification that is older than the boxes is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from components.exchange.rows import ClassNames, RowError, SourceRow, SourceStatus, corner_box, moment, whole_pixels
from components.stores.raw_images.set_aside import SetAside

BOXES: Final = "groundtruth/object-detection"
VERIFICATION: Final = "groundtruth/label-verification"
MAX_LINE: Final = 10_000_000
# The maker of a verification job names its classes. These words are known; other words mean neither.
APPROVED: Final = frozenset({"accept", "accepted", "approve", "approved", "correct", "good", "ok", "pass", "yes"})
REJECTED: Final = frozenset({"bad", "decline", "declined", "fail", "incorrect", "no", "reject", "rejected", "wrong"})


@dataclass(frozen=True, slots=True)
class ManifestOptions:
    """How to read a manifest. attribute: the label attribute with the boxes; None: it is found by its type.

    approved_words: the verification classes that mean approval; all others then mean rejection. None: the words
    that this module knows.
    """

    attribute: str | None = None
    approved_words: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class _Attribute:
    name: str
    value: Any
    metadata: Mapping[str, Any]
    at: datetime


def read_manifest(
    lines: Iterable[str], names: ClassNames, options: ManifestOptions | None = None
) -> Iterator[SourceRow | SetAside]:
    """Read the rows of a manifest, and set aside lines that do not parse, in order. Never raises for a bad line."""
    options = options or ManifestOptions()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        image = ""
        try:
            item = _parsed(line)
            image = _image(item)
            yield _row(number, image, item, names, options)
        except RowError as e:
            yield SetAside(image, e.reason, str(e), number)


def _parsed(line: str) -> dict[str, Any]:
    if len(line) > MAX_LINE:
        raise RowError("not-json", f"expected a line of at most {MAX_LINE} characters, but got {len(line)}")
    try:
        item = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise RowError("not-json", f"expected a JSON object, but {e}") from e
    if not isinstance(item, dict):
        raise RowError("not-json", f"expected a JSON object, but got {type(item).__name__}")
    return item


def _image(item: Mapping[str, Any]) -> str:
    image = item.get("source-ref")
    if not isinstance(image, str) or not image:
        raise RowError("no-image", f"expected source-ref with the address of an image, but got {str(image)[:60]!r}")
    return image


def _row(line: int, image: str, item: Mapping[str, Any], names: ClassNames, options: ManifestOptions) -> SourceRow:
    boxes = _boxes_attribute(item, options.attribute)
    annotations = boxes.value.get("annotations") if isinstance(boxes.value, Mapping) else None
    if not isinstance(annotations, list):
        raise RowError(
            "no-boxes", f"expected a list of annotations in {boxes.name!r}, but got {str(annotations)[:60]!r}"
        )
    width, height = _size(boxes)
    classes = boxes.metadata.get("class-map")
    classes = classes if isinstance(classes, Mapping) else {}
    if annotations and not classes:
        names.expect_names(f"{boxes.name!r} (it has no class-map)")

    def class_of(annotation: Any) -> str | None:
        index = annotation.get("class_id") if isinstance(annotation, Mapping) else None
        return names.find(index, classes.get(str(index), "") if classes else None)

    status, said, at = _verified(item, boxes, options)
    return SourceRow(
        line=line,
        image=image,
        boxes=tuple(corner_box(annotation, class_of(annotation)) for annotation in annotations),
        status=status,
        said=said,
        at=at,
        job=str(boxes.metadata.get("job-name", "")),
        width=width,
        height=height,
    )


def _attributes(item: Mapping[str, Any], kind: str) -> list[_Attribute]:
    found = []
    for key, metadata in item.items():
        name = key.removesuffix("-metadata")
        if name == key or not isinstance(metadata, Mapping) or metadata.get("type") != kind:
            continue
        at = moment(metadata.get("creation-date"), f"creation-date of {name!r}")
        found.append(_Attribute(name, item.get(name), metadata, at))
    return sorted(found, key=lambda attribute: (attribute.at, attribute.name))


def _boxes_attribute(item: Mapping[str, Any], wanted: str | None) -> _Attribute:
    found = [a for a in _attributes(item, BOXES) if wanted is None or a.name == wanted]
    adjusted = [attribute for attribute in found if "adjustment-status" in attribute.metadata]
    if not found:
        raise RowError(
            "no-boxes",
            f"expected {f'the attribute {wanted!r}' if wanted else 'an attribute'} of a bounding box job ({BOXES}), "
            f"but there is none among {', '.join(sorted(item))[:200]}",
        )
    if not adjusted and len(found) > 1:
        raise RowError(
            "several-jobs",
            f"expected the boxes of one job, but got {', '.join(a.name for a in found)}; name one: --attribute",
        )
    chosen = (adjusted or found)[-1]
    failure = chosen.metadata.get("failure-reason")
    if failure and not isinstance(chosen.value, Mapping):
        raise RowError("failed", f"the labeling job failed for this image: {str(failure)[:200]}")
    return chosen


def _size(boxes: _Attribute) -> tuple[int, int]:
    sizes = boxes.value.get("image_size") if isinstance(boxes.value, Mapping) else None
    size = sizes[0] if isinstance(sizes, list) and sizes else None
    if not isinstance(size, Mapping):
        raise RowError(
            "size", f"expected image_size with width and height in {boxes.name!r}, but got {str(sizes)[:60]!r}"
        )
    return whole_pixels(size.get("width"), "the width"), whole_pixels(size.get("height"), "the height")


def _verified(
    item: Mapping[str, Any], boxes: _Attribute, options: ManifestOptions
) -> tuple[SourceStatus, str, datetime]:
    later = [attribute for attribute in _attributes(item, VERIFICATION) if attribute.at >= boxes.at]
    if not later:
        return SourceStatus.LABELLED, "", boxes.at
    verification = later[-1]
    said = str(verification.metadata.get("class-name", ""))[:100]
    word = said.strip().lower()
    if options.approved_words is not None:
        approves = word in options.approved_words
        return (SourceStatus.APPROVED if approves else SourceStatus.REJECTED), said, verification.at
    if word in APPROVED:
        return SourceStatus.APPROVED, said, verification.at
    return (SourceStatus.REJECTED if word in REJECTED else SourceStatus.LABELLED), said, verification.at
