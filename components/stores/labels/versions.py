"""Which versions of the label store the datasets were made from.

Each is an object in the datasets bucket: `label-versions/<table>/<version>/<dataset>.json`.

A manifest cannot name its version, because the same labels give the same dataset. The registry knows only models that
passed their gate. So the version is written beside the manifest, and before it. A vacuum keeps these versions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from components.stores.labels.store import Mark
from components.stores.objects.s3 import S3ObjectStore
from inspection.codec import Document
from inspection.documents import check_sha256

_KEY = re.compile(r"label-versions/[^/]+/(?P<version>\d{12})/(?P<dataset>[0-9a-f]{64})\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelVersion(Document):
    """A dataset and the state of the label store that it was made from."""

    dataset_digest: str
    use_case: str
    table_id: str
    label_version: int

    def __post_init__(self) -> None:
        check_sha256(self.dataset_digest)


def record_label_version(store: S3ObjectStore, bucket: str, use_case: str, dataset_digest: str, mark: Mark) -> None:
    """Record the version, once. bucket: the datasets bucket."""
    record = LabelVersion(
        dataset_digest=dataset_digest, use_case=use_case, table_id=mark.table_id, label_version=mark.version
    )
    key = f"{_prefix(mark.table_id)}{mark.version:012d}/{dataset_digest}.json"
    store.put(bucket, key, record.to_json(), if_absent=True, content_type="application/json")


def label_versions(store: S3ObjectStore, bucket: str, table_id: str) -> list[int]:
    """The versions of this table that a dataset was made from, ascending."""
    keys = (_KEY.fullmatch(info.key) for info in store.list(bucket, _prefix(table_id)))
    return sorted({int(match["version"]) for match in keys if match})


def versions_of_datasets(store: S3ObjectStore, bucket: str, table_id: str) -> dict[str, int]:
    """Dataset -> the highest version of this table that it was made from; several versions may give one dataset."""
    keys = (_KEY.fullmatch(info.key) for info in store.list(bucket, _prefix(table_id)))
    return dict(sorted(((m["dataset"], int(m["version"])) for m in keys if m), key=lambda item: item[1]))


def _prefix(table_id: str) -> str:
    return f"label-versions/{table_id}/"
