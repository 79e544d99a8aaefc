"""Carries out the activation that `activation.decide` decides on: polls the repository, writes each state to disk
before it acts on it, loads releases and watches their probation.

One thread owns all transitions. An operator's command waits in a queue for that thread, interrupts the download or the
trial that it is in, and is answered with what happened.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from edge_agent.errors import EdgeError, InferenceError, Interrupted, StateError, UpdateError
from edge_agent.health import Health
from edge_agent.inference import LoadedRelease, RuntimeChoice
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
    Seen,
    State,
    Stopping,
    Superseded,
    TrialPassed,
    Unhealthy,
    decide,
)
from edge_agent.ota.active import Active, Identity
from edge_agent.ota.loader import Loader
from edge_agent.ota.offer import Keep, Take, choose
from edge_agent.ota.operator_command import REASON, Command, describe, obey
from edge_agent.ota.orders import ANSWER_S, STOPPING, Orders
from edge_agent.ota.probation import Refuse, Tally, Wait, judge, without_frames
from edge_agent.ota.release_client import WAITS_FOR_AGENT
from edge_agent.ota.store import ReleaseStore
from edge_agent.ota.tallies import Tallies
from edge_agent.ota.trial import TrialResult, try_release_aside
from inspection import DesiredState, Release

_log = logging.getLogger(__name__)

_TICK_S: Final = 0.25


class ReleaseSource(Protocol):
    """Where releases come from. One object serves one poll; `ota.release_client.ReleaseClient` is the real one."""

    def refresh(self) -> None:
        """Fetch and verify the metadata."""

    def desired_state(self, use_case: str, group: str) -> DesiredState | None:
        """What the devices of a group that inspect a product should run; None where nothing was published."""

    def fetch_release(self, digest: str, folder: Path) -> Release:
        """Bring the files of a release into `folder`, verified."""


class Updates:
    """The activation of one device. Call `boot` first, then `run` in one thread; `obey` and `stop` from any thread.

    While `run` runs, its thread makes every transition but the last one, which `stop` writes.

    Args:
        open_source: makes a `ReleaseSource` for one poll.
        trial: tries a release before it is loaded here: folder, digest, runtime choice, and an event that ends it.
        tallies: what the latest releases have decided; the inspection loop adds to it.
        changed: called after each change of the state or of the reason.
        held: whether no release is to be taken now, because the agent's own software is new.
        accepted: called with each desired state that was read and is not older than one before; None where none was
            published.
        monotonic: seconds, by a clock that never jumps; measures probations and the time between polls.
        utc_now: the time of day, for `State.since`, which people read, and for the waits after a refusal.
        answer_s: how long a command waits for a step that cannot be interrupted.
    """

    def __init__(
        self,
        identity: Identity,
        store: ReleaseStore,
        open_source: Callable[[], ReleaseSource],
        choice: RuntimeChoice,
        health: Health,
        *,
        active: Active,
        heartbeat_timeout_s: float = 30.0,
        trial: Callable[[Path, str, RuntimeChoice, threading.Event], TrialResult] = try_release_aside,
        tallies: Tallies | None = None,
        changed: Callable[[], None] = lambda: None,
        accepted: Callable[[DesiredState | None], None] = lambda _: None,
        held: Callable[[], bool] = lambda: False,
        monotonic: Callable[[], float] = time.monotonic,
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
        answer_s: float = ANSWER_S,
    ) -> None:
        self._identity = identity
        self._store = store
        self._open_source = open_source
        self._choice = choice
        self._health = health
        self._active = active
        self._heartbeat_timeout_s = heartbeat_timeout_s
        self._trial = trial
        self._loader = Loader(store, choice, active)
        self._tallies = tallies or Tallies()
        self._changed = changed
        self._accepted = accepted
        self._held = held
        self._waits: dict[str, str] = {}
        """Releases that need a newer agent, and what they need. Another agent is another process."""
        self._monotonic = monotonic
        self._utc_now = utc_now
        self._lock = threading.Lock()
        self._orders = Orders(self._carry_out, answer_s)
        self._closed = False
        self._state = State()
        self._probation_began = 0.0
        self._waits_for_frames = False
        self._warm: LoadedRelease | None = None
        self.reason = "starting"
        """Why no new release is taken: a fixed word, followed by a colon and a message where there is more to say."""

    @property
    def state(self) -> State:
        """The state of the activation, as it is on disk."""
        return self._state

    def boot(self) -> None:
        """Read the state and load the release to run, or an earlier one where that release is damaged.

        Raises:
            StateError: a newer agent wrote the state file, or the disk is full.
        """
        self._state = self._store.open_state()
        self._store.tidy()
        self._mark_kept()
        self._act(self._apply(Booted()))

    def run(self, stop: threading.Event, poll_s: float) -> None:
        """Poll every `poll_s`, watch a probation in between and carry out commands, until `stop` is set."""
        next_poll = 0.0
        self._orders.own()
        try:
            while not stop.is_set() and not self._closed:
                try:
                    self._orders.carry_out_waiting()
                    self.tick()
                    if self._monotonic() >= next_poll:
                        self.poll()
                        next_poll = self._monotonic() + poll_s
                except StateError as e:
                    self._say(f"state-folder: {e}")
                    _log.exception("updates wait")
                stop.wait(_TICK_S)
        finally:
            self.stop()

    def interrupted(self) -> bool:
        """Whether a download or a trial should end for now: a command waits, or the agent stops."""
        return self._orders.interrupt.is_set()

    def poll(self) -> None:
        """Read the repository once, and take the release that it asks for, up to the start of its probation."""
        if self._state.phase in (Phase.FETCHING, Phase.TRYING, Phase.PENDING):
            # The state after a step could not be written, so that step had no effect: begin again.
            self._apply(Failed("the state could not be written", transient=True))
        waits = self._state.phase is Phase.PROBATION and self._waits_for_frames
        if self._state.phase is not Phase.IDLE and not waits:
            return
        try:
            source = self._open_source()
            source.refresh()
            desired = source.desired_state(self._identity.use_case, self._identity.group)
        except UpdateError as e:
            self._say(f"{e.reason}: {e}")
            return
        except Exception as e:
            # Whatever the update server answers, inspection goes on.
            _log.exception("polling for releases failed")
            self._say(f"internal: {type(e).__name__}: {e}")
            return
        if desired is None or desired.sequence >= self._state.sequence:
            self._accepted(desired)
        running = self._active.get()
        answer = choose(
            desired,
            device=self._identity.device,
            use_case=self._identity.use_case,
            sequence_seen=self._state.sequence,
            running=running.digest if running else None,
            failed=self._state.failed,
            now=self._utc_now(),
            pinned=self._state.pinned,
        )
        if waits:
            # A release that no frame has judged must not hold up the next order, or the way back.
            if isinstance(answer, Take):
                self._end_the_wait(answer)
            return
        if isinstance(answer, Keep):
            if answer.sequence is not None and answer.sequence > self._state.sequence:
                self._apply(Seen(answer.sequence))
            if answer.reason == "up-to-date":
                self._say(self._up_to_date())
            else:
                self._say(f"{answer.reason}: {answer.message}" if answer.message else answer.reason)
            # Only now: while a release may still be wanted, an interrupted download goes on from what is here.
            self._store.clean(self._state.kept)
            return
        if answer.digest in self._waits or self._held():
            if answer.sequence > self._state.sequence:
                self._apply(Seen(answer.sequence))
            needs = self._waits.get(answer.digest, "the software of this agent is on probation")
            self._say(f"{WAITS_FOR_AGENT}: {needs}")
            return
        self._say(f"taking: {answer.digest}")
        act = self._apply(Offered(answer.digest, answer.sequence, answer.probation_s, answer.again))
        self._act(act, source)

    def tick(self) -> None:
        """Check the release that is on probation, if there is one: keep it, or go back."""
        if self._state.phase is not Phase.PROBATION:
            self._health.take_fault()
            return
        elapsed = self._monotonic() - self._probation_began
        fault = self._health.take_fault()
        silent = self._health.silent_s()
        event = self._judged(elapsed)
        if fault:
            event = Unhealthy(f"runtime-error: {fault}")
        elif silent > self._heartbeat_timeout_s:
            event = Unhealthy(f"missed-heartbeat: the inspection loop was silent for {silent:.0f} s")
        if event is None:
            return
        if isinstance(event, Unhealthy):
            self._say(event.reason)
        try:
            act = self._apply(event)
        except StateError:
            if fault:
                self._health.fault(
                    fault
                )  # judged again at the next tick: a full disk must not make a bad release a good one
            raise
        self._act(act)

    def _judged(self, elapsed_s: float) -> Event | None:
        """What follows from the frames that the release on probation has inspected; None: it goes on."""
        loaded = self._active.get()
        if loaded is None or loaded.digest != self._state.pending:
            return Healthy(elapsed_s)
        state, release = self._state, loaded.release
        verdict = judge(
            release.probation,
            probation_s=state.probation_s,
            budget_ms=release.latency_budget_ms,
            former=state.former,
            now=self._seen(),
            elapsed_s=elapsed_s,
            waited_s=state.waited_s + elapsed_s,
            share_accepted=state.accepted == loaded.digest,
        )
        self._waits_for_frames = isinstance(verdict, Wait) and verdict.for_frames
        if isinstance(verdict, Refuse):
            return Unhealthy(verdict.reason)
        if isinstance(verdict, Wait):
            if verdict.for_frames:
                self._say(f"probation: waits for {release.probation.min_frames} frames")
            return None
        return Healthy(elapsed_s, verdict.note)

    def _seen(self) -> Tally:
        return self._state.seen.plus(self._tallies.of(self._state.pending))

    def _end_the_wait(self, answer: Take) -> None:
        """Another release is ordered while the one on probation waits for frames: go back, and take it next."""
        if self._state.current is not None:
            self._say(f"superseded: {answer.digest} is ordered now")
            self._act(self._apply(Superseded()))
            return
        # The first release of the device: there is none to go back to, so it is kept, and the report says how.
        loaded, elapsed_s = self._active.get(), self._monotonic() - self._probation_began
        if loaded is not None:
            note = without_frames(loaded.release.probation, self._seen())
            self._act(self._apply(Healthy(elapsed_s, note)))

    def stop(self) -> None:
        """Record that the agent ends in order, so that the next start does not take it for a crash."""
        self._orders.interrupt.set()
        try:
            seen = self._tallies.of(self._state.pending)
            self._apply(Stopping(self._monotonic() - self._probation_began, seen))
        except StateError as e:
            _log.error("the next start will take this stop for a crash: %s", e)
        with self._lock:
            self._closed = True
        self._orders.close()

    def obey(self, command: Command) -> str:
        """Have an operator's command carried out by the thread that owns the transitions; what runs then, as one line.

        Raises:
            StateError: the command cannot be carried out, or the disk is full; the message says why.
        """
        return self._orders.give(command)

    def _carry_out(self, command: Command) -> str:
        running = self._active.get()
        with self._lock:
            if self._closed:
                raise StateError(STOPPING)
            state, act = obey(self._state, command, self._utc_now(), running.digest if running else None)
            self._keep(state)
        self._changed()
        self._say(REASON[command.action])
        self._act(act)
        running = self._active.get()
        return describe(running.digest if running else None, self._state.pinned)

    def _apply(self, event: Event) -> Act:
        with self._lock:
            if self._closed:
                return Act.NOTHING
            state, act = decide(self._state, event, self._utc_now())
            self._keep(state)
        self._changed()
        return act

    def _keep(self, state: State) -> None:
        """Write a state to disk and take it over. The caller holds the lock."""
        if state == self._state:
            return
        if state.current != self._state.current:
            self._store.mark_kept([state.current])  # before the state that says so, as all of an update
        self._store.save_state(state)
        if (state.phase, state.pending) != (self._state.phase, self._state.pending):
            digest = (state.pending or state.current or "none")[:12]
            _log.info("release %s: %s -> %s", digest, self._state.phase, state.phase)
        self._state = state

    def _act(self, act: Act, source: ReleaseSource | None = None) -> None:
        while act is not Act.NOTHING:
            match act:
                case Act.RUN_CURRENT:
                    self._run_current()
                    return
                case Act.CLEAN:
                    self._mark_kept()
                    self._say(self._up_to_date())
                    self._compare()
                    self._store.clean(self._state.kept)
                    return
                case Act.FETCH | Act.TRY | Act.LOAD | Act.RUN_PENDING:
                    before = (self._state.phase, self._state.pending)
                    try:
                        event = self._step(act, source)
                    except Interrupted as e:
                        _log.info("%s", e)
                        self._orders.carry_out_waiting()
                        if self._closed or (self._state.phase, self._state.pending) != before:
                            return
                        continue  # the command left the update alone: the same step again
                    if event is None:
                        return
                    # Before the outcome counts: a command that came during the step may have ended the update.
                    self._orders.carry_out_waiting()
                    act = self._apply(event)

    def _step(self, act: Act, source: ReleaseSource | None) -> Event | None:
        digest = self._state.pending
        assert digest is not None
        folder = self._store.folder(digest)
        try:
            if act is Act.FETCH:
                assert source is not None
                self._store.clean(self._state.kept)
                source.fetch_release(digest, folder)
                return Fetched()
            if act is Act.TRY:
                result = self._trial(folder, digest, self._choice, self._orders.interrupt)
                if not result.ok:
                    raise UpdateError(result.reason, result.message)
                _log.info("release %s reproduces its golden samples, %.1f ms a frame", digest[:12], result.latency_ms)
                return TrialPassed()
            if act is Act.LOAD:
                self._warm = self._loader.load(digest)
                former = self._tallies.former(self._state.current)
                return Loaded(former if former.frames else None)
            warm, self._warm = self._warm, None
            self._begin_probation(warm if warm and warm.digest == digest else self._loader.load(digest))
            return None
        except Interrupted:
            raise
        except UpdateError as e:
            if e.reason == WAITS_FOR_AGENT:
                self._waits[digest] = str(e)
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
        self._health.forgive_silence()
        self._probation_began = self._monotonic()
        self._waits_for_frames = False
        self._tallies.begin(loaded.digest, goes_on=self._state.waited_s > 0 or self._state.attempts > 0)
        former = self._active.get()
        self._active.set(loaded)
        # A disagreement is asked of the release that ran until now.
        self._compare(former)
        self._say(f"probation: {self._state.probation_s:g} s")

    def _run_current(self) -> None:
        self._health.take_fault()
        state = self._state
        self._loader.run_first((state.current, state.previous, state.factory), lambda why: self._say(f"damaged: {why}"))
        self._compare()
        self._changed()

    def _compare(self, at_hand: LoadedRelease | None = None) -> None:
        """Compare with the release that ran before: on probation the current one, else the previous one."""
        state = self._state
        self._loader.compare_with(state.current if state.phase is Phase.PROBATION else state.previous, at_hand)

    def _mark_kept(self) -> None:
        """Mark what was kept by an agent that made no marks yet; a full disk delays that."""
        try:
            self._store.mark_kept((self._state.current, self._state.previous, self._state.factory))
        except StateError as e:
            _log.warning("%s", e)

    def _up_to_date(self) -> str:
        note = self._state.note
        return f"up-to-date: {note}" if note else "up-to-date"

    def _say(self, reason: str) -> None:
        if reason != self.reason:
            _log.info("updates: %s", reason)
            self.reason = reason
            self._changed()
