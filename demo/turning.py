"""One round of the demo with a reconciler: who has to act next, and what is waited for. Ports only.

The round starts no run and moves no rollout. It gives the reconciler the use case file, lets parts pass the cameras,
and looks until what it waits for is there. Each look is at what the servers say, so that a round that was interrupted
goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from components.use_case import UseCase
from demo.round_plans import AFTER_STOP, CANARY, CANARY_PARTS, OTHER_PARTS, OTHERS, RoundPlan
from demo.state import DemoError, GateFailed
from demo.summary import RoundFacts
from inspection.rollout import RolloutState

_T = TypeVar("_T")
_PATIENCE_S = 900.0


@dataclass(frozen=True, slots=True)
class Training:
    """A finished training run. passed: what its gate said."""

    run_id: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """How the rollout of a version stands."""

    state: RolloutState
    release_digest: str
    former_digest: str | None
    reason: str = ""
    devices: tuple[str, ...] = ()


class Line(Protocol):
    """What a round looks at, and the little that it does."""

    def automate(self, number: int, use_case: UseCase) -> None:
        """Give the reconciler a use case file in a round."""

    def approved(self) -> int:
        """Images with an approved label."""

    def trained(self) -> Training | None:
        """The training run that finished last."""

    def figures(self, run_id: str) -> dict[str, Any]:
        """dataset, map50, escape and overkill of a run, from its evaluation report."""

    def version_of(self, run_id: str) -> int | None:
        """The version that a run registered."""

    def approval(self, version: int) -> tuple[str, str, str]:
        """The state of an approval, who gave it, and their reason."""

    def start_devices(self) -> None:
        """Start the devices that do not run yet."""

    def standing(self, version: int) -> Standing | None:
        """How the rollout of a version stands; None while another version, or none, is rolled out."""

    def runs(self, devices: Sequence[str], digest: str | None) -> bool:
        """Whether all of these devices run a release for good."""

    def feed(self, number: int, device: str, parts: int) -> None:
        """Let the next parts of a round pass a device's camera."""

    def ended(self, version: int) -> str:
        """How the rollout of a version is noted in MLflow: `done`, `failed` or ''."""

    def champion(self) -> int | None:
        """The champion's version."""

    def sent(self) -> int | None:
        """Images that the devices have sent back, in all; None while some of them still wait."""

    def check(self) -> None:
        """Raise DemoError where a device or the reconciler has ended."""


