"""Compaction and vacuum of the label store. Neither changes what a view shows, now or at a version that is kept."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from components.stores.labels.store import LabelStore, LabelStoreError

# After this time no reader of an old version, and no writer of uncommitted files, is still at work.
RETENTION: Final = timedelta(days=7)
MIN_RETENTION: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Compaction:
    """files_removed: small files that the new version does not use; they stay in the bucket until a vacuum."""

    version: int
    files_added: int
    files_removed: int


@dataclass(frozen=True, slots=True)
class Vacuum:
    """files: removed, or, in a dry run, to be removed; kept_versions: versions whose files were kept for datasets."""

    files: tuple[str, ...]
    kept_versions: tuple[int, ...]


def compact(labels: LabelStore) -> Compaction:
    """Join small files into large ones. Running it again changes nothing, and writers may append meanwhile.

    Raises:
        LabelStoreError: there is no table, or another compaction was first.
    """
    table = _table(labels)
    try:
        said = table.optimize.compact()
    except CommitFailedError as e:
        raise LabelStoreError(f"another compaction of the label store was first; run it again: {e}") from e
    except (DeltaError, OSError) as e:
        raise LabelStoreError(f"the label store cannot be compacted: {e}") from e
    return Compaction(int(table.version()), int(said["numFilesAdded"]), int(said["numFilesRemoved"]))


def vacuum(
    labels: LabelStore, keep: Collection[int], *, retention: timedelta = RETENTION, dry_run: bool = False
) -> Vacuum:
    """Remove files that neither the table nor the versions in `keep` need, once they are out of use for `retention`.

    It also removes files that a killed writer left. The log stays: it describes every version.

    Raises:
        LabelStoreError: there is no table, a version of `keep` is not there, or the store refused.
        ValueError: the retention is below an hour, so files that a writer has not committed yet would be removed.
    """
    if retention < MIN_RETENTION:
        raise ValueError(f"expected a retention of at least {MIN_RETENTION}, but got {retention}: writers at work lose")
    return _vacuum(labels, keep, retention, dry_run)


def _vacuum(labels: LabelStore, keep: Collection[int], retention: timedelta, dry_run: bool) -> Vacuum:
    table = _table(labels)
    for version in keep:
        labels.table(version)  # raises for a missing version before anything is removed
    try:
        files = table.vacuum(
            retention_hours=int(retention.total_seconds() // 3600),
            dry_run=dry_run,
            enforce_retention_duration=False,  # ours is checked above
            full=True,  # a checkpoint does not list files that were removed long ago
            keep_versions=sorted(keep),
        )
    except (DeltaError, OSError) as e:
        raise LabelStoreError(f"the label store cannot be vacuumed: {e}") from e
    return Vacuum(tuple(files), tuple(sorted(keep)))


def _table(labels: LabelStore) -> DeltaTable:
    table = labels.table()
    if table is None:
        raise LabelStoreError("the label store has no table yet; there is nothing to keep in order")
    return table
