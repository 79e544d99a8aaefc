"""Why what a person submitted does not count."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from components.labeling.tasks import Annotation, Task


class Problem(StrEnum):
    """Why a drawing or a verification does not count."""

    SAME_PERSON = "same-person"
    NO_DECISION = "no-decision"
    CHANGED_TASK = "changed-task"
    CONTRADICTION = "contradiction"
    """The boxes are approved and changed, or the image has boxes and is said to be unusable."""
    OTHER_PICTURE = "other-picture"
    """The person saw a picture of another size, or had turned it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A drawing or a verification that does not count."""

    task: Task
    annotation: Annotation | None
    problem: Problem
