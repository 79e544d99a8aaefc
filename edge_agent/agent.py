"""The inspection loop: takes a frame, inspects it, records the result. It never waits for a network."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from edge_agent.camera_states import CameraStates
from edge_agent.config import SamplingLimits
from edge_agent.errors import STORAGE, EdgeError, InferenceError, SourceError
from edge_agent.frame_documents import result_of
from edge_agent.health import Health
from edge_agent.inference import LoadedRelease
from edge_agent.ota.active import Active
from edge_agent.outbox import Outbox
from edge_agent.recent_frames import RecentFrames
from edge_agent.result import Result
from edge_agent.sampling import Limits, reason_to_send, share
from edge_agent.send_back import Judged, SendBack
from edge_agent.sources.port import Frame, FrameSource, readable_name
from inspection import ImageError, Inspection, Picture, sha256_of
from inspection.image import MAX_PIXELS
from inspection.part_view import UNKNOWN_VIEW, PartView
from inspection.region import Region
from inspection.verdict import NoVerdict

_log = logging.getLogger(__name__)

_FRAME_WAIT_S: Final = 0.5
_LOOK_S: Final = 0.05
"""How often cameras are asked that do not announce a frame, such as folders."""
_PROBLEM_WAIT_S: Final = 1.0
_MAX_TRIES: Final = 3
_NO_VERDICT: Final = {"unexpected": NoVerdict.UNEXPECTED, "inference-failed": NoVerdict.INFERENCE_ERROR}
"""What the line is told of a frame that is set aside, by the reason; any other reason is that of an image."""


class InspectionLoop:
    """Takes one frame after another, from each camera in turn.

    A frame is put away only after its result is on disk, and a frame whose result is on disk is not inspected again.
    The loop may therefore be killed at any moment: the next start loses no frame and doubles none. A camera that fails
    does not hold up the others.

    Args:
        publish: whether results go to a broker.
        wake: set by cameras when a frame may wait.
        limits: what this device may send back at most.
        measure: called with each result, for metrics.
        looked: called with each result, its inspection, and the picture's width and height in pixels.
        compared: called for each frame that the release before judged too: the digest of the running release, and
            whether the two verdicts differ.
        cameras: told of each camera whether it answers.
        send_back: sends frames back to the labelers; None for one of its own, with `limits`.
        beside: called with each judged frame after its result is on disk, for a candidate; it must not wait.
        on_probation: whether the running release is on probation.
        max_pixels: images with more are refused before they are decoded.
        views: by the name of the camera, how it sees the part.
        regions: by camera, what of its pictures is judged; all of them where it is not there.
    """

    def __init__(
        self,
        sources: Sequence[FrameSource],
        active: Active,
        outbox: Outbox,
        health: Health,
        recent: RecentFrames,
        *,
        site: str,
        device: str,
        publish: bool,
        wake: threading.Event | None = None,
        limits: Limits = SamplingLimits(),  # noqa: B008 - frozen
        measure: Callable[[Result], None] = lambda _: None,
        looked: Callable[[Result, Inspection, int, int], None] = lambda result, inspection, width, height: None,
        compared: Callable[[str, bool], None] = lambda digest, differs: None,
        cameras: CameraStates | None = None,
        send_back: SendBack | None = None,
        beside: Callable[[Judged], None] = lambda _: None,
        on_probation: Callable[[], bool] = lambda: False,
        max_pixels: int = MAX_PIXELS,
        views: Mapping[str, PartView] | None = None,
        regions: Mapping[str, Region] | None = None,
    ) -> None:
        self._max_pixels = max_pixels
        self._views = dict(views or {})
        self._regions = dict(regions or {})
        self._sources = tuple(sources)
        self._active = active
        self._outbox = outbox
        self._health = health
        self._recent = recent
        self._device = device
        self._publish = publish
        self._wake = wake or threading.Event()
        self._measure = measure
        self._looked = looked
        self._compared = compared
        self._cameras = cameras or CameraStates()
        self._on_probation = on_probation
        self._send_back = send_back or SendBack(outbox, site, limits)
        self._beside = beside
        self._tries: dict[tuple[str, str], int] = {}
        self._turn = 0

    def run(self, stop: threading.Event) -> None:
        """Inspect until `stop` is set; the frame that is being inspected is finished first."""
        self._forget_what_is_gone()
        while not stop.is_set():
            self._health.beat()
            active = self._active.get()
            if active is None:
                # Frames stay with their cameras until there is a release that can judge them.
                stop.wait(_FRAME_WAIT_S)
                continue
            try:
                self.step(active, _FRAME_WAIT_S)
                self._outbox.catch_up()
                self._health.problem = "; ".join(filter(None, (self._cameras.problem(), self._outbox.problem)))
            except InferenceError as e:
                self._health.fault(str(e))
                self._problem(e, stop)
            except EdgeError as e:
                self._problem(e, stop)
            except Exception as e:  # whatever it is, the frames that come after must be inspected
                _log.exception("an error that nobody foresaw; inspection goes on")
                self._problem(e, stop)

    def step(self, active: LoadedRelease, timeout_s: float) -> bool:
        """Inspect at most one frame.

        Returns:
            False where no frame came within `timeout_s`.

        Raises:
            EdgeError: the frame could not be recorded; it comes again.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            self._wake.clear()
            for _ in self._sources:
                source = self._sources[self._turn]
                self._turn = (self._turn + 1) % len(self._sources)
                if self._take(source, active):
                    return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._wake.wait(min(left, _LOOK_S))

    def _take(self, source: FrameSource, active: LoadedRelease) -> bool:
        try:
            frame = source.next(0.0)
        except SourceError as e:
            if self._cameras.fails(source.name, str(e)):
                _log.error("%s", e)
            return False
        except Exception as e:  # one camera must not hold up the others
            said = f"{source.name}: {type(e).__name__}: {e}"
            if self._cameras.fails(source.name, said):
                _log.exception("camera %s", source.name)
            return False
        self._cameras.works(source.name)
        skipped = source.take_skipped()
        if skipped:
            self._outbox.count("skipped", source.name, skipped)
        if frame is None:
            return False
        try:
            self._inspect(source, frame, active)
        except InferenceError as e:
            if frame.asked is not None:
                frame.asked.miss(NoVerdict.INFERENCE_ERROR)  # the line waits: there is no time for another try
                self._reject(source, frame, "inference-failed", str(e))
            elif self._is_odd(frame, active):
                # This release inspects other frames well, so the frame is at fault.
                self._reject(source, frame, "inference-failed", str(e))
            else:
                source.give_back(frame)
            raise
        except EdgeError:
            source.give_back(frame)
            raise
        except OSError as e:
            if e.errno in STORAGE or not self._tried_often(active, frame):
                source.give_back(frame)
                raise
            self._set_aside(source, frame, e)
        except Exception as e:
            self._set_aside(source, frame, e)
        return True

    def _set_aside(self, source: FrameSource, frame: Frame, error: Exception) -> None:
        """Take one frame out of the way on which something failed that nobody foresaw; the others are inspected."""
        _log.error("frame %s of %s", readable_name(frame.name), source.name, exc_info=error)
        if self._outbox.is_recorded(_key(source, frame)):
            self._put_away(source, frame, None)  # it has its verdict; what failed came after
        else:
            self._reject(source, frame, "unexpected", f"{type(error).__name__}: {error}")

    def _inspect(self, source: FrameSource, frame: Frame, active: LoadedRelease) -> None:
        if self._outbox.is_recorded(_key(source, frame)) or (frame.asked is not None and not frame.asked.is_open()):
            self._put_away(source, frame, None)  # it has its result
            return
        try:
            if frame.problem is not None:
                self._reject(source, frame, *frame.problem)
                return
            picture = active.read(frame.data, self._max_pixels)
        except ImageError as e:
            self._reject(source, frame, e.reason, str(e))
            return
        view, region = self._views.get(source.name, UNKNOWN_VIEW), self._regions.get(source.name)
        inspection, infer_ms = active.inspect(picture, view, region)
        if frame.doubt is not None:
            inspection = inspection.doubted(frame.doubt)
        sha256 = sha256_of(frame.data)
        result = result_of(
            frame, sha256, inspection, active, device=self._device, camera=source.name, infer_ms=infer_ms
        )
        policy = self._send_back.policy(active.release.sampling)
        judged = Judged(frame, sha256, result, inspection, policy, view)
        reason = reason_to_send(inspection, active.release.thresholds, policy, sha256)
        image, counters = self._send_back.image(judged, reason) if reason else (None, ())
        if frame.asked is not None and not frame.asked.claim():
            self._put_away(source, frame, None)  # its deadline has passed, and the line was told
            return
        try:
            self._outbox.record(
                _key(source, frame), result, image, publish=self._publish, counters=counters,
                request_key=frame.request_key,
            )  # fmt: skip
        except BaseException:
            if frame.asked is not None:
                frame.asked.reopen()
            raise
        self._measure(result)
        self._looked(result, inspection, picture.width, picture.height)
        self._recent.add(result, frame.data, inspection.anomaly_map)
        self._put_away(source, frame, result)
        self._tries.clear()
        if frame.doubt is None:
            self._beside(judged)
        self._compare(judged, picture, active, sent=reason is not None)

    def _compare(self, judged: Judged, picture: Picture, active: LoadedRelease, *, sent: bool) -> None:
        """Inspect a share of frames with the previous release too, and send the frame where the two verdicts differ.

        The result of this frame is recorded already, so the line does not wait for the comparison. Frames that are sent
        for another reason are compared too: the share of disagreement is that of the line.
        """
        previous = self._active.previous
        if (
            previous is None
            or judged.inspection.problem is not None
            or share("disagreement", judged.sha256) >= judged.policy.disagreement_rate
        ):
            return
        try:
            if previous.release.preprocess.shrink != active.release.preprocess.shrink:
                picture = previous.read(judged.frame.data, self._max_pixels)
            other, _ = previous.inspect(picture, judged.view, self._regions.get(judged.result.camera))
        except (InferenceError, ImageError) as e:
            _log.warning("cannot compare with release %s: %s", previous.digest[:12], e)
            self._active.previous = None
            return
        differs = other.verdict is not judged.inspection.verdict
        self._compared(judged.result.release_digest or "", differs)
        if differs and not sent:
            self._send_back.disagreement(judged)

    def _forget_what_is_gone(self) -> None:
        """Forget the frames that were recorded before a restart and that no camera still holds."""
        sources = {source.name: source for source in self._sources}
        for key in self._outbox.recorded_keys():
            camera, _, source_key = key.partition("/")
            if camera not in sources or not sources[camera].holds(source_key):
                self._outbox.forget(key)

    def _put_away(self, source: FrameSource, frame: Frame, result: Result | None) -> None:
        try:
            source.done(frame, result)
        except SourceError as e:
            self._note_unable(source, frame, e)  # it has its result, which stays recorded
            return
        self._cameras.put_away(source.name, frame.source_key)
        self._outbox.forget(_key(source, frame))

    def _note_unable(self, source: FrameSource, frame: Frame, error: SourceError) -> None:
        """A frame cannot be put away now. The camera tries again later, and the other frames are inspected."""
        if self._cameras.cannot_put_away(source.name, frame.source_key, str(error)):
            _log.error("%s", error)

    def _reject(self, source: FrameSource, frame: Frame, reason: str, message: str) -> None:
        key = _key(source, frame)
        if frame.asked is not None:
            frame.asked.miss(_NO_VERDICT.get(reason, NoVerdict.UNREADABLE))
        self._outbox.set_aside(key, reason)
        try:
            aside = source.reject(frame, reason, message)
        except SourceError as e:
            self._note_unable(source, frame, e)
            aside = False
        if not aside:
            self._outbox.withdraw(key)
        else:
            self._cameras.put_away(source.name, frame.source_key)
            self._outbox.forget(key)
            _log.warning("set %s aside: %s", readable_name(frame.name), message)

    def _is_odd(self, frame: Frame, active: LoadedRelease) -> bool:
        if self._on_probation():
            return False  # the release may be at fault; the frame waits until the probation has ended
        return self._tried_often(active, frame)

    def _tried_often(self, active: LoadedRelease, frame: Frame) -> bool:
        key = (active.digest, frame.source_key)
        self._tries[key] = self._tries.get(key, 0) + 1
        return self._tries[key] >= _MAX_TRIES

    def _problem(self, error: Exception, stop: threading.Event) -> None:
        said = str(error) if isinstance(error, EdgeError) else f"{type(error).__name__}: {error}"
        if self._health.problem != said:
            _log.error("%s", said)
            self._health.problem = said
        stop.wait(_PROBLEM_WAIT_S)


def _key(source: FrameSource, frame: Frame) -> str:
    return f"{source.name}/{frame.source_key}"
