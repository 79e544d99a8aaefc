"""Uploads images and Captures from the outbox to S3, in a thread of its own, so that inspection never waits for it."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from datetime import UTC, datetime

from edge_agent.backoff import Backoff
from edge_agent.errors import EdgeError
from edge_agent.object_store import ObjectStore
from edge_agent.outbox import Outbox, image_is_intact
from inspection import Capture, DocumentError, capture_key, image_format
from inspection.image import ImageError

_log = logging.getLogger(__name__)


class Uploader:
    """Sends images, the most important class first, and tries again until each is delivered or the outbox drops it.

    After a kill the next start may send the same keys again; `If-None-Match` makes that harmless.
    """

    def __init__(self, outbox: Outbox, store: ObjectStore, bucket: str) -> None:
        self._outbox = outbox
        self._store = store
        self._bucket = bucket
        self._backoff = Backoff()
        self.problem = ""
        """Why no image is sent at present; empty when all is well."""

    def run(self, stop: threading.Event) -> None:
        """Send until `stop` is set."""
        while not stop.is_set():
            try:
                sent = self.send_next()
                self._backoff.succeeded()
                if self.problem:
                    _log.info("uploads work again")
                self.problem = ""
            except EdgeError as e:
                if not self.problem:
                    _log.warning("uploads wait: %s", e)
                self.problem = str(e)
                stop.wait(self._backoff.failed())
                continue
            if not sent:
                self._outbox.image_waits.wait(1.0)
                self._outbox.image_waits.clear()

    def send_next(self) -> bool:
        """Send one image and its Capture.

        Returns:
            False where no image waits.

        Raises:
            StoreError: the image was not delivered; it stays in the outbox.
        """
        item = self._outbox.next_image()
        if item is None:
            return False
        data = image_is_intact(item)
        if data is None or item.image_key is None:
            self._outbox.drop(item, "its file is gone or damaged")
            return True
        try:
            capture = Capture.from_json(item.payload)
        except DocumentError as e:
            self._outbox.drop(item, f"its Capture cannot be read: {e}")
            return True
        self._send(capture, item.image_key, data)
        self._outbox.delivered(item)
        return True

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
