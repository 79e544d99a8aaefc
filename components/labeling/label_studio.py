"""The adapter over label-studio-sdk: projects, their S3 storage, tasks and annotations as plain values.

Every call may be repeated. A POST whose answer was lost may leave a task twice; the jobs remove the second one. The SDK
retries faults of the server and of the network, with growing pauses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Self, TypeVar

from components.labeling.calls import RETRIES, TIMEOUT_S, Calls
from components.labeling.project_config import SHOWN_BOXES, Role
from components.labeling.projects import Projects, StorageKeys
from components.labeling.tasks import NewTask, Suggestion, Task, task_from_sdk
from components.settings import Settings
from components.use_case import UseCase
from components.webhooks.receiver import Webhook, webhook

_T = TypeVar("_T")

SOURCE: Final = "label-studio"
_PAGE: Final = 200
_IMPORT_BATCH: Final = 50


class LabelStudioServer:
    """One Label Studio, as one user. Close it, or use it as a context."""

    def __init__(
        self,
        url: str,
        token: str,
        storage: StorageKeys,
        *,
        retries: int = RETRIES,
        timeout_s: float = TIMEOUT_S,
        hints: Webhook | None = None,
    ) -> None:
        """retries, timeout_s: of each request. hints: the webhook of its projects; None: they get none from Kizu."""
        self._calls = Calls(url, token, retries=retries, timeout_s=timeout_s)
        self._storage = storage
        self._projects = Projects(self._calls, storage, hints)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Label Studio, its token and the storage identity from the settings.

        Raises:
            SettingsError: one of them is not set.
        """
        return cls(
            settings.required("label_studio_url"),
            settings.required("label_studio_api_key"),
            StorageKeys(
                endpoint=settings.s3_public_endpoint or settings.s3_endpoint,
                region=settings.s3_region,
                access_key_id=settings.required("label_studio_s3_access_key_id"),
                secret_access_key=settings.required("label_studio_s3_secret_access_key"),
                bucket=settings.bucket("raw"),
            ),
            hints=webhook(settings),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._calls.close()

    def ensure_project(self, use_case: UseCase, role: Role) -> int:
        """Make the project of a use case, or update it to match the use case file; returns its id.

        It is found by the marker in its description, so a renamed project stays the same one, else by its title. Call
        this under the lease, because Label Studio accepts two projects of one name.

        Raises:
            LabelStudioError: Label Studio refused it, for example because people's boxes still use a removed class.
        """
        return self._projects.ensure(use_case, role)

    def find_project(self, use_case: UseCase, role: Role) -> int | None:
        """The project's id, or None if it was not made yet. Changes nothing."""
        return self._projects.find(use_case, role)

    def tasks(self, project_id: int) -> list[Task]:
        """All tasks of a project, by id, with `s3://` URIs as they were given."""

        def read() -> list[Task]:
            pages = self._calls.sdk.tasks.list(
                project=project_id,
                fields="all",
                resolve_uri=False,
                page_size=_PAGE,
                query='{"ordering": ["tasks:id"]}',
            )
            # a task that is made or deleted while the pages are read may put another one onto two pages
            return sorted({int(task.id): task_from_sdk(task) for task in pages}.values(), key=lambda task: task.id)

        return self._calls.call("list tasks", read)

    def mark(self, project_id: int) -> str:
        """A text that changes with each task or annotation that is made, changed or removed in a project.

        One request for one row. Label Studio sets a task's `updated_at` with each change of its annotations. The counts
        are for a removal, and for a change that became visible after a later one.
        """

        def read() -> str:
            page = self._calls.sdk.tasks.list(
                project=project_id,
                fields="task_only",
                resolve_uri=False,
                page_size=1,
                query='{"ordering": ["-tasks:updated_at"]}',
            )
            latest = [f"{task.id} {task.updated_at}" for task in page.items or ()]
            return f"{page.response.total} {page.response.total_annotations} {latest}"

        return self._calls.call("ask for changes", read)

    def create_tasks(
        self, project_id: int, tasks: Sequence[NewTask], *, before_each: Callable[[], None] = lambda: None
    ) -> int:
        """Make tasks in batches, and call `before_each` before each batch. Returns how many were made."""
        made = 0
        for batch in _batches(tasks, _IMPORT_BATCH):
            before_each()
            body = [_new_task(task) for task in batch]
            answer = self._calls.call(
                f"import {len(body)} tasks",
                partial(self._calls.sdk.projects.import_tasks, id=project_id, request=body, return_task_ids=True),
            )
            made += len(answer.task_ids or body)
        return made

    def show_boxes(
        self,
        task: Task,
        regions: Sequence[Mapping[str, Any]],
        data: Mapping[str, Any],
        suggestion: Suggestion | None = None,
    ) -> None:
        """Replace a task's data, and the boxes that the next person sees.

        suggestion: the model's part in the boxes, which stays with the task. Earlier suggestions stay too.
        """
        if dict(data) != dict(task.data):
            self._calls.call("update a task", lambda: self._calls.sdk.tasks.update(id=str(task.id), data=dict(data)))
        for prediction in task.predictions:
            if prediction.version == SHOWN_BOXES:
                self._calls.gone_is_fine(
                    "delete a prediction", partial(self._calls.sdk.predictions.delete, id=prediction.id)
                )
        for body in _predictions(regions, suggestion):
            self._calls.call("show boxes", partial(self._calls.sdk.predictions.create, task=task.id, **body))

    def ask_for_annotations(self, task_id: int, annotations: int) -> None:
        """Have a task ask for so many annotations in all; no error where there is no such task."""
        self._calls.gone_is_fine(
            "ask for another annotation",
            lambda: self._calls.sdk.tasks.update(id=str(task_id), overlap=annotations, is_labeled=False),
        )

    def delete_task(self, task_id: int) -> None:
        """Remove a task; no error where there is none."""
        self._calls.gone_is_fine("delete a task", lambda: self._calls.sdk.tasks.delete(id=str(task_id)))

    def delete_annotation(self, annotation_id: str) -> None:
        """Remove an annotation, so that its task is open again; no error where there is none."""
        self._calls.gone_is_fine(
            "delete an annotation", lambda: self._calls.sdk.annotations.delete(id=int(annotation_id))
        )


def _new_task(task: NewTask) -> dict[str, Any]:
    body: dict[str, Any] = {"data": dict(task.data)}
    if task.regions is not None:
        body["predictions"] = _predictions(task.regions, task.suggestion)
    return body


def _predictions(regions: Sequence[Mapping[str, Any]], suggestion: Suggestion | None) -> list[dict[str, Any]]:
    """The model's boxes under the model's name, then the boxes that are shown: a task that has these has all."""
    shown: dict[str, Any] = {"model_version": SHOWN_BOXES, "result": [dict(region) for region in regions]}
    if suggestion is None:
        return [shown]
    score = {} if suggestion.score is None else {"score": suggestion.score}
    result = [dict(region) for region in suggestion.regions]
    return [{"model_version": suggestion.model, "result": result, **score}, shown | score]


def _batches(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
