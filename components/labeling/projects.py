"""Keeps the two Label Studio projects of a use case up to date: configuration, image bucket, webhook."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from components.labeling.calls import Calls
from components.labeling.errors import LabelStudioAway, LabelStudioError
from components.labeling.project_config import SHOWN_BOXES, ProjectSpec, Role, project_spec
from components.use_case import UseCase
from components.webhooks.receiver import SECRET_HEADER, Webhook

_log = logging.getLogger(__name__)

# only what is compared: each of the counts that come by default costs a query
_PROJECT_FIELDS: Final = (
    "id,title,description,label_config,expert_instruction,maximum_annotations,show_collab_predictions"
)
_PRESIGN_TTL_MIN: Final = 60
OF_CLASSES: Final = (
    "if a class has another name now, write labeling.former_classes: {OLD: NEW} into the use case file and run: "
    "kizu labels rename-class OLD NEW -u FILE"
)


@dataclass(frozen=True, slots=True)
class StorageKeys:
    """What Label Studio needs to presign URLs: the endpoint that browsers use, and an identity that may read images."""

    endpoint: str | None
    region: str
    access_key_id: str
    secret_access_key: str
    bucket: str

    @property
    def fingerprint(self) -> str:
        """A digest to compare, because Label Studio does not return the keys."""
        parts = (self.endpoint or "", self.region, self.access_key_id, self.secret_access_key, self.bucket)
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:12]


class Projects:
    """Makes and keeps projects; see `LabelStudioServer`."""

    def __init__(self, calls: Calls, storage: StorageKeys, hints: Webhook | None) -> None:
        self._calls = calls
        self._storage = storage
        self._hints = hints

    def ensure(self, use_case: UseCase, role: Role) -> int:
        """Make the project of a use case, or update it to match the use case file; returns its id.

        It is found by the marker in its description, so a renamed project stays the same one, else by its title. Call
        this under the lease, because Label Studio accepts two projects of one name.

        Raises:
            LabelStudioError: Label Studio refused it, for example because people's boxes still use a removed class.
        """
        spec = project_spec(use_case, role)
        found = self._find_project(spec)
        if found is None:
            project_id = self._create_project(spec)
        else:
            project_id = int(found.id)
            self._keep_in_step(found, spec)
        self._ensure_storage(project_id)
        self._ensure_hints(project_id)
        return project_id

    def find(self, use_case: UseCase, role: Role) -> int | None:
        """The project's id, or None if it was not made yet. Changes nothing."""
        found = self._find_project(project_spec(use_case, role))
        return None if found is None else int(found.id)

    def _find_project(self, spec: ProjectSpec) -> Any | None:
        projects = self._calls.call(
            "list projects", lambda: list(self._calls.sdk.projects.list(page_size=100, include=_PROJECT_FIELDS))
        )
        projects.sort(key=lambda project: int(project.id))
        marked = [project for project in projects if spec.marker in (project.description or "")]
        if len(marked) > 1:
            _log.warning("%d projects are marked as %s; the oldest, %d, is used", len(marked), spec.title, marked[0].id)
        titled = [project for project in projects if project.title == spec.title]
        return next(iter(marked or titled), None)

    def _create_project(self, spec: ProjectSpec) -> int:
        _log.info("making the Label Studio project %r", spec.title)
        project = self._calls.call(
            f"make the project {spec.title!r}",
            lambda: self._calls.sdk.projects.create(
                title=spec.title,
                description=spec.description,
                label_config=spec.label_config,
                expert_instruction=spec.instructions,
                show_instruction=True,
                show_skip_button=True,
                enable_empty_annotation=True,  # an image with nothing to mark is a valid answer
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
            try:
                self._calls.call(
                    f"update the project {project.title!r}",
                    lambda: self._calls.sdk.projects.update(id=project.id, **changes),
                )
            except LabelStudioAway:
                raise
            except LabelStudioError as e:
                if "label_config" not in changes:
                    raise
                raise LabelStudioError(f"{e}; {OF_CLASSES}") from e

    def _ensure_storage(self, project_id: int) -> None:
        keys = self._storage
        title = f"kizu raw images {keys.fingerprint}"
        mine = [
            storage
            for storage in self._calls.call(
                "list storages", lambda: self._calls.sdk.import_storage.s3.list(project=project_id)
            )
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
            self._calls.call(what, lambda: self._calls.sdk.import_storage.s3.update(id=mine[0].id, **fields))
        else:
            self._calls.call(what, lambda: self._calls.sdk.import_storage.s3.create(**fields))

    def _ensure_hints(self, project_id: int) -> None:
        """Keep one webhook of Kizu in the project, or none. Webhooks are hints: a refusal is no failure."""
        try:
            known = self._calls.call("list webhooks", lambda: self._calls.sdk.webhooks.list(project=project_id))
            # Kizu's webhooks are recognised by their header, because people may have set up others.
            mine = [hook for hook in known if hook.project == project_id and SECRET_HEADER in (hook.headers or {})]
            wanted = self._hints
            for hook in mine if wanted is None else mine[1:]:
                self._calls.gone_is_fine("remove a webhook", partial(self._calls.sdk.webhooks.delete, id=hook.id))
            if wanted is None:
                return
            fields: dict[str, Any] = {
                "url": wanted.url,
                "headers": {SECRET_HEADER: wanted.secret},
                "is_active": True,
                "send_payload": False,
                "send_for_all_actions": False,
                "actions": ["ANNOTATION_CREATED", "ANNOTATION_UPDATED"],
            }
            if not mine:
                self._calls.call(
                    "make a webhook", lambda: self._calls.sdk.webhooks.create(project=project_id, **fields)
                )
            elif (mine[0].url, mine[0].headers, mine[0].is_active) != (wanted.url, fields["headers"], True):
                self._calls.call("update a webhook", lambda: self._calls.sdk.webhooks.update(id=mine[0].id, **fields))
        except LabelStudioAway:
            raise
        except LabelStudioError as e:
            _log.warning("project %d sends no hints; runs poll it instead: %s", project_id, e)
