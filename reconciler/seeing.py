"""Makes the view of a product from ports. A part that cannot be read says why, and holds up only what needs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from reconciler.training_due import TrainingFacts
from reconciler.view import FinishedLabels, Part, ProductPolicy, ProductView, SeenDesired, SeenRun, SeenVersion

_T = TypeVar("_T")


class CannotSee(RuntimeError):
    """A server did not answer, or answered nothing that can be read. The message is the end of a sentence."""


class Models(Protocol):
    """What MLflow knows of a product. Each method raises CannotSee."""

    def approved(self, model: str) -> tuple[SeenVersion, ...]:
        """The approved versions, newest first; at least the newest twenty."""

    def pending(self, model: str) -> SeenVersion | None:
        """The newest version that passed its gate and waits for approval."""

    def last_run(self, model: str) -> SeenRun | None:
        """The newest finished training run."""


class DesiredStates(Protocol):
    """What is desired of a product's group. Raises CannotSee."""

    def desired(self, use_case: str, group: str) -> SeenDesired | None:
        """What the group should run; None where nothing was published."""


class Labels(Protocol):
    """The label store, as a training sees it. Raises CannotSee."""

    def facts(self, use_case: str, last_run: str) -> TrainingFacts | None:
        """The facts by which a training is due; None where there is no label. last_run: the newest finished run."""


class Annotations(Protocol):
    """What people did in Label Studio. Raises CannotSee."""

    def newest(self, use_case: str) -> FinishedLabels:
        """The newest annotation of a product's projects."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a view comes from. annotations: None where Label Studio is not set."""

    models: Models
    desired: DesiredStates
    labels: Labels
    annotations: Annotations | None


def see(policy: ProductPolicy, sources: Sources) -> ProductView:
    """Look at everything that concerns a product."""
    unread: dict[Part, str] = {}

    def read(part: Part, call: Callable[[], _T]) -> _T | None:
        if part in unread:
            return None
        try:
            return call()
        except CannotSee as e:
            unread[part] = str(e)
            return None

    name = policy.name
    approved = read(Part.MODELS, lambda: sources.models.approved(name))
    pending = read(Part.MODELS, lambda: sources.models.pending(name))
    last_run = read(Part.MODELS, lambda: sources.models.last_run(name))
    desired = read(Part.DESIRED, lambda: sources.desired.desired(name, policy.group))
    if Part.MODELS in unread:  # the facts name the last training
        unread[Part.LABELS] = unread[Part.MODELS]
    labels = read(Part.LABELS, lambda: sources.labels.facts(name, last_run.run_id if last_run else ""))
    annotations, finished = sources.annotations, None
    if annotations is None:
        unread[Part.LABEL_STUDIO] = "LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY are not set"
    else:
        finished = read(Part.LABEL_STUDIO, lambda: annotations.newest(name))
    return ProductView(
        policy=policy,
        approved=approved or (),
        pending=pending,
        last_run=last_run,
        desired=desired,
        labels=labels,
        finished=finished,
        unread=unread,
    )