class Turning:
    """Turns rounds.

    Args:
        step: tells a person what begins.
        say: tells a person one line.
        look_every_s: seconds between two looks.
    """

    def __init__(
        self,
        line: Line,
        step: Callable[[str], AbstractContextManager[None]],
        say: Callable[[str], None],
        *,
        look_every_s: float = 2.0,
        patience_s: float = _PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._line = line
        self._step = step
        self._say = say
        self._look_every_s = look_every_s
        self._patience_s = patience_s
        self._clock = clock
        self._sleep = sleep

    def turn(self, plan: RoundPlan, former_run: str, sent_before: int) -> RoundFacts:
        """Turn a round.

        Args:
            plan: of the round.
            former_run: the training run that had finished last before the round; '' for none.
            sent_before: images that devices had sent back before the round.

        Raises:
            GateFailed: the model did not pass its gate, or a person rejected it.
            DemoError: what is waited for does not come, or the rollout waits for a person.
        """
        line, took = self._line, {}
        began = self._clock()

        def lap(name: str) -> None:
            nonlocal began
            now = self._clock()
            took[name], began = round(now - began, 1), now

        of = f"round {plan.number}"
        with self._step(f"{of}: people label and verify; {plan.images} images must be approved"):
            if plan.spoilt:
                self._say(f"[yellow]the use case file of this round is spoilt: {plan.spoilt}[/yellow]")
            line.automate(plan.number, plan.use_case)
            self._until("approved labels", lambda: line.approved() >= plan.images or None)
            lap("labels")
        with self._step(f"{of}: the reconciler finds that a training is due"):
            run = self._until("a training", lambda: _other(line.trained(), former_run))
            line.automate(plan.number, plan.after_training)
            figures = line.figures(run.run_id)
            self._say(f"test mAP50 {figures['map50']:.3f}, escape {figures['escape']}, overkill {figures['overkill']}")
            if not run.passed:
                raise GateFailed(f"round {plan.number} did not pass its gate, so nothing was registered")
            version = self._until("a registered version", lambda: line.version_of(run.run_id))
            lap("training")
        with self._step(f"{of}: a person approves version {version}"):
            by, reason = self._until("an approval", lambda: self._decided(version))
            self._say(f"{by}: {reason}")
            lap("approval")
        with self._step(f"{of}: the reconciler has it signed, and the canary {CANARY} takes it"):
            line.start_devices()
            standing = self._until("a rollout", lambda: line.standing(version))
            digest = standing.release_digest
            self._until("the canary", lambda: line.runs([CANARY], digest) or self._is_over(version) or None)
            lap("canary")
        with self._step(f"{of}: {CANARY_PARTS} parts pass the canary's camera, and the reconciler judges"):
            line.feed(plan.number, CANARY, CANARY_PARTS)
            end = self._until("the end of the rollout", lambda: self._over(version))
            self._say_end(version, end)
            how = self._until("the note in MLflow", lambda: line.ended(version) or None)
            wanted = end.former_digest if end.state is RolloutState.STOPPED else digest
            self._until("the devices", lambda: line.runs([CANARY, *OTHERS], wanted) or None)
            if end.state is RolloutState.DONE:
                self._until("the champion", lambda: line.champion() == version or None)
            lap("rollout")
        with self._step(f"{of}: doubtful images come back"):
            if plan.number == 1:
                for device in OTHERS:
                    line.feed(plan.number, device, OTHER_PARTS)
            if end.state is RolloutState.STOPPED:
                # A device counts anew after it went back; the next version is compared with these frames.
                line.feed(AFTER_STOP, CANARY, CANARY_PARTS)
            sent = self._until("the devices' images", line.sent) - sent_before
            self._say(f"{sent} images sent back; champion is version {line.champion()}")
            lap("return")
        return RoundFacts(
            number=plan.number, spoilt=plan.spoilt, images=plan.images, run_id=run.run_id, **figures, version=version,
            approved_by=by, reason=reason, release=digest, rollout=how, rollout_reason=end.reason,
            champion=line.champion(), sent_back=sent, took_s=took,
        )  # fmt: skip

    def _decided(self, version: int) -> tuple[str, str] | None:
        state, by, reason = self._line.approval(version)
        if state == "rejected":
            raise GateFailed(f"version {version} was rejected by a person; the champion stays")
        return (by, reason) if state == "approved" else None

    def _is_over(self, version: int) -> bool:
        return self._over(version) is not None

    def _over(self, version: int) -> Standing | None:
        """The rollout once it is done or stopped."""
        standing = self._line.standing(version)
        if standing is not None and standing.state in (RolloutState.PAUSED, RolloutState.PINNED):
            raise DemoError(
                f"the rollout of version {version} is {standing.state} ({standing.reason}) and waits for a person: "
                "run kizu deploy status, then kizu deploy resume or kizu deploy revert, and run the demo again"
            )
        over = standing is not None and standing.state in (RolloutState.DONE, RolloutState.STOPPED)
        return standing if over else None

    def _say_end(self, version: int, end: Standing) -> None:
        if end.state is RolloutState.STOPPED:
            self._say(f"[red]version {version} is stopped and taken back: {end.reason}[/red]")
        else:
            self._say(f"version {version} is on all devices")

    def _until(self, what: str, look: Callable[[], _T | None]) -> _T:
        give_up_at = self._clock() + self._patience_s
        while (found := look()) is None:
            self._line.check()
            if self._clock() >= give_up_at:
                raise DemoError(
                    f"{what} did not come within {self._patience_s / 60:.0f} minutes; "
                    "what the reconciler waits for: kizu reconcile --explain. Run the demo again to go on"
                )
            self._sleep(self._look_every_s)
        return found


def _other(run: Training | None, former: str) -> Training | None:
    return run if run is not None and run.run_id != former else None
