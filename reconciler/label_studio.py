"""The newest annotation of a product in Label Studio, in a few small requests. Changes nothing there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from components.settings import Settings
from reconciler.seeing import CannotSee
from reconciler.view import FinishedLabels

ROLES: Final = ("labeling", "verification")
_PAGE: Final = 100
_MOST_PAGES: Final = 50
_TIMEOUT_S: Final = 30.0


class LabelStudioAnnotations:
    """The port `reconciler.seeing.Annotations`.

    Label Studio sets a task's `updated_at` with each change of it or of its annotations. So tasks are read by that
    time, the latest first, until it is not after the newest annotation that was found. Most passes read one row only:
    the latest change is the one of the pass before.
    """

    def __init__(self, url: str, token: str, *, transport: httpx.BaseTransport | None = None) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._client = httpx.Client(
            base_url=self._url, timeout=_TIMEOUT_S, transport=transport, trust_env=False, follow_redirects=True
        )
        self._known: dict[int, tuple[str, datetime | None]] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> LabelStudioAnnotations | None:
        """Label Studio as the settings name it; None where they name none."""
        if not settings.label_studio_url or settings.label_studio_api_key is None:
            return None
        return cls(settings.label_studio_url, settings.label_studio_api_key.get_secret_value())

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def newest(self, use_case: str) -> FinishedLabels:
        """The newest annotation of the labeling and the verification project of a product.

        Raises:
            CannotSee: Label Studio does not answer, refuses, or answers something else.
        """
        try:
            found = [self._newest_of(project) for project in self._projects(use_case)]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as e:
            raise CannotSee(f"Label Studio at {self._url} did not answer as expected: {type(e).__name__}: {e}") from e
        return FinishedLabels(max((at for at in found if at is not None), default=None))

    def _projects(self, use_case: str) -> Iterator[int]:
        markers = [f"[kizu {role} of {use_case}]" for role in ROLES]
        titles = [f"{use_case}: {role}"[:50] for role in ROLES]
        projects = list(self._all_projects())
        for marker, title in zip(markers, titles, strict=True):
            marked = [project for project in projects if marker in (project.get("description") or "")]
            titled = [project for project in projects if project.get("title") == title]
            if marked or titled:
                yield int((marked or titled)[0]["id"])

    def _all_projects(self) -> Iterator[Mapping[str, Any]]:
        for page in range(1, _MOST_PAGES + 1):
            query = {"page": page, "page_size": _PAGE, "include": "id,title,description"}
            answer = self._get("/api/projects/", query)
            yield from sorted(answer["results"], key=lambda project: int(project["id"]))
            if not answer.get("next"):
                return

    def _newest_of(self, project: int) -> datetime | None:
        latest = self._tasks(project, "task_only", 1, 1)
        mark = f"{latest['total']} {latest['total_annotations']} {[task['updated_at'] for task in latest['tasks']]}"
        known = self._known.get(project)
        if known is not None and known[0] == mark:
            return known[1]
        newest = self._search(project) if latest["total_annotations"] else None
        self._known[project] = (mark, newest)
        return newest

    def _search(self, project: int) -> datetime | None:
        newest: datetime | None = None
        for page in range(1, _MOST_PAGES + 1):
            tasks = self._tasks(project, "all", _PAGE, page)["tasks"]
            for task in tasks:
                if newest is not None and _time(task["updated_at"]) <= newest:
                    return newest
                for annotation in task.get("annotations") or ():
                    at = _time(annotation["updated_at"])
                    newest = at if newest is None else max(newest, at)
            if len(tasks) < _PAGE:
                break
        return newest

    def _tasks(self, project: int, fields: str, size: int, page: int) -> Mapping[str, Any]:
        query = {
            "project": project, "fields": fields, "page_size": size, "page": page, "resolve_uri": "false",
            "query": json.dumps({"ordering": ["-tasks:updated_at"]}),
        }  # fmt: skip
        return self._get("/api/tasks/", query)

    def _get(self, path: str, query: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = self._client.get(path, params=dict(query), headers={"Authorization": self._authorization()})
        if answer.status_code in (401, 403):
            raise CannotSee(
                f"Label Studio at {self._url} refused this user ({answer.status_code}); check LABEL_STUDIO_API_KEY"
            )
        if answer.status_code == 404 and query.get("page", 1) != 1:  # its answer to a page after the last one
            return {"tasks": [], "results": [], "total": 0, "total_annotations": 0}
        answer.raise_for_status()
        value = answer.json()
        if not isinstance(value, Mapping):
            raise ValueError(f"expected an object from {path}, but got {type(value).__name__}")
        return value

    def _authorization(self) -> str:
        """A legacy token is sent as it is. A personal access token (a JWT) is exchanged for one of some minutes."""
        if self._token.count(".") != 2:
            return f"Token {self._token}"
        answer = self._client.post("/api/token/refresh/", json={"refresh": self._token})
        if answer.status_code in (401, 403):
            raise CannotSee(f"Label Studio at {self._url} refused LABEL_STUDIO_API_KEY ({answer.status_code})")
        answer.raise_for_status()
        return f"Bearer {answer.json()['access']}"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
