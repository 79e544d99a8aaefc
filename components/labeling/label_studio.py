"""The adapter over label-studio-sdk: projects, their S3 storage, tasks and annotations as plain values.

Polling is the truth, so every call here may be repeated; a POST whose answer was lost may leave a twin, which the
sweep of the jobs removes. Faults of the server and of the network are retried by the SDK with growing pauses.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

import httpx
from label_studio_sdk import LabelStudio
from label_studio_sdk.core.api_error import ApiError

from components.labeling.errors import LabelStudioAway, LabelStudioError
from components.labeling.project_config import SHOWN_BOXES, ProjectSpec, Role, project_spec
from components.labeling.tasks import NewTask, Suggestion, Task, task_from_sdk
from components.settings import Settings
from components.use_case import UseCase

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

SOURCE: Final = "label-studio"
_TIMEOUT_S: Final = 60.0
_RETRIES: Final = 4
_PAGE: Final = 200
_IMPORT_BATCH: Final = 50
# all that is compared; the counts that come by default cost a query each
_PROJECT_FIELDS: Final = (
    "id,title,description,label_config,expert_instruction,maximum_annotations,show_collab_predictions,model_version"
)
_PRESIGN_TTL_MIN: Final = 60


@dataclass(frozen=True, slots=True)
class StorageKeys:
    """With what Label Studio presigns: the endpoint that the browser uses, and an identity that may read raw."""

    endpoint: str | None
    region: str
    access_key_id: str
    secret_access_key: str
    bucket: str

    @property
    def fingerprint(self) -> str:
        """Changes when any of it changes; Label Studio does not give the keys back to compare."""
        parts = (self.endpoint or "", self.region, self.access_key_id, self.secret_access_key, self.bucket)
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:12]


class LabelStudioServer:
    """One Label Studio, as one user. Close it, or use it as a context."""

    def __init__(self, url: str, token: str, storage: StorageKeys, *, retries: int = _RETRIES) -> None:
        self.url = url.rstrip("/")
        self._storage = storage
        self._http = httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True)
        self._sdk: Any = LabelStudio(
            base_url=self.url, api_key=token, httpx_client=self._http, timeout=_TIMEOUT_S, max_retries=retries
        )

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
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def ensure_project(self, use_case: UseCase, role: Role) -> int:
        """The project of a use case, made where there is none and kept in step with the use case file; its id.

        Found by the marker in its description, so a renamed project stays the same one, else by its title. Call it
        under the lease: Label Studio does not keep two projects of one name apart.

        Raises:
            LabelStudioError: Label Studio refused it, for one because people's boxes still use a removed class.
        """
        spec = project_spec(use_case, role)
        found = self._find_project(spec)
        if found is None:
            project_id = self._create_project(spec)
        else:
            project_id = int(found.id)
            self._keep_in_step(found, spec)
        self._ensure_storage(project_id)
        return project_id

    def find_project(self, use_case: UseCase, role: Role) -> int | None:
        """The project's id, or None where it was not made yet. Changes nothing."""
        found = self._find_project(project_spec(use_case, role))
        return None if found is None else int(found.id)

    def tasks(self, project_id: int) -> list[Task]:
        """All tasks of a project, by id, with `s3://` URIs as they were given."""

        def read() -> list[Task]:
            pages = self._sdk.tasks.list(
                project=project_id,
                fields="all",
                resolve_uri=False,
                page_size=_PAGE,
                query='{"ordering": ["tasks:id"]}',
            )
            # a task made or deleted while the pages are read may shift one onto two of them
            return sorted({int(task.id): task_from_sdk(task) for task in pages}.values(), key=lambda task: task.id)

        return self._call("list tasks", read)

    def create_tasks(
        self, project_id: int, tasks: Sequence[NewTask], *, before_each: Callable[[], None] = lambda: None
    ) -> int:
        """Make tasks in batches; `before_each` may stop it between two. Returns how many were made."""
        made = 0
        for batch in _batches(tasks, _IMPORT_BATCH):
            before_each()
            body = [_new_task(task) for task in batch]
            answer = self._call(
                f"import {len(body)} tasks",
                lambda body=body: self._sdk.projects.import_tasks(id=project_id, request=body, return_task_ids=True),  # type: ignore[misc]
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
        """Change what a task says and put boxes before the next person, in place of those shown so far.

        suggestion: the model's part in it, kept beside them. What a model suggested earlier stays.
        """
        if dict(data) != dict(task.data):
            self._call("update a task", lambda: self._sdk.tasks.update(id=str(task.id), data=dict(data)))
        for prediction in task.predictions:
            if prediction.version == SHOWN_BOXES:
                self._gone_is_fine("delete a prediction", lambda p=prediction: self._sdk.predictions.delete(id=p.id))  # type: ignore[misc]
        for body in _predictions(regions, suggestion):
            self._call("show boxes", lambda body=body: self._sdk.predictions.create(task=task.id, **body))  # type: ignore[misc]

    def ask_for_annotations(self, task_id: int, annotations: int) -> None:
        """Have a task ask for so many annotations in all; no error where there is no such task."""
        self._gone_is_fine(
            "ask for another annotation",
            lambda: self._sdk.tasks.update(id=str(task_id), overlap=annotations, is_labeled=False),
        )

    def delete_task(self, task_id: int) -> None:
        """Remove a task; no error where there is none."""
        self._gone_is_fine("delete a task", lambda: self._sdk.tasks.delete(id=str(task_id)))

    def delete_annotation(self, annotation_id: str) -> None:
        """Remove an annotation, so that its task is open again; no error where there is none."""
        self._gone_is_fine("delete an annotation", lambda: self._sdk.annotations.delete(id=int(annotation_id)))

    def _find_project(self, spec: ProjectSpec) -> Any | None:
        projects = self._call(
            "list projects", lambda: list(self._sdk.projects.list(page_size=100, include=_PROJECT_FIELDS))
        )
        projects.sort(key=lambda project: int(project.id))
        marked = [project for project in projects if spec.marker in (project.description or "")]
        if len(marked) > 1:
            _log.warning("%d projects are marked as %s; the oldest, %d, is used", len(marked), spec.title, marked[0].id)
        titled = [project for project in projects if project.title == spec.title]
        return next(iter(marked or titled), None)

    def _create_project(self, spec: ProjectSpec) -> int:
        _log.info("making the Label Studio project %r", spec.title)
        project = self._call(
            f"make the project {spec.title!r}",
            lambda: self._sdk.projects.create(
                title=spec.title,
                description=spec.description,
                label_config=spec.label_config,
                expert_instruction=spec.instructions,
                show_instruction=True,
                show_skip_button=True,
                enable_empty_annotation=True,  # nothing to mark is an answer
                maximum_annotations=spec.annotations,
                show_collab_predictions=True,
                model_version=SHOWN_BOXES,
            ),
        )
        return int(project.id)

    def _keep_in_step(self, project: Any, spec: ProjectSpec) -> None:
        changes: dict[str, Any] = {}
        if project.label_config != spec.label_config:
            changes["label_config"] = spec.label_config
        if project.expert_instruction != spec.instructions:
            changes["expert_instruction"] = spec.instructions
        if spec.marker not in (project.description or ""):
            changes["description"] = spec.description
        if project.maximum_annotations != spec.annotations:
            changes["maximum_annotations"] = spec.annotations
        if project.show_collab_predictions is False:
            changes["show_collab_predictions"] = True
        if changes:
            _log.info("bringing the Label Studio project %r in step: %s", project.title, ", ".join(sorted(changes)))
            self._call(
                f"update the project {project.title!r}", lambda: self._sdk.projects.update(id=project.id, **changes)
            )

    def _ensure_storage(self, project_id: int) -> None:
        keys = self._storage
        title = f"kizu raw images {keys.fingerprint}"
        mine = [
            storage
            for storage in self._call("list storages", lambda: self._sdk.import_storage.s3.list(project=project_id))
            if storage.bucket == keys.bucket
        ]
        if any(storage.title == title for storage in mine):
            return
        fields: dict[str, Any] = {
            "project": project_id,
            "title": title,
            "bucket": keys.bucket,
            "aws_access_key_id": keys.access_key_id,
            "aws_secret_access_key": keys.secret_access_key,
            "region_name": keys.region,
            "s3endpoint": keys.endpoint,
            "presign": True,
            "presign_ttl": _PRESIGN_TTL_MIN,
            "use_blob_urls": True,
        }
        what = f"connect the bucket {keys.bucket} at {keys.endpoint or 'the default endpoint'}"
        if mine:
            self._call(what, lambda: self._sdk.import_storage.s3.update(id=mine[0].id, **fields))
        else:
            self._call(what, lambda: self._sdk.import_storage.s3.create(**fields))

    def _gone_is_fine(self, act: str, call: Callable[[], object]) -> None:
        try:
            call()
        except ApiError as e:
            if e.status_code != 404:
                raise self._error(e, act) from e
        except httpx.HTTPError as e:
            raise self._away(e, act) from e

    def _call(self, act: str, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except ApiError as e:
            raise self._error(e, act) from e
        except httpx.HTTPError as e:
            raise self._away(e, act) from e

    def _away(self, error: Exception, act: str) -> LabelStudioAway:
        return LabelStudioAway(
            f"Label Studio at {self.url} did not answer ({act}: {type(error).__name__}: {error}); "
            "is it running? Start it and run this again: nothing is lost"
        )

    def _error(self, error: ApiError, act: str) -> LabelStudioError:
        status = error.status_code
        said = _said(error.body)
        if status is not None and (status >= 500 or status == 429):
            return LabelStudioAway(f"Label Studio at {self.url} answered {status} ({act}): {said}; run this again")
        if status in (401, 403):
            return LabelStudioError(
                f"Label Studio at {self.url} refused this user ({act}, {status}): {said}; check LABEL_STUDIO_API_KEY "
                "and, for a private S3 endpoint, the server's SSRF protection"
            )
        return LabelStudioError(f"Label Studio at {self.url} refused to {act} ({status}): {said}")


def _new_task(task: NewTask) -> dict[str, Any]:
    body: dict[str, Any] = {"data": dict(task.data)}
    if task.regions is not None:
        body["predictions"] = _predictions(task.regions, task.suggestion)
    return body


def _predictions(regions: Sequence[Mapping[str, Any]], suggestion: Suggestion | None) -> list[dict[str, Any]]:
    """What is shown, last, so that a task that has it has all; before it what a model said, under the model's name."""
    shown: dict[str, Any] = {"model_version": SHOWN_BOXES, "result": [dict(region) for region in regions]}
    if suggestion is None:
        return [shown]
    score = {} if suggestion.score is None else {"score": suggestion.score}
    result = [dict(region) for region in suggestion.regions]
    return [{"model_version": suggestion.model, "result": result, **score}, shown | score]


def _said(body: Any) -> str:
    if isinstance(body, Mapping):
        body = body.get("validation_errors") or body.get("detail") or body
    return str(body)[:500]


def _batches(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
