"""A record of each verification that did not count, written before it is removed from Label Studio."""

from __future__ import annotations

import logging

from components.labeling.tasks import Annotation
from components.stores.objects.s3 import S3ObjectStore
from inspection.codec import canonical_json

_log = logging.getLogger(__name__)


class Refusals:
    """`refusals/labeling/<use case>/<task>-<annotation>-<problem>.json` in the state bucket, each written once."""

    def __init__(self, store: S3ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    def record(self, use_case: str, task_id: int, annotation: Annotation | None, problem: str) -> None:
        """Record who verified which task, and why it does not count. Recording it again changes nothing."""
        number = annotation.id if annotation else "none"
        document = {
            "schema_version": 1,
            "task": task_id,
            "annotation": annotation.id if annotation else None,
            "people": list(annotation.people) if annotation else [],
            "at": annotation.updated_at.isoformat() if annotation else None,
            "problem": problem,
        }
        self._store.put(
            self._bucket,
            f"refusals/labeling/{use_case}/{task_id}-{number}-{problem}.json",
            canonical_json(document),
            if_absent=True,
            content_type="application/json",
        )

    def count(self, use_case: str) -> int:
        """How many refusals are recorded."""
        return sum(1 for _ in self._store.list(self._bucket, f"refusals/labeling/{use_case}/"))
