"""Add labels to a lineage: who drew and who verified the labels of a dataset, as counts or one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from components.lineage.graph import Kind, LineageBuilder, Relation
from components.stores.datasets.manifest import Manifest, ManifestImage
from components.stores.labels.store import LabelEvent, LabelStatus, LabelStore, LabelStoreError, boxes_digest
from components.stores.labels.views import COLUMNS, latest_approved

_PEOPLE: Final = {"annotator": Relation.DRAWN_BY, "verifier": Relation.VERIFIED_BY}


def add_label(out: LineageBuilder, event: LabelEvent) -> str:
    """Add a label event and the people who drew and verified it, and return the id of its node."""
    label = out.add(
        Kind.LABEL,
        event.event_id,
        {
            "status": event.status,
            "at": f"{event.at:%Y-%m-%d %H:%M:%S} UTC",
            "image": event.sha256,
            "boxes": len(event.boxes),
            "boxes digest": boxes_digest(event.boxes),
            "use case": event.use_case,
            "source": event.source,
            "project, task, annotation": _joined(event.project, event.task, event.annotation),
            "began from": event.prelabel_model,
        },
    )
    for role, relation in _PEOPLE.items():
        if name := getattr(event, role):
            out.link(label, relation, out.add(Kind.PERSON, name))
    return label


def add_summary(
    out: LineageBuilder, dataset: str, digest: str, manifest: Manifest, labels: LabelStore, version: int
) -> None:
    """Add the labels of a dataset as one node: how many there are, and how many each person drew or verified.

    dataset: the id of the dataset's node. version: of the label store, from which the dataset was made.
    """
    try:
        rows = labels.columns((*COLUMNS, *_PEOPLE), use_case=manifest.use_case, version=version).rows
    except LabelStoreError as e:
        out.link(dataset, Relation.HOLDS, out.add(Kind.LABELS, digest, missing=str(e)))
        return
    approved = latest_approved(rows)
    held = pa.array([image.sha256 for image in manifest.images], pa.string())
    approved = approved.filter(pc.is_in(approved["sha256"], value_set=held))
    absent = len(held) - approved.num_rows
    node = out.add(
        Kind.LABELS,
        digest,
        {
            "approved labels": approved.num_rows,
            "boxes": sum(len(image.boxes) for image in manifest.images),
            "label version": version,
            "imported, by nobody here": pc.sum(pc.is_null(approved["annotator"])).as_py() or "",
        },
        missing=f"{absent} of {len(held)} images have no approved label at label version {version}" if absent else "",
    )
    out.link(dataset, Relation.HOLDS, node, _images(len(held)))
    for role, relation in _PEOPLE.items():
        counts = pc.value_counts(approved[role]).to_pylist()
        for count in sorted(counts, key=lambda item: (-item["counts"], str(item["values"]))):
            if count["values"] is not None:
                out.link(node, relation, out.add(Kind.PERSON, count["values"]), _images(count["counts"]))


def add_each(
    out: LineageBuilder, dataset: str, digest: str, manifest: Manifest, labels: LabelStore, version: int
) -> None:
    """Add each label of a dataset, with its image.

    dataset: the id of the dataset's node. version: of the label store, from which the dataset was made.
    """
    try:
        approved: Mapping[str, LabelEvent] = labels.latest_approved(manifest.use_case, version=version)
    except LabelStoreError as e:
        out.link(dataset, Relation.HOLDS, out.add(Kind.LABELS, digest, missing=str(e)))
        return
    for image in manifest.images:
        label = add_held(out, dataset, digest, image, approved.get(image.sha256), version)
        out.link(label, Relation.LABELS, out.add(Kind.FRAME, image.sha256, {"at": image.uri}))


def add_held(
    out: LineageBuilder, dataset: str, digest: str, image: ManifestImage, event: LabelEvent | None, version: int | None
) -> str:
    """Add the label with which a dataset holds an image, and return the id of the label's node.

    dataset: the id of the dataset's node. event: None where no approved label is known; the node then says so.
    version: of the label store, from which the dataset was made; None where it is not known.
    """
    if event is None:
        when = "in the label store" if version is None else f"at label version {version}"
        label = out.add(
            Kind.LABEL, f"{digest[:12]}/{image.sha256}", missing=f"there is no approved label of this image {when}"
        )
        out.link(dataset, Relation.HOLDS, label, image.split)
        return label
    label = add_label(out, event)
    same = boxes_digest(event.boxes) == boxes_digest(image.labels)
    out.link(dataset, Relation.HOLDS, label, image.split if same else f"{image.split}, but with other boxes")
    return label


def label_of(
    image: ManifestImage, events: Sequence[LabelEvent], then: Callable[[], Sequence[LabelEvent]]
) -> LabelEvent | None:
    """Return the label event that a dataset holds of an image; None where there is none.

    Args:
        image: as the dataset's manifest names it.
        events: the label events of the image and the use case, sorted by time.
        then: returns the events that the label store had when the dataset was made. It is called only where several
            approved events have the boxes of the manifest, or none has.
    """
    wanted = boxes_digest(image.labels)
    approved = [event for event in events if event.status is LabelStatus.APPROVED]
    same = [event for event in approved if boxes_digest(event.boxes) == wanted]
    if len(same) == 1:
        return same[0]
    known = {event.event_id for event in then()}
    at_version = [event for event in same or approved if event.event_id in known]
    return at_version[-1] if at_version else None


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"


def _joined(*values: str | None) -> str:
    return ", ".join(value for value in values if value)
