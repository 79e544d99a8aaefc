"""The `data` of a task, and the keys by which a run recognises a task that it made before."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from components.stores.labels.store import LabelEvent, boxes_digest
from components.stores.objects.s3 import parse_uri
from components.stores.raw_images.renditions import shown_uri
from inspection.documents import check_sha256
from inspection.geometry import Box, LabelledBox
from inspection.paths import parse_raw_key


class TaskDataError(ValueError):
    """The data of a task that Kizu did not make, or that somebody changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelingData:
    """Data of a labeling task. width, height: pixels after EXIF orientation; note: shown to the labeler.

    why: why this image comes now. It is a column of Label Studio's list, and is not shown beside the image, where it
    would influence the labeler. overlap: how many people draw it; fixed when the task is made.
    """

    image: str
    sha256: str
    width: int
    height: int
    group: str
    reason: str
    device: str
    day: str
    note: str = ""
    why: str = ""
    overlap: int = 1

    @property
    def key(self) -> str:
        """There is one task for each image."""
        return self.sha256

    def to_data(self) -> dict[str, Any]:
        """As Label Studio keeps it."""
        return {"schema_version": 1, **asdict(self), **_shown(self.image)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> LabelingData:
        """Read it back.

        Raises:
            TaskDataError: a field is missing, or the image's key names another sha256.
        """
        known = {"why": "", "overlap": 1, **data}  # tasks of an earlier version of Kizu have neither
        overlap = known["overlap"]
        if overlap not in (1, 2) or isinstance(overlap, bool):
            raise TaskDataError(f"expected overlap to be 1 or 2, but got {overlap!r}")
        return cls(**_image_fields(data), **_texts(known, "reason", "device", "day", "note", "why"), overlap=overlap)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationData:
    """Data of a verification task: exactly the boxes that an approval will use.

    labelled_event: the label store's event that these boxes come from. annotators: Label Studio user ids of all who
    had a hand in the annotation, the one who completed it first.
    """

    image: str
    sha256: str
    width: int
    height: int
    group: str
    boxes: tuple[LabelledBox, ...]
    labelled_event: str
    annotation: str
    annotators: tuple[str, ...]
    note: str = ""

    @classmethod
    def of(cls, event: LabelEvent, *, annotation: str, annotators: tuple[str, ...], note: str) -> VerificationData:
        """The data of the task that verifies the boxes of an event."""
        return cls(
            image=event.image_uri,
            sha256=event.sha256,
            width=event.width,
            height=event.height,
            group=event.group,
            boxes=event.boxes,
            labelled_event=event.event_id,
            annotation=annotation,
            annotators=annotators,
            note=note,
        )

    @property
    def boxes_digest(self) -> str:
        """Digest of the boxes."""
        return boxes_digest(self.boxes)

    @property
    def key(self) -> str:
        """There is one task for an image, an annotation and its boxes. Saving an annotation again without a change
        makes no new task; the same boxes drawn again after a rejection do."""
        return verification_key(self.sha256, self.annotation, self.boxes)

    def to_data(self) -> dict[str, Any]:
        """As Label Studio keeps it."""
        return {
            "schema_version": 1,
            "key": self.key,
            **_shown(self.image),
            "sha256": self.sha256,
            "width": self.width,
            "height": self.height,
            "group": self.group,
            "boxes": [_box_to_data(box) for box in self.boxes],
            "boxes_digest": self.boxes_digest,
            "labelled_event": self.labelled_event,
            "annotation": self.annotation,
            "annotators": list(self.annotators),
            "note": self.note,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> VerificationData:
        """Read it back.

        Raises:
            TaskDataError: a field is missing, or boxes, digest and key do not match.
        """
        boxes = data.get("boxes")
        annotators = data.get("annotators")
        if not isinstance(boxes, Sequence) or isinstance(boxes, str):
            raise TaskDataError(f"expected a list of boxes, but got {type(boxes).__name__}")
        if not isinstance(annotators, Sequence) or isinstance(annotators, str):
            raise TaskDataError(f"expected a list of annotators, but got {type(annotators).__name__}")
        value = cls(
            **_image_fields(data),
            **_texts(data, "labelled_event", "annotation", "note"),
            boxes=tuple(_box_from_data(box) for box in boxes),
            annotators=tuple(str(person) for person in annotators),
        )
        if data.get("boxes_digest") != value.boxes_digest or data.get("key") != value.key:
            raise TaskDataError("the boxes are not those that the digest was made of")
        return value


def verification_key(sha256: str, annotation: str, boxes: Sequence[LabelledBox]) -> str:
    """SHA-256 over image, annotation and boxes."""
    return hashlib.sha256("\x1f".join((sha256, annotation, boxes_digest(boxes))).encode()).hexdigest()


def _shown(image: str) -> dict[str, str]:
    """`image` is what Label Studio shows; if that is a rendition, `original` is the image."""
    shown = shown_uri(image)
    return {"image": shown} if shown == image else {"image": shown, "original": image}


def _image_fields(data: Mapping[str, Any]) -> dict[str, Any]:
    original = data.get("original")
    fields = _texts(data if original is None else {**data, "image": original}, "image", "sha256", "group")
    for name in ("width", "height"):
        value = data.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise TaskDataError(f"expected {name} in pixels, but got {value!r}")
        fields[name] = value
    try:
        check_sha256(fields["sha256"])
        parsed = parse_raw_key(parse_uri(fields["image"])[1])
    except ValueError as e:
        raise TaskDataError(str(e)) from e
    if parsed is None or parsed.sha256 != fields["sha256"]:
        raise TaskDataError(f"expected the image of {fields['sha256']}, but got {fields['image']!r}")
    return fields


def _texts(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        if not isinstance(data.get(name), str):
            raise TaskDataError(f"expected {name} to be text, but got {data.get(name)!r}")
    return {name: data[name] for name in names}


def _box_to_data(labelled: LabelledBox) -> dict[str, Any]:
    box = labelled.box
    return {"class": labelled.class_name, "x": box.x, "y": box.y, "width": box.width, "height": box.height}


def _box_from_data(data: Any) -> LabelledBox:
    try:
        return LabelledBox(
            data["class"], Box(float(data["x"]), float(data["y"]), float(data["width"]), float(data["height"]))
        )
    except (KeyError, TypeError, ValueError) as e:
        raise TaskDataError(f"expected a box with class, x, y, width and height, but got {data!r}") from e
