"""What one pass sees of a product: values only. Adapters make it, and the rules in `follow_up.py` read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from reconciler.schedules import CronSchedule
from reconciler.training_due import RetrainingPolicy, TrainingFacts


class Part(StrEnum):
    """A part of the view that has a server of its own. One that cannot be read holds up only what follows from it."""

    MODELS = "models"
    DESIRED = "desired state"
    LABELS = "labels"
    LABEL_STUDIO = "label studio"


@dataclass(frozen=True, slots=True)
class SeenVersion:
    """A registered version. failed_rollout: why its rollout was stopped; '' where it was not."""

    version: int
    run_id: str
    approved_by: str = ""
    failed_rollout: str = ""


@dataclass(frozen=True, slots=True)
class SeenRun:
    """A finished training run. passed: what its gate said; None where it says nothing."""

    run_id: str
    experiment_id: str
    passed: bool | None


@dataclass(frozen=True, slots=True)
class SeenDesired:
    """What the product's group should run. version: the newest version that a wave names.

    plan: the state of its rollout (`running`, `paused`, `stopped`, `done`, `pinned`); '' where the document has no
    plan. plan_version: the version that is, or was, rolled out by it; after a stop no wave names it any more.
    software: the version of the agent's software whose rollout has stages left to open; '' for none.
    """

    sequence: int
    version: int
    plan: str = ""
    plan_reason: str = ""
    plan_version: int = 0
    software: str = ""


@dataclass(frozen=True, slots=True)
class FinishedLabels:
    """The newest annotation that a person submitted in one of the product's two projects; None where there is none."""

    newest: datetime | None


@dataclass(frozen=True, slots=True)
class ProductPolicy:
    """What the use case file says about the loop. labeling, training: the schedules, where there are some.

    labeling_quiet_s: least seconds between the end of a labeling run and the next one that people's work starts.
    """

    name: str
    group: str
    language: str
    retraining: RetrainingPolicy
    labeling: CronSchedule | None = None
    training: CronSchedule | None = None
    labeling_quiet_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ProductView:
    """One product. unread: which parts could not be read, and why; what they would hold is then empty.

    approved: approved versions, newest first. pending: the newest version that waits for approval. labels: None where
    there is no label of the product yet. last_run: the newest finished training run.
    """

    policy: ProductPolicy
    approved: tuple[SeenVersion, ...] = ()
    pending: SeenVersion | None = None
    last_run: SeenRun | None = None
    desired: SeenDesired | None = None
    labels: TrainingFacts | None = None
    finished: FinishedLabels | None = None
    unread: Mapping[Part, str] = field(default_factory=dict)


class Act(StrEnum):
    """What a decision did; the names stand in the decisions that are kept."""

    START_DEPLOYMENT = "start-deployment"
    START_TRAINING = "start-training"
    START_LABELING = "start-labeling"
    NOTICE = "notice"
    ADVANCE = "advance"
    PAUSE = "pause"
    STOP = "stop"
    MOVE_CHAMPION = "move-champion"


@dataclass(frozen=True, slots=True)
class Want:
    """A run that should be there. claim: the claim that it is started under, once.

    alone_below: where it is set, the run starts only while no other run is at work under a claim below it.
    arguments: the pipeline's arguments, besides the use case.
    quiet_s, quiet_below: where they are set, the run starts only so many seconds after the latest change of any claim
    below one of `quiet_below`.
    """

    act: Act
    pipeline: str
    claim: str
    why: str
    arguments: Mapping[str, Any]
    alone_below: str = ""
    quiet_s: float = 0.0
    quiet_below: tuple[str, ...] = ()


class Topic(StrEnum):
    """What a notice is about."""

    GATE_FAILED = "gate-failed"
    WAITS_FOR_APPROVAL = "waits-for-approval"
    GAVE_UP = "gave-up"
    ROLLOUT_STOPPED = "rollout-stopped"
    ROLLOUT_PAUSED = "rollout-paused"
    SOFTWARE_STOPPED = "software-stopped"
    SOFTWARE_PAUSED = "software-paused"
    DRIFT = "drift"


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to people, sent once for its subject. values: what its sentences name, and the place of its link."""

    use_case: str
    language: str
    topic: Topic
    subject: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Following:
    """What follows from a view. waits: for each thing that does not follow, what it waits for, in words."""

    wants: tuple[Want, ...] = ()
    notices: tuple[Notice, ...] = ()
    waits: tuple[str, ...] = ()
    sees: tuple[str, ...] = ()
