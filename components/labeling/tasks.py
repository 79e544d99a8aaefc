"""Tasks and annotations of Label Studio as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Annotation:
    """What one person submitted. people: the user id of who completed it, then of who changed it last."""

    id: str
    result: tuple[Any, ...]
    people: tuple[str, ...]
    was_cancelled: bool
    updated_at: datetime

    @property
    def completed_by(self) -> str | None:
        """The user who owns the annotation in Label Studio."""
        return self.people[0] if self.people else None


@dataclass(frozen=True, slots=True)
class Prediction:
    """Boxes that a person sees at first: those that Kizu shows, or a model's. version: Label Studio's model version."""

    id: int
    version: str
    result: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it is now. overlap: how many annotations Label Studio asks for; None if it does not say."""

    id: int
    data: Mapping[str, Any]
    annotations: tuple[Annotation, ...]
    predictions: tuple[Prediction, ...]
    has_draft: bool
    overlap: int | None = None

    @property
    def finished(self) -> Annotation | None:
        """The latest annotation of a person that was submitted; a cancelled (skipped) one never counts."""
        done = [a for a in self.annotations if not a.was_cancelled and a.people]
        return max(done, key=lambda a: (a.updated_at, int(a.id)), default=None)

    def predicted(self, version: str) -> Prediction | None:
        """The latest prediction of this version."""
        return max((p for p in self.predictions if p.version == version), key=lambda p: p.id, default=None)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What a model suggests for a task. It stays with the task. score: 0..1; None without a box."""

    model: str
    score: float | None
    regions: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to make. regions: what a person sees on opening it; suggestion: the model's part in them."""

    data: Mapping[str, Any]
    regions: Sequence[Mapping[str, Any]] | None = None
    suggestion: Suggestion | None = None


def task_from_sdk(task: Any) -> Task:
    """A task of label-studio-sdk as a plain value."""
    return Task(
        id=int(task.id),
        data=dict(task.data or {}),
        annotations=tuple(_annotation(_plain(annotation)) for annotation in task.annotations or ()),
        predictions=tuple(_prediction(_plain(prediction)) for prediction in task.predictions or ()),
        has_draft=bool(task.drafts),
        overlap=getattr(task, "overlap", None),
    )


def _prediction(value: Mapping[str, Any]) -> Prediction:
    return Prediction(int(value["id"]), str(value.get("model_version") or ""), tuple(value.get("result") or ()))


def _annotation(value: Mapping[str, Any]) -> Annotation:
    people = (_user_id(value.get("completed_by")), _user_id(value.get("updated_by")))
    return Annotation(
        id=str(value["id"]),
        result=tuple(value.get("result") or ()),
        people=tuple(dict.fromkeys(person for person in people if person is not None)),
        was_cancelled=bool(value.get("was_cancelled")),
        updated_at=_time(value["updated_at"]),
    )


def _user_id(value: Any) -> str | None:
    if isinstance(value, Mapping):
        value = value.get("id")
    return None if value is None else str(value)


def _time(value: Any) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment.astimezone(UTC)


def _plain(value: Any) -> Mapping[str, Any]:
    """A dict or a model of the SDK as a mapping: the SDK returns whichever of its types fits best."""
    return value if isinstance(value, Mapping) else value.model_dump()
