"""A simulated device: the decisions are the agent's own, the clock is virtual, and frames are drawn by chance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from edge_agent.ota.activation import (
    Event,
    Failed,
    Fetched,
    Healthy,
    Loaded,
    Offered,
    Phase,
    Seen,
    State,
    TrialPassed,
    Unhealthy,
    decide,
)
from edge_agent.ota.offer import Keep as KeepOffer
from edge_agent.ota.offer import choose
from edge_agent.ota.probation import Keep, Refuse, Tally, judge
from edge_agent.ota.refusal import Kind
from inspection.documents import DesiredState, Probation, Reported
from inspection.report_parts import FailedRelease, LineTally

EPOCH: Final = datetime(2025, 4, 1, tzinfo=UTC)
LATEST: Final = 2000
"""Frames of a release that a device counts, as the agent does."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a release does on the line. Shares 0..1; trial_fails: on how many devices it fails its trial."""

    fail: float
    uncertain: float
    p95_ms: float = 40.0
    trial_fails: float = 0.0


class SimulatedDevice:
    """One device of the fleet.

    Args:
        former: the release that it has run for long, and what that does on the line.
        luck: the device's place among all, 0..1, by which a release's `trial_fails` hits it or not.
        per_s: frames a second.
    """

    def __init__(
        self, name: str, former: tuple[str, Behaviour], luck: float, per_s: float, random: np.random.Generator
    ) -> None:
        self.name = name
        self._luck, self._per_s, self._random = luck, per_s, random
        digest, does = former
        self._state = State(current=digest, factory=digest)
        self._tallies = {digest: _Counts()}
        self._draw(self._tallies[digest], LATEST, does)
        self._probation_began_s = 0.0
        self._counted_s = 0.0
        self.ran: set[str] = {digest}
        """The releases that have inspected here."""

    def step(self, now_s: float, desired: DesiredState, releases: dict[str, Behaviour], asked: Probation) -> None:
        """Count frames until now, and act on the desired state as the agent does."""
        self._count(now_s, releases)
        now = EPOCH + timedelta(seconds=now_s)
        if self._state.phase is Phase.PROBATION:
            self._watch(now_s, now, desired, asked)
        if self._state.phase is not Phase.IDLE:
            return
        answer = choose(
            desired, device=self.name, use_case=desired.use_case, sequence_seen=self._state.sequence,
            running=self._state.current, failed=self._state.failed, now=now, agent_version="1.0.0",
        )  # fmt: skip
        if isinstance(answer, KeepOffer):
            if answer.sequence is not None:
                self._decide(Seen(answer.sequence), now)
            return
        self._decide(Offered(answer.digest, answer.sequence, answer.probation_s, answer.again), now)
        self._decide(Fetched(), now)
        if self._luck < releases[answer.digest].trial_fails:
            self._decide(Failed("wrong-golden: another detection"), now)
            return
        self._decide(TrialPassed(), now)
        former = self._tallies.get(self._state.current or "")
        self._decide(Loaded(former.tally() if former and former.frames else None), now)
        self._probation_began_s = now_s
        self._tallies[answer.digest] = _Counts()
        self.ran.add(answer.digest)

    def report(self, now_s: float) -> Reported:
        """What the device reports at this moment."""
        at = EPOCH + timedelta(seconds=now_s)
        state = self._state
        return Reported(
            device=self.name, group="line", use_case="part", reported_at=at, state="running",
            running_release=state.running, pending_release=state.pending, sequence_seen=state.sequence,
            failures={
                digest: FailedRelease(
                    reason=refusal.reason, at=at, sequence=refusal.sequence, attempts=refusal.attempts,
                    transient=refusal.kind is Kind.TRANSIENT,
                )
                for digest, refusal in state.failed.items()
            },
            pinned_release="",
            tallies=tuple(counts.line(digest) for digest, counts in self._tallies.items() if counts.frames),
        )  # fmt: skip

    def _count(self, now_s: float, releases: dict[str, Behaviour]) -> None:
        running = self._state.running
        frames = int((now_s - self._counted_s) * self._per_s)
        if running is None or frames <= 0:
            return
        self._counted_s += frames / self._per_s
        counts = self._tallies.setdefault(running, _Counts())
        if self._state.phase is Phase.IDLE and counts.frames >= LATEST:
            return  # at rest: the latest frames look like those before
        self._draw(counts, frames, releases[running])

    def _draw(self, counts: _Counts, frames: int, does: Behaviour) -> None:
        good = 1.0 - does.fail - does.uncertain
        fail, uncertain, _ = self._random.multinomial(frames, [does.fail, does.uncertain, good])
        counts.add(frames, int(fail), int(uncertain), does.p95_ms)

    def _watch(self, now_s: float, now: datetime, desired: DesiredState, asked: Probation) -> None:
        counts = self._tallies[self._state.pending or ""]
        elapsed_s = now_s - self._probation_began_s
        verdict = judge(
            asked, probation_s=desired.probation_s, budget_ms=500.0, former=self._state.former, now=counts.tally(),
            elapsed_s=elapsed_s, waited_s=elapsed_s,
        )  # fmt: skip
        if isinstance(verdict, Refuse):
            self._decide(Unhealthy(verdict.reason), now)
        elif isinstance(verdict, Keep):
            self._decide(Healthy(elapsed_s, verdict.note), now)

    def _decide(self, event: Event, now: datetime) -> None:
        self._state, _ = decide(self._state, event, now, "1.0.0")


@dataclass(slots=True)
class _Counts:
    frames: int = 0
    fail: int = 0
    uncertain: int = 0
    p95_ms: float = 0.0

    def add(self, frames: int, fail: int, uncertain: int, p95_ms: float) -> None:
        self.frames, self.fail, self.uncertain = self.frames + frames, self.fail + fail, self.uncertain + uncertain
        self.p95_ms = p95_ms
        if self.frames > LATEST:
            share = LATEST / self.frames
            self.frames, self.fail, self.uncertain = LATEST, round(self.fail * share), round(self.uncertain * share)

    def tally(self) -> Tally:
        return Tally(self.frames, self.fail, self.uncertain, self.p95_ms)

    def line(self, digest: str) -> LineTally:
        return LineTally(
            release_digest=digest, since=EPOCH, frames=self.frames, fail=self.fail, uncertain=self.uncertain,
            p95_ms=self.p95_ms,
        )  # fmt: skip
