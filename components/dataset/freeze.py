"""From the label store to a manifest."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from components.dataset.split import split_of
from components.label_store import LabelEvent, LabelStore
from components.label_versions import record_label_version
from components.manifest import Manifest, ManifestImage, SplitName, regions, save_manifest
from components.object_store import S3ObjectStore
from components.settings import settings
from components.use_case import UseCase, parse_use_case

_log = logging.getLogger(__name__)


class DatasetError(ValueError):
    """Labels that do not make a dataset; the message gives the counts."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """A saved manifest and the label-store version that it was made from."""

    digest: str
    label_version: int
    images: int


def build_manifest(labels: Mapping[str, LabelEvent], use_case: UseCase) -> Manifest:
    """The manifest of these approved labels (sha256 -> event). Nothing but labels and use case enters it.

    Raises:
        DatasetError: too few images, no defect at all, or a split that is empty or without a defect.
    """
    images = []
    for sha256 in sorted(labels):
        event = labels[sha256]
        unknown = sorted({box.class_name for box in event.boxes} - set(use_case.classes))
        if unknown:
            raise DatasetError(
                f"image {sha256} has boxes of {unknown}, but the use case {use_case.name} has {list(use_case.classes)}"
            )
        group = event.group if use_case.grouping.rule == "part" else sha256
        images.append(
            ManifestImage(
                sha256=sha256,
                uri=event.image_uri,
                width=event.width,
                height=event.height,
                group=group,
                split=split_of(group, use_case.split),
                boxes=regions(event.boxes),
            )
        )
    manifest = Manifest(
        use_case=use_case.name,
        classes=use_case.classes,
        split_seed=use_case.split.seed,
        images=tuple(images),
    )
    _refuse_what_cannot_teach(manifest, use_case)
    return manifest


def _refuse_what_cannot_teach(manifest: Manifest, use_case: UseCase) -> None:
    counts = {
        split: Counter(
            images=len(manifest.of(split)),
            boxes=sum(len(image.boxes) for image in manifest.of(split)),
            parts=len({image.group for image in manifest.of(split)}),
        )
        for split in SplitName
    }
    said = "; ".join(
        f"{split}: {n['images']} images, {n['parts']} parts, {n['boxes']} boxes" for split, n in counts.items()
    )
    if len(manifest.images) < use_case.split.min_images:
        raise DatasetError(
            f"expected at least {use_case.split.min_images} approved images for {use_case.name}, "
            f"but there are {len(manifest.images)} ({said}); label and verify more"
        )
    if not any(image.boxes for image in manifest.images):
        raise DatasetError(f"no approved image shows a defect ({said}); a detector cannot learn from good parts alone")
    for split in SplitName:
        if counts[split]["boxes"] == 0:
            raise DatasetError(
                f"the {split} split has no defect ({said}); label more parts or choose another split seed"
            )
    if counts[SplitName.TEST]["parts"] < use_case.split.min_test_parts:
        raise DatasetError(
            f"expected at least {use_case.split.min_test_parts} parts in the test split ({said}); label more parts"
        )


def freeze(use_case_json: str, label_version: int = -1) -> Frozen:
    """Freeze the latest approved labels, or those as of a label-store version, and save the manifest."""
    use_case = parse_use_case(use_case_json)
    config = settings()
    labels = LabelStore.open(config)
    mark = labels.mark(None if label_version < 0 else label_version)
    version = mark.version
    manifest = build_manifest(labels.latest_approved(use_case.name, version=version), use_case)
    store, bucket = S3ObjectStore.from_settings(config), config.bucket("datasets")
    record_label_version(store, bucket, use_case.name, manifest.digest, mark)
    digest = save_manifest(store, bucket, manifest)
    counts = {str(split): len(manifest.of(split)) for split in SplitName}
    _log.info("dataset %s from label version %d: %s", digest, version, json.dumps(counts))
    return Frozen(digest, version, len(manifest.images))
