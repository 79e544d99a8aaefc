"""Lets a candidate judge a share of the frames beside the running release. It decides nothing and delays nothing.

The inspection loop hands a frame over after its verdict is recorded, by a reference, and goes on. There is room for one
frame that waits; a frame that finds it taken is skipped and counted. A thread of low priority passes frames to the
candidate's process and counts what it says.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from edge_agent.backoff import Backoff
from edge_agent.errors import EdgeError, Interrupted, UpdateError
from edge_agent.memory_budget import MemoryBudget
from edge_agent.sampling import share
from edge_agent.send_back import Judged
from edge_agent.shadow.files import ShadowFiles, ShadowState
from edge_agent.shadow.process import Answer
from edge_agent.shadow.tally import Counts, rest_s
from inspection import Candidate, DesiredState, PartView, ShadowOrder, ShadowTally, Verdict
from inspection.region import Region

_log = logging.getLogger(__name__)

_LOOK_S: Final = 0.5
_SAVE_S: Final = 600.0
_LOWEST: Final = 19


class CandidateSource(Protocol):
    """Where a candidate comes from; `ota.release_client.ReleaseClient` is the real one."""

    def refresh(self) -> None:
        """Fetch and verify the metadata."""

    def fetch_candidate(self, digest: str, folder: Path) -> Candidate:
        """Bring the files of a candidate into `folder`, verified."""


class Judge(Protocol):
    """A candidate that judges; `process.ShadowProcess` is the real one."""

    def judge(self, data: bytes, view: PartView, region: Region | None = None) -> Answer:
        """Judge one image, or the region of it. view: how its camera sees the part."""

    def close(self) -> None:
        """End it, and free its memory."""


def order_for(desired: DesiredState | None, *, device: str, use_case: str) -> ShadowOrder | None:
    """The order for a candidate on this device; None where there is none."""
    if desired is None or desired.use_case != use_case or desired.shadow is None:
        return None
    return desired.shadow if device in desired.shadow.devices else None


class Shadow:
    """The candidate of one device. `want` and `tally` from any thread, `hand_over` from the loop, `run` in its own.

    Args:
        open_source: makes a source for one fetch; it is told whether to end for now.
        start: starts a candidate's process: its folder, its digest, and an event that ends it.
        budget: of the memory for images, of which a waiting frame takes.
        paused: whether no frame is to be judged now, such as in the probation of a release.
        differs: called for each frame on which the candidate decided otherwise, with its digest and its verdict.
        changed: called when the candidate, or why it does not judge, is another one.
        monotonic: seconds, by a clock that never jumps.
        rest: waits so many seconds, or until the event is set.
        wait_s: how long one step waits for a frame.
        regions: by camera, what of its pictures is judged; all of them where it is not there.
    """

    def __init__(
        self,
        files: ShadowFiles,
        open_source: Callable[[Callable[[], bool]], CandidateSource],
        start: Callable[[Path, str, threading.Event], Judge],
        *,
        budget: MemoryBudget,
        paused: Callable[[], bool] = lambda: False,
        differs: Callable[[Judged, str, Verdict], None] = lambda judged, digest, verdict: None,
        changed: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
        rest: Callable[[threading.Event, float], object] = threading.Event.wait,
        wait_s: float = _LOOK_S,
        regions: Mapping[str, Region] = {},
    ) -> None:
        self._regions = regions
        self._files = files
        self._open_source = open_source
        self._start = start
        self._budget = budget
        self._paused = paused
        self._differs = differs
        self._changed = changed
        self._monotonic = monotonic
        self._utc_now = utc_now
        self._rest = rest
        self._wait_s = wait_s
        self._frames: queue.Queue[Judged] = queue.Queue(maxsize=1)
        self._turn = threading.Event()
        """Set when the order is another one, or the agent stops: what goes on ends at once."""
        self._lock = threading.Lock()
        self._wanted: ShadowOrder | None = None
        self._state: ShadowState | None = None
        self._counts: Counts | None = None
        self._judge: Judge | None = None
        self._judging: ShadowOrder | None = None
        """The order while its candidate judges; the loop reads it for each frame."""
        self._reason = ""
        self._backoff = Backoff(first_s=10.0, limit_s=600.0)
        self._try_at = 0.0
        self._save_at = 0.0

    # -- what other threads call --------------------------------------------------------------------------------------

    def want(self, order: ShadowOrder | None) -> None:
        """Take over what the desired state orders for this device; None for no candidate."""
        with self._lock:
            if order == self._wanted:
                return
            self._wanted = order
            self._turn.set()

    def hand_over(self, judged: Judged) -> None:
        """Have the candidate judge a frame too, if the frame is of its share and it has time. This never waits."""
        order = self._judging
        if order is None or self._paused() or share("shadow", judged.sha256) >= order.share:
            return
        size = len(judged.frame.data)
        if self._budget.take_spare(size):
            try:
                self._frames.put_nowait(judged)
                return
            except queue.Full:
                self._budget.give_back(size)
        counts = self._counts  # another thread may take it away meanwhile
        if counts is not None:
            counts.skip()

    def tally(self) -> ShadowTally | None:
        """What the candidate decided, for the device report; None where none is ordered."""
        state, counts = self._state, self._counts
        if state is None:
            return None
        return (counts or Counts(self._utc_now(), "")).reported(
            state.order.release_digest, state.refused or self._reason
        )

    # -- the thread ---------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Go on with what was ordered before this start."""
        self._state = self._files.load()
        self._files.clean(self._state.order.release_digest if self._state else None)
        if self._state is not None:
            self._counts = Counts.of(self._state.counts) if self._state.counts else None
            self._wanted = self._state.order
            self._reason = "starting"

    def run(self, stop: threading.Event) -> None:
        """Judge until `stop` is set."""
        with suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
        watch = threading.Thread(target=self._wake_at, args=(stop,), name="shadow-stop", daemon=True)
        watch.start()
        try:
            while not stop.is_set():
                try:
                    self.step(stop)
                except EdgeError as e:
                    self._say(f"not-now: {e}")
                    stop.wait(_LOOK_S)
                except Exception as e:  # whatever a candidate causes, the inspection goes on
                    _log.exception("the candidate is ended")
                    self._refuse(f"internal: {type(e).__name__}: {e}")
        finally:
            self.stop()

    def step(self, stop: threading.Event | None = None) -> None:
        """Do the next thing: take over another order, bring the candidate up, or judge one frame."""
        with self._lock:
            wanted = self._wanted
            self._turn.clear()
        if stop is not None and stop.is_set():
            self._turn.set()
        if wanted != (self._state.order if self._state else None):
            self._take_over(wanted)
        elif self._state is None or self._state.refused:
            self._let_frames_go()
            self._rest(self._turn, _LOOK_S)
        elif self._judge is None:
            if self._monotonic() >= self._try_at:
                self._bring_up(self._state)
            else:
                self._rest(self._turn, _LOOK_S)
        else:
            self._judge_next(self._state, self._judge)
        if self._monotonic() >= self._save_at:
            self._save()

    def stop(self) -> None:
        """End the candidate's process, and keep its counts. For the end of the agent."""
        self._end_process()
        self._save()

    def _wake_at(self, stop: threading.Event) -> None:
        stop.wait()
        self._turn.set()

    def _take_over(self, order: ShadowOrder | None) -> None:
        known = self._state if self._state and order and _same_candidate(self._state.order, order) else None
        if known is None:
            self._end_process()
            self._counts = None
            self._backoff.succeeded()
            self._try_at = 0.0
        if order is None:
            self._files.end()
            self._state = None
        else:
            state = replace(known, order=order) if known else ShadowState(order=order)
            self._files.save(state)
            self._state = state
            if self._judging is not None:
                self._judging = order
        self._files.clean(order.release_digest if order else None)
        self._say("" if order is None or known else "starting")

    def _bring_up(self, state: ShadowState) -> None:
        digest = state.order.release_digest
        folder = self._files.folder(digest)
        try:
            source = self._open_source(self._turn.is_set)
            source.refresh()
            source.fetch_candidate(digest, folder)
        except Interrupted:
            return
        except UpdateError as e:
            if not e.transient:
                self._refuse(f"{e.reason}: {e}")
                return
            # Without a network, what is here already may judge; its process checks every file.
            if not folder.is_dir():
                self._later(f"{e.reason}: {e}")
                return
        try:
            judge = self._start(folder, digest, self._turn)
        except Interrupted:
            return
        except UpdateError as e:
            if e.reason == "damaged":
                self._later(f"{e.reason}: {e}")
            else:
                self._refuse(f"{e.reason}: {e}")
            return
        self._backoff.succeeded()
        self._counts = self._counts or Counts(self._utc_now(), "")
        self._judge, self._judging = judge, state.order
        _log.info("candidate %s judges beside the release", digest[:12])
        self._say("")

    def _judge_next(self, state: ShadowState, judge: Judge) -> None:
        try:
            judged = self._frames.get(timeout=self._wait_s) if self._wait_s > 0 else self._frames.get_nowait()
        except queue.Empty:
            return
        begun = self._monotonic()
        try:
            region = self._regions.get(judged.result.camera)
            asked = (judged.frame.data, judged.view)
            answer = judge.judge(*asked) if region is None else judge.judge(*asked, region)
        except Interrupted:
            self._end_process()  # it is in the middle of a frame; the next step starts it again where it is wanted
            return
        except UpdateError as e:
            self._refuse(f"{e.reason}: {e}")
            return
        finally:
            self._budget.give_back(len(judged.frame.data))
        beside = judged.result.release_digest or ""
        if self._counts is None or self._counts.beside not in ("", beside):
            # The numbers compare the candidate with one release.
            self._counts = Counts(self._utc_now(), beside)
        self._counts.beside = beside
        if self._counts.add(answer.verdict, judged.result.verdict, answer.cpu_s):
            try:
                self._differs(judged, state.order.release_digest, answer.verdict)
            except EdgeError as e:
                _log.warning("a frame is not sent back: %s", e)
        rest = rest_s(answer.cpu_s, self._monotonic() - begun, state.order.cpu_share)
        if rest > 0:
            self._rest(self._turn, rest)

    def _refuse(self, reason: str) -> None:
        """The candidate does not judge here until it is ordered anew."""
        self._end_process()
        state = self._state
        if state is not None:
            _log.warning("candidate %s does not judge here: %s", state.order.release_digest[:12], reason)
            self._state = replace(state, refused=reason[:300], counts=self._counts.kept() if self._counts else None)
            with suppress(EdgeError):  # a full disk: it is found out again after the next start
                self._files.save(self._state)
        self._changed()

    def _later(self, reason: str) -> None:
        self._try_at = self._monotonic() + self._backoff.failed()
        self._say(reason)

    def _end_process(self) -> None:
        self._judging = None
        judge, self._judge = self._judge, None
        if judge is not None:
            judge.close()
        self._let_frames_go()

    def _let_frames_go(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._budget.give_back(len(self._frames.get_nowait().frame.data))

    def _save(self) -> None:
        self._save_at = self._monotonic() + _SAVE_S
        state = self._state
        kept = self._counts.kept() if self._counts else None
        if state is not None and kept != state.counts:
            state = replace(state, counts=kept)
            try:
                self._files.save(state)
            except EdgeError as e:
                _log.warning("the candidate's counts are not kept: %s", e)
                return
            self._state = state

    def _say(self, reason: str) -> None:
        if reason != self._reason:
            if reason:
                _log.info("candidate: %s", reason)
            self._reason = reason[:300]
        self._changed()


def _same_candidate(one: ShadowOrder, other: ShadowOrder) -> bool:
    return one.release_digest == other.release_digest
