"""Takes releases of the agent's own software, one step after another, and judges software that is new.

The state is on the disk before what it announces: a slot is given up before it is filled, and new software is on trial
before this agent ends to make room for it. The launcher starts what the state says (`edge_agent/launcher.py`).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from edge_agent import __version__
from edge_agent.backoff import Backoff
from edge_agent.errors import EdgeError, Interrupted, StateError, UpdateError
from edge_agent.launcher import ALARM_S
from edge_agent.ota.refusal import as_failures
from edge_agent.software.rules import Launched, Seen, Stay, choose, judge, unfit, what_is_missing
from edge_agent.software.state import SLOTS, SoftwareState, booted, filling, gone_back, kept, on_trial, refused
from edge_agent.software.state import stopped as after_stop
from edge_agent.software.state import well as runs_well
from edge_agent.software.store import SoftwareStore
from edge_agent.software.trial import SoftwareTrial
from inspection import AgentOrder, AgentState, DesiredState
from inspection.agent_release import AgentRelease, WheelFile

_log = logging.getLogger(__name__)

_TICK_S: Final = 1.0
_LOWEST: Final = 19
WELL_S: Final = 60.0
"""How long software that was kept runs well before the launcher's count of its starts begins anew."""
_LONGEST_REASON: Final = 300
FIXED: Final = "fixed"
"""The state of software that nothing on this device can replace."""


class SoftwareSource(Protocol):
    """Where the agent's software comes from: one object for one look; `ReleaseClient` is the real one."""

    def refresh(self) -> None:
        """Fetch and verify the metadata."""

    def fetch_agent(self, digest: str, target: Path) -> AgentRelease:
        """Bring the document of a release to `target`, verified."""

    def fetch_wheel(self, wheel: WheelFile, target: Path) -> None:
        """Bring a wheel to `target`, verified."""


