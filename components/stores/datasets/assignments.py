"""Which split each group of a use case was in: `splits/<use case>.json` in the datasets bucket, only ever added to.

The rule (`components/dataset/split.py`) decides for a group that was in no dataset yet. From then on the group stays
where it was, whatever happens to near-duplicates, to shares or to merging. A group that moved to a stronger split,
because a near-duplicate of it was there, is recorded in both, and the stronger one holds: what was test stays test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from components.stores.datasets.manifest import SplitName
from components.stores.objects.s3 import ObjectNotFound, ObjectStoreError, S3ObjectStore
from inspection.codec import Document, Part
from inspection.paths import check_name

STRONGEST_FIRST: Final = (SplitName.TEST, SplitName.VAL, SplitName.TRAIN)
_ATTEMPTS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignedGroups(Part):
    """The groups that were in each split, sorted."""

    test: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    train: tuple[str, ...] = ()

    def of(self, split: SplitName) -> tuple[str, ...]:
        """The groups that were in a split."""
        return {SplitName.TEST: self.test, SplitName.VAL: self.val, SplitName.TRAIN: self.train}[split]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitAssignments(Document):
    """seeds: the seed of the split, as text -> its groups. Another seed is another split on purpose."""

    use_case: str
    seeds: Mapping[str, AssignedGroups] = field(default_factory=dict)

    def splits(self, seed: int) -> dict[str, SplitName]:
        """Group -> the strongest split that it was in."""
        known = self.seeds.get(str(seed), AssignedGroups())
        return {group: split for split in reversed(STRONGEST_FIRST) for group in known.of(split)}

    def with_splits(self, seed: int, splits: Mapping[str, SplitName]) -> SplitAssignments:
        """The document with these groups added. Nothing is taken out."""
        known = self.seeds.get(str(seed), AssignedGroups())
        added = {
            split: tuple(sorted({*known.of(split), *(group for group, its in splits.items() if its is split)}))
            for split in SplitName
        }
        groups = AssignedGroups(
            test=added[SplitName.TEST], val=added[SplitName.VAL], train=added[SplitName.TRAIN], unknown=known.unknown
        )
        return SplitAssignments(use_case=self.use_case, seeds={**self.seeds, str(seed): groups}, unknown=self.unknown)


def assignments_key(use_case: str) -> str:
    """The key in the datasets bucket."""
    return f"splits/{check_name('use case', use_case)}.json"


def load_assignments(store: S3ObjectStore, bucket: str, use_case: str) -> tuple[SplitAssignments, str | None]:
    """The assignments and their ETag; empty ones, and None, where nothing was ever assigned.

    Raises:
        DocumentError: the document is damaged. It is not made anew, because test groups would move.
    """
    try:
        data, etag = store.get_with_etag(bucket, assignments_key(use_case))
    except ObjectNotFound:
        return SplitAssignments(use_case=use_case), None
    return SplitAssignments.from_json(data), etag


def add_assignments(
    store: S3ObjectStore, bucket: str, use_case: str, seed: int, splits: Mapping[str, SplitName]
) -> SplitAssignments:
    """Add groups to the stored document, and return it as it is then. Of several writers nobody loses anything.

    Raises:
        ObjectStoreError: the store did not answer, or other writers were first each time.
    """
    for _ in range(_ATTEMPTS):
        known, etag = load_assignments(store, bucket, use_case)
        wanted = known.with_splits(seed, splits)
        if wanted == known:
            return known
        data = wanted.to_json()
        key = assignments_key(use_case)
        if store.put(bucket, key, data, if_absent=etag is None, if_match=etag, content_type="application/json"):
            return wanted
    raise ObjectStoreError(f"cannot record the splits of {use_case}: other writers were first; run it again")
