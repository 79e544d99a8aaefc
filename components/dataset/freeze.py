"""Freezing: from approved labels in the label store to a dataset manifest."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from components.dataset.duplicates import linked_groups
from components.dataset.group_merge import Merge, merge_groups
from components.dataset.split import split_of
from components.settings import Settings
from components.stores.datasets.assignments import STRONGEST_FIRST, add_assignments, load_assignments
from components.stores.datasets.manifest import Manifest, ManifestImage, SplitName, regions, save_manifest
from components.stores.labels.store import LabelEvent, LabelStore
from components.stores.labels.versions import record_label_version
from components.stores.objects.image_cache import cached
from components.stores.objects.s3 import S3ObjectStore
from components.stores.raw_images.comparisons import comparisons
from components.stores.raw_images.images import RawImages
from components.use_case import UseCase
from inspection.outputs import ANOMALY_MAP
from inspection.paths import parse_raw_key

_log = logging.getLogger(__name__)

_LEAST_GOOD: Final[Mapping[SplitName, int]] = {SplitName.TRAIN: 5, SplitName.VAL: 1, SplitName.TEST: 1}


class DatasetError(ValueError):
    """The labels do not make a dataset; the message gives the counts."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """A saved manifest, by its digest, and the version of the label store that it was made from."""

    digest: str
    label_version: int
    images: int


def groups_of(labels: Mapping[str, LabelEvent], use_case: UseCase) -> dict[str, str]:
    """sha256 of an image -> its group, by the use case's rule; see `group_of`."""
    if use_case.grouping.rule == "image":
        return {sha256: sha256 for sha256 in labels}
    return {sha256: group_of(event) for sha256, event in labels.items()}


def group_of(event: LabelEvent) -> str:
    """The physical part that an image shows: `<site>/<device>/<part>`, or the image itself where no part was told.

    Two lines count their parts on their own, so part 17 of the one is not part 17 of the other. Imports of one site
    share their parts, because one folder may be imported in several pieces.
    """
    if event.group == event.sha256:
        return event.sha256
    _, _, path = event.image_uri.partition("://")
    place = parse_raw_key(path.partition("/")[2])
    if place is None:
        return event.group
    device = "import" if place.device.startswith("import-") else place.device
    return f"{place.site}/{device}/{event.group}"


def units_of(labels: Mapping[str, LabelEvent], use_case: UseCase) -> dict[str, str]:
    """sha256 of an image -> what it falls to a split with: its group, or with `grouping.split_by` several groups."""
    groups = groups_of(labels, use_case)
    if use_case.grouping.split_by is None:
        return groups
    told = _told(labels, groups)
    rule = use_case.grouping.unit_of
    return {sha256: rule(told[group]) if group in told else group for sha256, group in groups.items()}


def _told(labels: Mapping[str, LabelEvent], groups: Mapping[str, str]) -> dict[str, str]:
    """Group -> the name of its part without its place, for groups that have one."""
    return {group: labels[sha256].group for sha256, group in sorted(groups.items()) if group != sha256}


def plan_splits(
    labels: Mapping[str, LabelEvent],
    use_case: UseCase,
    links: Iterable[tuple[str, str]] = (),
    assigned: Mapping[str, SplitName] = MappingProxyType({}),
) -> Merge:
    """The split of each group. A group that was in a dataset stays there; for others the rule decides.

    The rule takes the part's name without its place, as it always did: parts of one name fall to one split. With
    `grouping.split_by` it takes what the expression finds in the name. Near-duplicates then join such units, of which
    each group stays a part by itself; a unit is in the strongest split that one of its groups was in.

    links: pairs of units (`units_of`), which are the groups without `grouping.split_by`.
    """
    groups = groups_of(labels, use_case)
    if use_case.grouping.split_by is None:
        told = _told(labels, groups)
        own = {
            group: assigned.get(group) or split_of(told.get(group, group), use_case.split)
            for group in sorted(set(groups.values()))
        }
        return merge_groups(own, links)
    units = units_of(labels, use_case)
    unit = {group: units[sha256] for sha256, group in sorted(groups.items())}
    were: dict[str, list[SplitName]] = {}
    for group, its in unit.items():
        were.setdefault(its, []).extend([assigned[group]] if group in assigned else [])
    merged = merge_groups(
        {
            its: min(known, key=STRONGEST_FIRST.index) if known else split_of(its, use_case.split)
            for its, known in sorted(were.items())
        },
        links,
    )
    return replace(
        merged,
        splits={group: merged.splits[its] for group, its in unit.items()},
        name={group: group for group in unit},
    )


