"""Sends frames back to the labelers, within the quota of the device. Threads share it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge_agent.config import SamplingLimits
from edge_agent.errors import Unwritable
from edge_agent.frame_documents import image_to_send, name_of_capture
from edge_agent.outbox import ImageToSend, Outbox
from edge_agent.result import Result
from edge_agent.sampling import Limits, Quota, tightened
from edge_agent.sources.port import Frame
from inspection import Inspection, Reason, Sampling, ShadowVerdict, Verdict
from inspection.part_view import UNKNOWN_VIEW, PartView

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Judged:
    """A frame that the running release has judged.

    policy: which frames the device sends back. view: how its camera sees the part.
    """

    frame: Frame
    sha256: str
    result: Result
    inspection: Inspection
    policy: Sampling
    view: PartView = UNKNOWN_VIEW


class SendBack:
    """One device's frames for the labelers.

    Args:
        limits: what this device may send at most.
        clock: seconds, by a clock that never jumps.
    """

    def __init__(
        self,
        outbox: Outbox,
        site: str,
        limits: Limits = SamplingLimits(),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._site = site
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._quota = Quota()

    def policy(self, wanted: Sampling) -> Sampling:
        """The policy of a release within the limits of this device."""
        return tightened(wanted, self._limits)

    def image(self, judged: Judged, reason: Reason) -> tuple[ImageToSend | None, tuple[str, ...]]:
        """The frame with its Capture, where the quota has room for it; else None, and the counter that says so."""
        with self._lock:
            if not self._quota.take(judged.policy, self._clock()):
                return None, ("over_quota",)
        return image_to_send(self._site, judged.frame, judged.sha256, judged.result, judged.inspection, reason), ()

    def disagreement(self, judged: Judged) -> None:
        """Send a frame on which the release before decided otherwise.

        Raises:
            StateError: the index is damaged. Where the disk cannot be written, the frame is counted as dropped.
        """
        self._add(*self.image(judged, Reason.DISAGREEMENT))

    def candidate_differs(self, judged: Judged, digest: str, verdict: Verdict) -> None:
        """Send a frame on which a candidate decided otherwise.

        A frame that was sent for another reason gets a second Capture, which names the candidate.

        Args:
            digest, verdict: of the candidate.

        Raises:
            StateError: the index is damaged. Where the disk cannot be written, the frame is counted as dropped.
        """
        image, counters = self.image(judged, Reason.DISAGREEMENT)
        if image is not None:
            capture = replace(
                image.capture,
                capture_id=name_of_capture(judged.result.capture_id, "shadow", digest),
                shadow=ShadowVerdict(release_digest=digest, verdict=verdict),
            )
            image = replace(image, capture=capture)
        self._add(image, counters)

    def _add(self, image: ImageToSend | None, counters: tuple[str, ...]) -> None:
        for counter in counters:
            self._outbox.count(counter)
        if image is None:
            return
        try:
            self._outbox.add_image(image)
        except Unwritable as e:  # the frame has its result and is put away
            _log.warning("a frame on which two releases differ is not sent: %s", e)
            self._outbox.count("dropped", image.priority.name.lower())
