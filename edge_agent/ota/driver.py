"""Drives the activation: looks at the repository, acts, and writes each state down before it acts on it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from edge_agent.errors import EdgeError, InferenceError, StateError, UpdateError
from edge_agent.health import Health
from edge_agent.inference import LoadedRelease, RuntimeChoice, load_release
from edge_agent.ota.activation import (
    Act,
    Booted,
    Event,
    Failed,
    Fetched,
    Healthy,
    Loaded,
    Offered,
    Phase,
    Pinned,
    RolledBack,
    Seen,
    State,
    Stopping,
    TrialPassed,
    Unhealthy,
    Unpinned,
    decide,
)
from edge_agent.ota.active import Active, Identity
from edge_agent.ota.offer import Keep, choose
from edge_agent.ota.store import ReleaseStore
from edge_agent.ota.trial import TrialResult, try_release_aside
from inspection import DesiredState, Release

_log = logging.getLogger(__name__)

_TICK_S: Final = 0.25


class Repository(Protocol):
    """One look at the signed repository; see `ota.repository.ReleaseRepository`."""

    def refresh(self) -> None:
        """Fetch and verify the metadata."""

    def desired_state(self, group: str) -> DesiredState | None:
        """What the group should run."""

    def fetch_release(self, digest: str, folder: Path) -> Release:
        """Bring the files of a release, verified."""


class Updates:
    """The activation of one device. `boot` first, then `poll` and `tick` from one thread, `stop` from any."""

    def __init__(
        self,
        identity: Identity,
        store: ReleaseStore,
        open_repository: Callable[[], Repository],
        choice: RuntimeChoice,
        health: Health,
        *,
        active: Active,
        heartbeat_timeout_s: float = 30.0,
        trial: Callable[[Path, str, RuntimeChoice, threading.Event], TrialResult] = try_release_aside,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._identity = identity
        self._store = store
        self._open_repository = open_repository
        self._choice = choice
        self._health = health
        self._active = active
        self._heartbeat_timeout_s = heartbeat_timeout_s
        self._trial = trial
        self._changed = changed
        self._lock = threading.Lock()
        self._closed = False
        self._state = State()
        self._probation_began = 0.0
        self._warm: LoadedRelease | None = None
        self._stop_event = threading.Event()
        self.reason = "starting"
        """Why nothing new is taken: a fixed word, with a colon and a message where there is more to say."""

    @property
    def state(self) -> State:
        """The activation's state as it is on disk."""
        return self._state

    def boot(self) -> None:
        """Read the state and load the release to run, or the one before it where that one is damaged.

        Raises:
            StateError: the state file is damaged or the disk full.
        """
        self._state = self._store.load_state()
        self._store.tidy()
        self._act(self._apply(Booted()))

    def run(self, stop: threading.Event, poll_s: float) -> None:
        """Look every `poll_s`, watch a probation in between, until `stop`."""
        next_poll = 0.0
        while not stop.is_set() and not self._closed:
            try:
                self.tick()
                if time.monotonic() >= next_poll:
                    self.poll()
                    next_poll = time.monotonic() + poll_s
            except StateError as e:
                self._say(f"state-folder: {e}")
                _log.exception("updates wait")
            stop.wait(_TICK_S)
        self.stop()

    def poll(self) -> None:
        """One look at the repository, and all that follows from it up to a probation."""
        if self._state.phase in (Phase.FETCHING, Phase.TRYING, Phase.PENDING):
            # The state after a step could not be written, so the step was not acted on: begin again.
            self._apply(Failed("the state could not be written", transient=True))
        if self._state.phase is not Phase.IDLE:
            return
        try:
            repository = self._open_repository()
            repository.refresh()
            desired = repository.desired_state(self._identity.group)
        except UpdateError as e:
            self._say(f"{e.reason}: {e}")
            return
        except Exception as e:
            # The line never stops for an update server, whatever it says.
            _log.exception("a look at the releases failed")
            self._say(f"internal: {type(e).__name__}: {e}")
            return
        running = self._active.get()
        answer = choose(
            desired,
            device=self._identity.device,
            use_case=self._identity.use_case,
            sequence_seen=self._state.sequence,
            running=running.digest if running else None,
            failed=self._state.failed,
            pinned=self._state.pinned,
        )
        if isinstance(answer, Keep):
            if answer.sequence is not None and answer.sequence > self._state.sequence:
                self._apply(Seen(answer.sequence))
            self._say(f"{answer.reason}: {answer.message}" if answer.message else answer.reason)
            # Not sooner: a download that was cut off goes on from what is here, if it is still wanted.
            self._store.clean(self._state.kept)
            return
        self._say(f"taking: {answer.digest}")
        act = self._apply(Offered(answer.digest, answer.sequence, answer.probation_s))
        self._act(act, repository)

    def tick(self) -> None:
        """Watch the probation, if there is one."""
        if self._state.phase is not Phase.PROBATION:
            self._health.take_fault()
            return
        elapsed = time.monotonic() - self._probation_began
        fault = self._health.take_fault()
        silent = self._health.silent_s()
        event: Event = Healthy(elapsed)
        if fault:
            event = Unhealthy(f"runtime-error: {fault}")
        elif silent > self._heartbeat_timeout_s:
            event = Unhealthy(f"missed-heartbeat: the inspection loop was silent for {silent:.0f} s")
        if isinstance(event, Unhealthy):
            self._say(event.reason)
        try:
            act = self._apply(event)
        except StateError:
            if fault:
                self._health.fault(fault)  # a full disk must not turn a bad release into a good one
            raise
        self._act(act)

    def stop(self) -> None:
        """Write down that the end is in order, so that the next start does not take it for a crash."""
        self._stop_event.set()
        try:
            self._apply(Stopping())
        except StateError as e:
            _log.error("this stop will look like a crash to the next start: %s", e)
        self._closed = True

    def roll_back(self) -> str:
        """Run the release before this one, at once; the digest of what runs then.

        Raises:
            StateError: there is nothing to go back to, or the disk is full.
        """
        return self._by_operator(RolledBack(), "there is no earlier release on this device to go back to")

    def pin(self, digest: str | None = None) -> str:
        """Stay with a release that is here, the running one where none is named, whatever is published; its digest.

        Raises:
            StateError: it is not here, or another one is just being taken.
        """
        wanted = digest or self._state.running
        if wanted is None:
            raise StateError("no release runs here that could be pinned")
        kept = ", ".join(sorted(item[:12] for item in self._state.kept))
        return self._by_operator(
            Pinned(wanted), f"expected one of the releases kept here ({kept}) while no other is taken"
        )

    def unpin(self) -> None:
        """Take new releases again.

        Raises:
            StateError: the disk is full.
        """
        self._apply(Unpinned())
        self._say("unpinned")

    def _by_operator(self, event: RolledBack | Pinned, refusal: str) -> str:
        before = self._state
        act = self._apply(event)
        if (
            act is Act.NOTHING
            and self._state == before
            and not (isinstance(event, Pinned) and before.pinned == event.digest)
        ):
            raise StateError(refusal)
        self._say(f"{'rolled back' if isinstance(event, RolledBack) else 'pinned'} by the operator")
        self._act(act)
        running = self._active.get()
        return running.digest if running else ""

    def _apply(self, event: Event) -> Act:
        with self._lock:
            if self._closed:
                return Act.NOTHING
            state, act = decide(self._state, event, datetime.now(UTC))
            if state != self._state:
                self._store.save_state(state)
                if (state.phase, state.pending) != (self._state.phase, self._state.pending):
                    _log.info("release %s: %s -> %s", (state.pending or state.current or "none")[:12],
                              self._state.phase, state.phase)  # fmt: skip
                self._state = state
        self._changed()
        return act

    def _act(self, act: Act, repository: Repository | None = None) -> None:
        while act is not Act.NOTHING:
            match act:
                case Act.RUN_CURRENT:
                    self._run_current()
                    return
                case Act.CLEAN:
                    self._say("up-to-date")
                    self._keep_previous_at_hand()
                    self._store.clean(self._state.kept)
                    return
                case Act.FETCH | Act.TRY | Act.LOAD | Act.RUN_PENDING:
                    event = self._step(act, repository)
                    if event is None:
                        return
                    act = self._apply(event)

    def _step(self, act: Act, repository: Repository | None) -> Event | None:
        digest = self._state.pending
        assert digest is not None
        folder = self._store.folder(digest)
        try:
            if act is Act.FETCH:
                assert repository is not None
                self._store.clean(self._state.kept)
                repository.fetch_release(digest, folder)
                return Fetched()
            if act is Act.TRY:
                result = self._trial(folder, digest, self._choice, self._stop_event)
                if not result.ok:
                    raise UpdateError(result.reason, result.message)
                _log.info("release %s answers its golden samples, %.1f ms a frame", digest[:12], result.latency_ms)
                return TrialPassed()
            if act is Act.LOAD:
                self._warm = self._load(digest)
                return Loaded()
            warm, self._warm = self._warm, None
            self._begin_probation(warm if warm and warm.digest == digest else self._load(digest))
            return None
        except UpdateError as e:
            return self._failure(act, f"{e.reason}: {e}", e.transient)
        except InferenceError as e:
            return self._failure(act, f"unusable-model: {e}", transient=False)
        except (EdgeError, OSError) as e:
            return self._failure(act, f"not-now: {e}", transient=True)
        except Exception as e:
            _log.exception("a step with a release failed")
            return self._failure(act, f"internal: {type(e).__name__}: {e}", transient=False)

    def _failure(self, act: Act, reason: str, transient: bool) -> Event:
        _log.warning("release %s is not taken: %s", (self._state.pending or "")[:12], reason)
        self._say(reason)
        return Unhealthy(reason) if act is Act.RUN_PENDING else Failed(reason, transient)

    def _begin_probation(self, loaded: LoadedRelease) -> None:
        self._health.take_fault()
        self._health.beat()
        self._probation_began = time.monotonic()
        with self._lock:
            if self._state.pending != loaded.digest or self._state.phase is not Phase.PROBATION:
                return  # the operator went back meanwhile
            self._active.set(loaded)
        self._say(f"probation: {self._state.probation_s:g} s")

    def _run_current(self) -> None:
        self._health.take_fault()
        for digest in dict.fromkeys((self._state.current, self._state.previous, self._state.factory)):
            if digest is None:
                continue
            try:
                loaded = self._load(digest)
            except (UpdateError, InferenceError) as e:
                _log.error("release %s cannot run: %s", digest[:12], e)
                self._say(f"damaged: {e}")
                continue
            with self._lock:
                if self._state.phase is not Phase.PROBATION:
                    self._active.set(loaded)
            self._keep_previous_at_hand()
            self._changed()
            return
        self._active.set(None)
        self._changed()

    def _keep_previous_at_hand(self) -> None:
        """Load the release before, where policy wants the two compared; it takes memory, so only then."""
        running, previous = self._active.get(), self._state.previous
        wanted = running is not None and previous is not None and running.release.sampling.disagreement_rate > 0
        known = self._active.previous
        if not wanted:
            self._active.previous = None
        elif known is None or known.digest != previous:
            assert previous is not None
            try:
                self._active.previous = self._load(previous)
            except (UpdateError, InferenceError) as e:
                _log.warning("release %s cannot be compared with: %s", previous[:12], e)
                self._active.previous = None

    def _load(self, digest: str) -> LoadedRelease:
        release = self._store.read(digest)
        return load_release(self._store.folder(digest), digest, release, self._choice)

    def _say(self, reason: str) -> None:
        if reason != self.reason:
            _log.info("updates: %s", reason)
            self.reason = reason
            self._changed()