def build_manifest(
    labels: Mapping[str, LabelEvent],
    use_case: UseCase,
    links: Iterable[tuple[str, str]] = (),
    assigned: Mapping[str, SplitName] = MappingProxyType({}),
) -> Manifest:
    """The manifest of approved labels (sha256 -> label event). It depends on these arguments alone.

    links: pairs of groups (of units, with `grouping.split_by`) that contain near-duplicates of each other; they become
        one, see `merge_groups`.
    assigned: group -> the split that it was in, in earlier datasets.

    A detector needs defects in every split. A model that learns from good parts alone (`training.detector: patchcore`)
    needs good parts in training and validation; it takes defects where there are some.

    Raises:
        DatasetError: there are too few images, a split is empty or without what the detector needs, or a box has a
            class that the use case does not name.
    """
    images = []
    groups = groups_of(labels, use_case)
    merged = plan_splits(labels, use_case, links, assigned)
    if merged.refused:
        _log.warning(
            "near-duplicates would join %d of %d groups, more than a tenth: no group is merged. Check whether parts "
            "look alike, or whether photographs of one part have different part names",
            merged.joined,
            merged.of,
        )
    elif merged.joined:
        _log.info("%d of %d groups contain near-duplicates of others: merged", merged.joined, merged.of)
    for sha256 in sorted(labels):
        event = labels[sha256]
        unknown = sorted({box.class_name for box in event.boxes} - set(use_case.classes))
        if unknown:
            raise DatasetError(
                f"image {sha256} has boxes of {unknown}, but the use case {use_case.name} has "
                f"{list(use_case.classes)}; if a class has another name now, run: kizu labels rename-class "
                f"{unknown[0]} NEW -u FILE; else label these images again: kizu labels reopen IMAGE"
            )
        images.append(
            ManifestImage(
                sha256=sha256,
                uri=event.image_uri,
                width=event.width,
                height=event.height,
                group=merged.name[groups[sha256]],
                split=merged.splits[groups[sha256]],
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
            good=sum(not image.boxes for image in manifest.of(split)),
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
    if use_case.training.output == ANOMALY_MAP:
        _refuse_too_few_good_parts({split: n["good"] for split, n in counts.items()}, said)
    elif not any(image.boxes for image in manifest.images):
        raise DatasetError(
            f"no approved image shows a defect ({said}); a detector cannot learn from good parts alone, but "
            "`training.detector: patchcore` can (docs/how-to/good-parts-only.md)"
        )
    else:
        for split in SplitName:
            if counts[split]["boxes"] == 0:
                raise DatasetError(
                    f"the {split} split has no defect ({said}); label more parts or choose another split seed"
                )
    if counts[SplitName.TEST]["parts"] < use_case.split.min_test_parts:
        raise DatasetError(
            f"expected at least {use_case.split.min_test_parts} parts in the test split ({said}); label more parts"
        )


def _refuse_too_few_good_parts(good: Mapping[SplitName, int], said: str) -> None:
    """A model of good parts learns from those in training, and its threshold is chosen on those in validation."""
    for split, least in _LEAST_GOOD.items():
        if good[split] < least:
            raise DatasetError(
                f"expected at least {least} images without a defect in the {split} split, but there are {good[split]} "
                f"({said}); label more good parts, or choose another split seed"
            )


def freeze(config: Settings, use_case: UseCase, label_version: int = -1) -> Frozen:
    """Freeze approved labels and save the manifest in the datasets bucket.

    label_version: the version of the label store to read; -1 reads the latest.

    Raises:
        DatasetError: the labels do not make a dataset; see `build_manifest`.
        ObjectStoreError: the store did not answer.
    """
    labels = LabelStore.open(config)
    mark = labels.mark(None if label_version < 0 else label_version)
    version = mark.version
    approved = labels.latest_approved(use_case.name, version=version)
    store, bucket = S3ObjectStore.from_settings(config), config.bucket("datasets")
    fetch = cached(RawImages(store, config.bucket("raw")).fetch, config, approved)
    links = linked_groups(approved, units_of(approved, use_case), fetch, comparisons(config))
    seed = use_case.split.seed
    assigned = load_assignments(store, bucket, use_case.name)[0].splits(seed)
    while True:
        manifest = build_manifest(approved, use_case, links, assigned)
        splits = plan_splits(approved, use_case, links, assigned).splits
        # Before the manifest: once a group was in a dataset, it stays in its split.
        kept = add_assignments(store, bucket, use_case.name, seed, splits).splits(seed)
        if all(kept[group] is split for group, split in splits.items()):
            break
        assigned = kept  # another run assigned some of these groups first
    record_label_version(store, bucket, use_case.name, manifest.digest, mark)
    digest = save_manifest(store, bucket, manifest)
    counts = {str(split): len(manifest.of(split)) for split in SplitName}
    _log.info("dataset %s from label version %d: %s", digest, version, json.dumps(counts))
    return Frozen(digest, version, len(manifest.images))