class Software:
    """The agent's software on one device. `want` and `reported` from any thread, `run` in its own.

    Args:
        open_source: makes a source for one look; it is told whether to end for now.
        launched: what started this agent; None where no launcher did, and nothing can be replaced.
        trial: tries the packages of a slot before they are started; it ends when the event is set.
        observe: what this agent shows of itself: silence of its loop in seconds, whether a release inspects or none
            should, and why no frame is inspected.
        needed: `min_agent_version` of the release that inspects; `0` for none.
        idle: whether no release is being taken: a release and software are never new at once.
        leave: ends this agent in order; the launcher then starts what the state says.
        image_digest: the container image that this agent was started from, as the device was told.
        min_free_bytes: what unpacked software leaves free on the disk.
        alarm: has the kernel end this process after so many seconds; 0 for never.
    """

    def __init__(
        self,
        store: SoftwareStore,
        open_source: Callable[[Callable[[], bool]], SoftwareSource],
        launched: Launched | None,
        trial: Callable[[Path, threading.Event], SoftwareTrial],
        *,
        device: str,
        use_case: str,
        observe: Callable[[], tuple[float, bool, str]],
        needed: Callable[[], str],
        idle: Callable[[], bool],
        leave: Callable[[], None],
        image_digest: str = "",
        min_free_bytes: int = 0,
        heartbeat_timeout_s: float = 30.0,
        changed: Callable[[], None] = lambda: None,
        alarm: Callable[[int], object] = lambda seconds: None,
        monotonic: Callable[[], float] = time.monotonic,
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._open_source = open_source
        self._launched = launched
        self._trial = trial
        self._device = device
        self._use_case = use_case
        self._observe = observe
        self._needed = needed
        self._idle = idle
        self._leave = leave
        self._image_digest = image_digest
        self._min_free_bytes = min_free_bytes
        self._heartbeat_timeout_s = heartbeat_timeout_s
        self._changed = changed
        self._alarm = alarm
        self._monotonic = monotonic
        self._utc_now = utc_now
        self._began = monotonic()
        self._state = SoftwareState()
        self._order: AgentOrder | None = None
        self._contact = False
        self._stop = threading.Event()
        self._left = False
        self._counted = False
        self._tried: str | None = None
        self._compared: str | None = None
        self._image_release: str | None = None
        self._unfit: dict[str, str] = {}
        self._backoff = Backoff(first_s=10.0, limit_s=600.0)
        self._try_at = 0.0
        self.reason = ""
        """Why the software that was ordered does not run; empty where all is well."""

    @property
    def state(self) -> SoftwareState:
        """The state, as it is on disk."""
        return self._state

    @property
    def on_probation(self) -> bool:
        """Whether this agent is new software that must still run well: no release is taken meanwhile."""
        return self._launched is not None and self._state.trial == self._launched.slot

    # -- what other threads call --------------------------------------------------------------------------------------

    def want(self, desired: DesiredState | None) -> None:
        """Take over what a desired state orders. It was read and verified, so this agent reaches its releases."""
        self._contact = True
        mine = desired is not None and desired.use_case == self._use_case
        self._order = desired.agent if mine and desired is not None else None

    def reported(self) -> AgentState:
        """What runs and why, for the device report."""
        launched, order = self._launched, self._order
        slot = launched.slot if launched is not None else ("image" if self._image_digest else "installed")
        return AgentState(
            version=__version__,
            slot=slot,
            state=self._state_word(),
            release_digest=self._state.digest_of(slot) if launched is not None else self._image_release,
            wanted_digest=order.release_for(self._device) if order is not None else None,
            image_digest=self._image_digest,
            reason=self.reason,
            refused={digest: item.reason for digest, item in self._state.refused.items()},
            failures=as_failures(self._state.refused, self._utc_now()),
            slots=dict(self._state.slots),
        )

    # -- the thread ---------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Go on with the state on disk.

        Raises:
            StateError: the disk cannot be written.
        """
        if self._launched is None:
            return
        self._state = self._store.load()
        self._keep(booted(self._state, self._utc_now()))
        if self.on_probation:
            self.reason = "probation"
            _log.info("this agent is new software on probation, from slot %s", self._launched.slot)

    def run(self, stop: threading.Event) -> None:
        """Take and judge software until `stop` is set."""
        with suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
        threading.Thread(target=self._end_at, args=(stop,), name="software-stop", daemon=True).start()
        try:
            while not stop.is_set():
                self.step()
                stop.wait(_TICK_S)
        finally:
            self.stop()

    def _end_at(self, stop: threading.Event) -> None:
        stop.wait()
        self._stop.set()

    def step(self) -> None:
        """Do the next thing: judge this agent while it is new, or take what was ordered."""
        try:
            if self._left:
                return
            if self.on_probation:
                self._judge()
                return
            self._count_as_well()
            if self._monotonic() >= self._try_at:
                if self._launched is None:
                    self._compare_image()
                else:
                    self._take(self._launched)
                self._backoff.succeeded()
        except Interrupted as e:
            _log.info("%s", e)
        except UpdateError as e:
            self._not_now(f"{e.reason}: {e}", e.transient)
        except (EdgeError, OSError) as e:
            self._not_now(f"not-now: {e}", transient=True)
        except Exception as e:  # whatever a release of the agent causes, this agent inspects on
            _log.exception("software of the agent is not taken")
            self._not_now(f"internal: {type(e).__name__}: {e}", transient=False)

    def stop(self) -> None:
        """Note that the agent ends in order: on probation that is no failed start."""
        self._stop.set()
        if self._launched is None:
            return
        with suppress(StateError):
            self._keep(after_stop(self._state, self._launched.slot))

    def _judge(self) -> None:
        """Keep this agent, go back, or go on; the kernel ends it where this thread no longer comes here."""
        self._alarm(ALARM_S)
        silent_s, inspects, problem = self._observe()
        seen = Seen(self._monotonic() - self._began, silent_s, inspects, self._contact, problem)
        verdict = judge(seen, probation_s=self._state.probation_s, heartbeat_timeout_s=self._heartbeat_timeout_s)
        if verdict is None:
            missing = what_is_missing(seen) if seen.elapsed_s >= self._state.probation_s else ""
            self._say(f"probation: {missing}" if missing else "probation")
            return
        if verdict:
            _log.error("this software is not kept: %s", verdict)
            self._keep(gone_back(self._state, verdict, self._utc_now()))
            self._end(verdict)
            return
        self._keep(kept(self._state))
        self._alarm(0)
        self._counted = True
        _log.info("this software is kept")
        self._say("")
        self._clean()

    def _take(self, launched: Launched) -> None:
        order = self._order
        answer = choose(order, device=self._device, running=launched.slot, state=self._state, now=self._utc_now())
        if order is None or isinstance(answer, Stay):
            self._say(answer.reason if isinstance(answer, Stay) else "")
            return
        digest = answer.digest
        if digest in self._unfit:
            self._say(self._unfit[digest])
            return
        slot = self._slot_of(digest, launched.slot) or self._fill(digest, launched)
        if slot is None or not self._passes(slot, digest, order):
            return
        if not self._idle():
            self._say("waits-for-release: a release is being taken; the software follows")
            return
        self._keep(on_trial(self._state, slot, launched.slot, order.since, order.probation_s))
        self._end(f"starting: {digest}")

    def _passes(self, slot: str, digest: str, order: AgentOrder) -> bool:
        """Whether the software in a slot passes its trial; a process tries it once."""
        if self._tried == digest:
            return True
        self._say(f"trying: {digest}")
        result = self._trial(self._store.site(slot), self._stop)
        if result.ok:
            self._tried = digest
            return True
        reason = f"{result.reason}: {result.message}"[:_LONGEST_REASON]
        self._keep(refused(self._state, digest, reason, order.since, self._utc_now()))
        self._say(reason)
        return False

    def _slot_of(self, digest: str, running: str) -> str | None:
        """The slot that holds a release already, whole, and fits; it is started from there without a download."""
        for slot in SLOTS:
            if slot != running and self._state.digest_of(slot) == digest:
                release = self._store.release_in(slot, digest)
                if release is not None and not self._is_unfit(release, digest):
                    return slot
        return None

    def _is_unfit(self, release: AgentRelease, digest: str) -> bool:
        assert self._launched is not None
        reason = unfit(release, self._launched, self._needed())
        if reason:
            self._say(reason)
            # What this device lacks stays so until the agent is another one; the release that inspects may change.
            if not reason.startswith("too-old"):
                self._unfit[digest] = reason
        return bool(reason)

    def _fill(self, digest: str, launched: Launched) -> str | None:
        """Fetch what is missing and make the slot that does not run; None where this device cannot take the release."""
        self._say(f"fetching: {digest}")
        source = self._open_source(self._stop.is_set)
        source.refresh()
        release = source.fetch_agent(digest, self._store.document())
        if self._is_unfit(release, digest):
            return None
        build = release.build_for(launched.python_version, launched.machine)
        assert build is not None
        for wheel in build.wheels:
            if self._stop.is_set():
                raise Interrupted("fetching software was interrupted")
            if not self._store.has_wheel(wheel.sha256):
                source.fetch_wheel(wheel, self._store.incoming(wheel.sha256))
                self._store.unpack(wheel.sha256, self._min_free_bytes)
        slot = self._state.other(launched.slot)
        self._keep(filling(self._state, slot, digest, launched.slot))
        self._store.build(slot, release, build)
        return slot

    def _count_as_well(self) -> None:
        """Once this agent has run well for a while, the launcher counts its starts anew."""
        if self._counted or self._launched is None or self._monotonic() - self._began < WELL_S:
            return
        silent_s, inspects, _ = self._observe()
        if silent_s <= self._heartbeat_timeout_s and inspects:
            self._keep(runs_well(self._state, self._launched.slot))
            self._counted = True
            self._clean()

    def _compare_image(self) -> None:
        """Where nothing here replaces the software: say whether what was ordered is what runs."""
        order = self._order
        wanted = order.release_for(self._device) if order is not None else None
        if wanted is None:
            self._say("")
        elif not self._image_digest:
            self._say("not-launched: no launcher started this agent, so its software is replaced by hand")
        elif wanted != self._compared:
            source = self._open_source(self._stop.is_set)
            source.refresh()
            image = source.fetch_agent(wanted, self._store.document()).image_digest
            same = image == self._image_digest
            waits = f"waits-for-orchestrator: the image {image or 'of no container'} was ordered"
            self._compared, self._image_release = wanted, wanted if same else None
            self._say("" if same else waits)

    def _clean(self) -> None:
        try:
            self._store.clean(self._state)
        except OSError as e:
            _log.warning("old software stays: %s", e)

    def _not_now(self, reason: str, transient: bool) -> None:
        order = self._order
        digest = order.release_for(self._device) if order is not None else None
        _log.warning("software of the agent is not taken: %s", reason)
        self._try_at = self._monotonic() + self._backoff.failed()
        if not transient and self._launched is not None and order is not None and digest is not None:
            with suppress(StateError):
                self._keep(refused(self._state, digest, reason[:_LONGEST_REASON], order.since, self._utc_now()))
        self._say(reason)

    def _end(self, why: str) -> None:
        self._say(why)
        self._left = True
        self._leave()

    def _keep(self, state: SoftwareState) -> None:
        """Write a state to disk and take it over."""
        if state == self._state:
            return
        self._store.save(state)
        self._state = state
        self._changed()

    def _state_word(self) -> str:
        if self._launched is None:
            return FIXED
        if self.on_probation:
            return "probation"
        return "kept" if self._state.active == self._launched.slot else "standby"

    def _say(self, reason: str) -> None:
        if reason != self.reason:
            if reason:
                _log.info("software: %s", reason)
            self.reason = reason
            self._changed()
