"""Stand-ins for the people of the labeling team. The demo says that it uses them.

Two programs work through Label Studio's HTTP API, each with its own account. Each knows only its own token and the true
boxes of images by sha256. It sees only what Label Studio would show a person.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Container, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import httpx

from components.labeling.conversion import IMAGE, from_regions, to_regions
from components.labeling.project_config import DECISION, REASON
from components.labeling.texts import APPROVE, REJECT
from inspection.geometry import LabelledBox, iou

_log = logging.getLogger(__name__)

Truth = Mapping[str, Sequence[LabelledBox]]

MATCHING_IOU: Final = 0.5
PAUSE_S: Final = 1.0
"""How long a stand-in that has nothing to do waits before it asks for tasks again."""
_PROJECTS_FOR_S: Final = 10.0
"""How long a stand-in works in the projects that it found. Label Studio takes longer to list projects than tasks."""
_TIMEOUT_S: Final = 30.0
_PAGE: Final = 200
# Label Studio needs milliseconds for each task that it lists, so finished tasks are not listed.
_OPEN: Final = json.dumps(
    {
        "filters": {
            "conjunction": "and",
            "items": [
                {"filter": "filter:tasks:total_annotations", "operator": "equal", "type": "Number", "value": 0},
            ],
        }
    }
)


class PeopleError(RuntimeError):
    """Label Studio refused a request of a stand-in."""


class _Person:
    """Works in a thread until it is stopped. If the server does not answer, it waits and tries again."""

    role = ""

    def __init__(
        self,
        base_url: str,
        token: str,
        truth: Truth,
        *,
        use_case: str | None = None,
        pause_s: float = PAUSE_S,
        finished: Callable[[], None] = lambda: None,
    ) -> None:
        """use_case: work only in the project of this use case; None: in the projects of all use cases.

        finished: called when nothing is left to do after there was something.
        """
        self._http = httpx.Client(
            base_url=base_url.rstrip("/"),
            headers={"Authorization": f"Token {token}"},
            timeout=_TIMEOUT_S,
            trust_env=False,  # Label Studio is on this machine: no proxy
        )
        self._use_case = use_case
        self._truth = truth
        self._pause_s = pause_s
        self._finished = finished
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._found: list[int] = []
        self._found_at = 0.0
        self.done = 0
        self.unknown_open = 0

    def start(self) -> Self:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name=f"stand-in {self.role}", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop after the present task."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * _TIMEOUT_S)
        self._http.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def work_once(self) -> int:
        """Do all open tasks whose image is known, and return their number. `unknown_open` counts the others.

        Raises:
            PeopleError: Label Studio refused a request.
        """
        worked = unknown = 0
        for project in self._projects():
            for task in self._open_tasks(project):
                if self._stop.is_set():
                    return worked
                if any(not annotation["was_cancelled"] for annotation in task["annotations"]):
                    continue
                truth = self._truth.get(str(task["data"].get("sha256")))
                if truth is None:
                    unknown += 1
                    continue
                result = self._work(task, truth)
                if result is not None:
                    worked += self._submit(int(task["id"]), result)
        self.unknown_open = unknown
        self.done += worked
        return worked

    def _work(self, task: Mapping[str, Any], truth: Sequence[LabelledBox]) -> list[dict[str, Any]] | None:
        """Return what this person submits for a task; None to look at the task again later."""
        raise NotImplementedError

    def _run(self) -> None:
        worked_before = 0
        while not self._stop.is_set():
            try:
                worked = self.work_once()
            except (PeopleError, httpx.HTTPError) as e:
                _log.warning("the stand-in %s waits for Label Studio: %s", self.role, e)
                worked = 0
            if not worked:
                if worked_before:
                    self._finished()
                self._stop.wait(self._pause_s)
            worked_before = worked

    def _projects(self) -> list[int]:
        if not self._found or time.monotonic() - self._found_at > _PROJECTS_FOR_S:
            found = self._get("/api/projects/", page_size=1000, include="id,title")["results"]
            self._found = [int(project["id"]) for project in found if self._is_ours(str(project["title"]))]
            self._found_at = time.monotonic()
        return self._found

    def _is_ours(self, title: str) -> bool:
        if self._use_case is not None:
            return title == f"{self._use_case}: {self.role}"
        return title.endswith(f": {self.role}")

    def _open_tasks(self, project: int) -> list[dict[str, Any]]:
        tasks: list[dict[str, Any]] = []
        page = 1
        while True:
            answer = self._get(
                "/api/tasks/",
                project=project,
                query=_OPEN,
                fields="all",
                resolve_uri="false",
                page=page,
                page_size=_PAGE,
            )
            tasks += answer["tasks"]
            if len(tasks) >= int(answer["total"]) or not answer["tasks"]:
                return tasks
            page += 1

    def _submit(self, task: int, result: list[dict[str, Any]]) -> int:
        answer = self._http.post(f"/api/tasks/{task}/annotations/", json={"result": result, "lead_time": 1.0})
        if answer.status_code == 404:
            return 0  # the task was removed after it was listed
        self._check(answer)
        return 1

    def _get(self, path: str, **params: str | int) -> dict[str, Any]:
        answer = self._http.get(path, params=params)
        self._check(answer)
        body: dict[str, Any] = answer.json()
        return body

    def _check(self, answer: httpx.Response) -> None:
        if answer.is_error:
            raise PeopleError(f"{answer.request.url.path} answered {answer.status_code}: {answer.text[:200]}")


class Labeler(_Person):
    """Draws the true boxes. On its first try it leaves a box out of some images (share `forgets`, chosen by seed).

    careless_with: the images, by sha256, with which that may happen; None: all.
    """

    role = "labeling"

    def __init__(
        self,
        base_url: str,
        token: str,
        truth: Truth,
        *,
        seed: int = 0,
        forgets: float = 0.03,
        careless_with: Container[str] | None = None,
        use_case: str | None = None,
        pause_s: float = PAUSE_S,
        finished: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(base_url, token, truth, use_case=use_case, pause_s=pause_s, finished=finished)
        self._seed = seed
        self._forgets = forgets
        self._careless_with = careless_with

    def _work(self, task: Mapping[str, Any], truth: Sequence[LabelledBox]) -> list[dict[str, Any]]:
        data = task["data"]
        boxes = list(truth)
        chance = random.Random(f"{self._seed}|{data['sha256']}")  # noqa: S311 # repeatable, nothing secret
        careless = self._careless_with is None or data["sha256"] in self._careless_with
        if careless and boxes and not data.get("note") and chance.random() < self._forgets:
            del boxes[chance.randrange(len(boxes))]
        return to_regions(boxes, data["width"], data["height"])


class Verifier(_Person):
    """Approves boxes that match the true boxes: the same number of each class, each with IoU >= 0.5."""

    role = "verification"

    def _work(self, task: Mapping[str, Any], truth: Sequence[LabelledBox]) -> list[dict[str, Any]] | None:
        data = task["data"]
        shown = [region for prediction in task["predictions"][:1] for region in prediction["result"]]
        if len(shown) < len(data["boxes"]):
            return None  # Label Studio lists a new imported task a moment before its boxes
        classes = sorted({str(name) for region in shown for name in region["value"].get("rectanglelabels", ())})
        seen = from_regions(shown, classes, data["width"], data["height"]).boxes
        complaint = complaint_about(seen, truth)
        result: list[dict[str, Any]] = [_choice(REJECT if complaint else APPROVE)]
        if complaint:
            result.append({"from_name": REASON, "to_name": IMAGE, "type": "textarea", "value": {"text": [complaint]}})
        return result


def complaint_about(seen: Sequence[LabelledBox], truth: Sequence[LabelledBox]) -> str | None:
    """Return what is wrong with the boxes, or None. Each true box is paired with the best free box of its class."""
    left = list(seen)
    missing = 0
    for true in truth:
        matches = [
            (iou(box.box, true.box), index) for index, box in enumerate(left) if box.class_name == true.class_name
        ]
        overlap, index = max(matches, default=(0.0, -1))
        if overlap < MATCHING_IOU:
            missing += 1
        else:
            del left[index]
    said = []
    if missing:
        said.append(f"{missing} of {len(truth)} marks have no box")
    if left:
        said.append(f"{len(left)} boxes too many or misplaced")
    return "; ".join(said) or None


def _choice(decision: str) -> dict[str, Any]:
    return {"from_name": DECISION, "to_name": IMAGE, "type": "choices", "value": {"choices": [decision]}}
