"""Objections: an operator says that a verdict was wrong, and the image goes back to be labelled."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Collection

from edge_agent.errors import StateError
from edge_agent.outbox import ImageToSend, Outbox
from edge_agent.result import Result
from inspection import Capture, Reason, image_format, raw_image_key
from inspection.image import EXTENSIONS


class Objections:
    """Makes objections. No quota applies to them. Safe to share between threads.

    Args:
        remembered: how many objections `made` lists at most.
    """

    def __init__(self, outbox: Outbox, site: str, remembered: int = 200) -> None:
        self._outbox = outbox
        self._site = site
        self._lock = threading.Lock()
        self._made: deque[str] = deque(maxlen=remembered)

    def made(self) -> Collection[str]:
        """The `capture_id` of each frame that was objected to since the start."""
        with self._lock:
            return frozenset(self._made)

    def object_to(self, result: Result, data: bytes) -> None:
        """Send a frame back as an objection. A second objection to the same frame changes nothing.

        Args:
            data: the bytes of the image.

        Raises:
            StateError: the disk is full, or the result has no image.
        """
        if result.sha256 is None:
            raise StateError("this part was not inspected: there is no image that could be labelled")
        name = hashlib.sha256(f"{result.capture_id}\nobjection".encode()).hexdigest()[:32]
        capture = Capture(
            capture_id=name,
            sha256=result.sha256,
            device=result.device,
            camera=result.camera,
            captured_at=result.captured_at,
            reason=Reason.OBJECTION,
            part_id=result.part_id,
            original_name=result.original_name,
            release_digest=result.release_digest,
            detections=result.detections,
            verdict=result.verdict,
        )
        key = raw_image_key(
            self._site, result.device, result.captured_at, result.sha256, EXTENSIONS[image_format(data)]
        )
        with self._lock:
            if result.capture_id in self._made:
                return
        self._outbox.add_image(ImageToSend(capture, key, data))
        with self._lock:
            self._made.append(result.capture_id)
