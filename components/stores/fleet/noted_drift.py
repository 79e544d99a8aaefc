"""The lines of each product that drift, as the reconciler notes them in the state bucket."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from components.stores.objects.s3 import ObjectNotFound, S3ObjectStore
from inspection.codec import DocumentError
from inspection.drifting import DriftingLine, DriftingLines, since_their_begin

_log = logging.getLogger(__name__)


class NotedDrift:
    """The documents `drift/<use case>.json` in the state bucket."""

    def __init__(self, store: S3ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    def lines(self, use_case: str) -> tuple[DriftingLine, ...]:
        """The lines that drift; none where nothing is noted, or nothing that can be read.

        Raises:
            ObjectStoreError: the store did not answer.
        """
        try:
            return DriftingLines.from_json(self._store.get(self._bucket, _key(use_case))).lines
        except ObjectNotFound:
            return ()
        except DocumentError as e:
            _log.warning("which lines of %s drift cannot be read: %s", use_case, e)
            return ()

    def note(self, use_case: str, lines: Sequence[DriftingLine], at: datetime) -> bool:
        """Note which lines drift now. Returns whether others did before; the same is not written again.

        Raises:
            ObjectStoreError: the store did not answer.
        """
        before = self.lines(use_case)
        now = since_their_begin(lines, before)
        if now == before:
            return False
        document = DriftingLines(use_case=use_case, at=at, lines=now)
        self._store.put(self._bucket, _key(use_case), document.to_json(), content_type="application/json")
        _log.info("lines of %s that drift: %s", use_case, ", ".join(line.device for line in now) or "none any more")
        return True


def _key(use_case: str) -> str:
    return f"drift/{use_case}.json"
