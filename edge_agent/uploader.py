"""Uploads images and Captures from the outbox to S3, in a thread of its own, so that inspection never waits for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from edge_agent.backoff import Backoff
from edge_agent.errors import AccessDenied, EdgeError, StoreRefuses
from edge_agent.object_store import ObjectStore
from edge_agent.outbox import Outbox, image_is_intact
from edge_agent.outbox_schema import Outgoing
from edge_agent.refusals import Refusals
from inspection import Capture, DocumentError, capture_key, image_format
from inspection.image import ImageError

_log = logging.getLogger(__name__)


class Uploader:
    """Sends images, the most important class first, and tries again until each is delivered or the outbox drops it.

    An image that the store refuses waits, and the others go on; see `Refusals`. After a kill the next start may send
    the same keys again; `If-None-Match` makes that harmless.

    Args:
        clock: seconds, by a clock that never jumps.
    """

    def __init__(
        self, outbox: Outbox, store: ObjectStore, bucket: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._outbox = outbox
        self._store = store
        self._bucket = bucket
        self._backoff = Backoff()
        self._refusals = Refusals(clock)
        self._unreachable = ""

    @property
    def problem(self) -> str:
        """Why an image is not sent at present; empty when all is well."""
        if self._unreachable:
            return self._unreachable
        refused = self._refusals.count()
        return f"images that the store refuses, and that wait: {refused} ({self._refusals.why})" if refused else ""

    def run(self, stop: threading.Event) -> None:
        """Send until `stop` is set."""
        while not stop.is_set():
            try:
                sent = self.send_next()
                self._backoff.succeeded()
                if self._unreachable:
                    _log.info("uploads work again")
                self._unreachable = ""
            except EdgeError as e:
                if not self._unreachable:
                    _log.warning("uploads wait: %s", e)
                self._unreachable = str(e)
                stop.wait(self._backoff.failed())
                continue
            if not sent:
                self._outbox.image_waits.wait(1.0)
                self._outbox.image_waits.clear()

    def send_next(self) -> bool:
        """Send one image and its Capture. An image that the store refuses stays in the outbox and is tried again later.

        Returns:
            False where no image waits that may be tried now.

        Raises:
            StoreError: the store cannot be reached; the image stays in the outbox.
        """
        item = self._next()
        if item is None:
            return False
        try:
            self._send_item(item)
        except (AccessDenied, StoreRefuses) as e:
            if not self._refusals.count():
                _log.warning("an image is refused, and waits: %s", e)
            self._refusals.refused(item.item_id, str(e))
        return True

    def _next(self) -> Outgoing | None:
        if self._refusals.paused_s() > 0:
            return None
        waiting = self._outbox.images(self._refusals.count() + 1)
        if self._refusals.in_doubt:
            # An image that was never refused says whether the store refuses one of them or all.
            waiting.sort(key=lambda item: self._refusals.was_refused(item.item_id))
        for item in waiting:
            if not self._refusals.waits(item.item_id):
                return item
        # All that wait are refused; what is refused and waits no longer has been dropped.
        self._refusals.keep({item.item_id for item in waiting})
        return None

    def _send_item(self, item: Outgoing) -> None:
        data = image_is_intact(item)
        if data is None or item.image_key is None:
            self._outbox.drop(item, "its file is gone or damaged")
            return
        try:
            capture = Capture.from_json(item.payload)
        except DocumentError as e:
            self._outbox.drop(item, f"its Capture cannot be read: {e}")
            return
        self._send(capture, item.image_key, data)
        self._refusals.accepted(item.item_id)
        self._outbox.delivered(item)

    def _send(self, capture: Capture, key: str, data: bytes) -> None:
        try:
            content_type = f"image/{image_format(data)}"
        except ImageError:
            content_type = "application/octet-stream"
        self._store.put(self._bucket, key, data, if_absent=True, content_type=content_type)
        # The image goes first, so that a Capture in the store always has its image.
        self._store.put(
            self._bucket,
            capture_key(key, capture.capture_id),
            replace(capture, sent_at=datetime.now(UTC)).to_json(),
            if_absent=True,
            content_type="application/json",
        )
