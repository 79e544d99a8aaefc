"""A use case of its own for each test, on the real Label Studio and SeaweedFS."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from components.labeling import labeling_job, unlabelled, verification_job
from components.labeling.conversion import to_regions
from components.labeling.image_facts import RawFacts
from components.labeling.label_studio import LabelStudioServer
from components.labeling.project_config import APPROVE, DECISION, IMAGE, REASON, REJECT
from components.labeling.refusals import Refusals
from components.labeling.unlabelled import Batch
from components.labeling.waiting import Waiting
from components.settings import Settings
from components.stores.labels.store import LabelEvent, LabelStore
from components.stores.objects.leases import LeaseRules, hold
from components.stores.objects.s3 import S3ObjectStore
from components.stores.raw_images.images import RawImages, capture_id_for
from components.use_case import UseCase, parse_use_case
from demo.accounts import ensure_people
from inspection.documents import Capture, Reason
from inspection.geometry import Box, LabelledBox
from inspection.image import sha256_of
from tests.deploy.stack_fixture import Servers

WIDTH, HEIGHT = 200, 100


def photograph(seed: int) -> bytes:
    """A small PNG that is another one for another seed."""
    pixels = np.random.default_rng(seed).integers(0, 255, (HEIGHT // 10, WIDTH // 10, 3), dtype=np.uint8)
    return cv2.imencode(".png", cv2.resize(pixels, (WIDTH, HEIGHT)))[1].tobytes()


@dataclass
class Person:
    """A user of Label Studio, with hands for the cases that the stand-ins do not do."""

    http: httpx.Client
    user_id: str

    def tasks(self, project: int) -> list[dict[str, Any]]:
        answer = self.http.get(
            "/api/tasks/", params={"project": project, "fields": "all", "resolve_uri": "false", "page_size": 500}
        )
        return answer.raise_for_status().json()["tasks"]

    def submit(self, task: int, result: list[dict[str, Any]], **more: Any) -> int:
        answer = self.http.post(f"/api/tasks/{task}/annotations/", json={"result": result, **more})
        return answer.raise_for_status().json()["id"]

    def draw(self, task: int, boxes: list[LabelledBox], **more: Any) -> int:
        return self.submit(task, to_regions(boxes, WIDTH, HEIGHT), **more)

    def redraw(self, annotation: int, boxes: list[LabelledBox]) -> None:
        body = {"result": to_regions(boxes, WIDTH, HEIGHT)}
        self.http.patch(f"/api/annotations/{annotation}/", json=body).raise_for_status()

    def decide(self, task: int, decision: str, reason: str = "") -> int:
        return self.submit(task, decision_result(decision, reason))

    def decide_again(self, annotation: int, decision: str, reason: str = "") -> None:
        body = {"result": decision_result(decision, reason)}
        self.http.patch(f"/api/annotations/{annotation}/", json=body).raise_for_status()

    def delete(self, path: str) -> None:
        self.http.delete(path).raise_for_status()


def decision_result(decision: str, reason: str) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = [
        {"from_name": DECISION, "to_name": IMAGE, "type": "choices", "value": {"choices": [decision]}}
    ]
    if reason:
        result.append({"from_name": REASON, "to_name": IMAGE, "type": "textarea", "value": {"text": [reason]}})
    return result


@dataclass
class World:
    """One use case and its people. Images of other tests lie in the same bucket, so batches are cut to one's own."""

    stack: Servers
    use_case: UseCase
    settings: Settings
    importer: S3ObjectStore
    labeler: Person
    verifier: Person
    url: str
    tokens: tuple[str, str]
    rules: LeaseRules = field(default_factory=LeaseRules)
    truth: dict[str, list[LabelledBox]] = field(default_factory=dict)

    @property
    def store(self) -> S3ObjectStore:
        return S3ObjectStore.from_settings(self.settings)

    @property
    def labels(self) -> LabelStore:
        return LabelStore.open(self.settings)

    @property
    def raw(self) -> RawImages:
        return RawImages(self.store, self.settings.bucket("raw"))

    def put_images(self, count: int, *, first_day: datetime | None = None, parts: int | None = None) -> list[str]:
        raw = RawImages(self.importer, self.settings.bucket("raw"))
        made = []
        for index in range(count):
            data = photograph(uuid.uuid4().int % 2**63)
            sha256 = sha256_of(data)
            at = (first_day or datetime.now(UTC)) + timedelta(days=index if first_day else 0)
            capture = Capture(
                capture_id=capture_id_for(sha256, "initial", at),
                sha256=sha256,
                device="import-tests",
                camera="none",
                captured_at=at,
                reason=Reason.INITIAL,
                part_id=f"part-{index % parts}" if parts else None,
            )
            raw.put(data, capture, site="tests")
            self.truth[sha256] = [LabelledBox("scratch", Box(10.0 + index, 20.0, 30.5, 40.25))] * (index % 3 != 2)
            made.append(sha256)
        return made

    def find(self) -> Batch:
        roomy = self.use_case.model_copy(
            update={"labeling": self.use_case.labeling.model_copy(update={"max_images_per_job": 10_000})}
        )
        batch = unlabelled.find_unlabelled(roomy, self.raw, self.labels)
        own = tuple(image for image in batch.images if image.sha256 in self.truth)
        return Batch(use_case=batch.use_case, images=own, set_aside=batch.set_aside)

    def server(self) -> LabelStudioServer:
        return LabelStudioServer.from_settings(self.settings)

    def label(self, batch: Batch | None = None) -> labeling_job.LabelingResult:
        with self.server() as server:
            return labeling_job.label(self.use_case, batch or self.find(), server, self.labels, self.lease)

    def verify(self, wait_s: float = 0.0) -> verification_job.VerificationResult:
        refusals = self.refusals
        with self.server() as server:
            return verification_job.verify(
                self.use_case, server, self.labels, RawFacts(self.raw), refusals, self.lease, Waiting(wait_s, 0.1)
            )

    def lease(self) -> Any:
        return hold(self.store, self.settings.bucket("state"), "labeling", self.use_case.name, self.rules)

    @property
    def refusals(self) -> Refusals:
        return Refusals(self.store, self.settings.bucket("state"))

    def project(self, role: Any) -> int:
        with self.server() as server:
            found = server.find_project(self.use_case, role)
        assert found is not None
        return found

    def labeling_tasks(self) -> list[dict[str, Any]]:
        return self.labeler.tasks(self.project("labeling"))

    def verification_tasks(self) -> list[dict[str, Any]]:
        return self.verifier.tasks(self.project("verification"))

    def label_everything(self, boxes: list[LabelledBox] | None = None) -> None:
        for task in self.labeling_tasks():
            if not task["annotations"]:
                self.labeler.draw(task["id"], self.truth[task["data"]["sha256"]] if boxes is None else boxes)

    def approve_everything(self) -> None:
        for task in self.verification_tasks():
            if not task["annotations"]:
                self.verifier.decide(task["id"], APPROVE)

    def reject_everything(self, reason: str = "a mark has no box") -> None:
        for task in self.verification_tasks():
            if not task["annotations"]:
                self.verifier.decide(task["id"], REJECT, reason)

    def events(self, status: str | None = None) -> list[LabelEvent]:
        found = self.labels.events(use_case=self.use_case.name)
        return [event for event in found if status is None or event.status == status]

    def rows(self) -> set[tuple[Any, ...]]:
        """What must be the same however a run was cut off."""
        return {
            (event.sha256, str(event.status), tuple(event.boxes), event.annotator, event.verifier)
            for event in self.events()
        }


def new_world(stack: Servers, name: str) -> World:
    """Wire a use case to the stack's servers, each party with its own identity."""
    use_case = parse_use_case(
        f"name: {name}\nclasses: [scratch, dent]\nlabeling: {{instructions: Mark every scratch.}}\n"
        "gates: {min_map50: 0.5, max_escape_rate: 0.5, max_overkill_rate: 0.5}\n"
    )
    labeling = stack.settings("labeling")
    url = labeling.required("label_studio_url")
    tokens = tuple(account.token for account in ensure_people(stack.layout))
    return World(
        stack=stack,
        use_case=use_case,
        settings=labeling,
        importer=stack.store("importer"),
        labeler=person(url, tokens[0]),
        verifier=person(url, tokens[1]),
        url=url,
        tokens=tokens,
    )


def person(url: str, token: str) -> Person:
    """A user of Label Studio by token."""
    http = httpx.Client(base_url=url, headers={"Authorization": f"Token {token}"}, timeout=30)
    return Person(http, str(http.get("/api/current-user/whoami").raise_for_status().json()["id"]))


@pytest.fixture
def world(stack: Servers) -> Iterator[World]:
    """A use case with a name of its own, its images still to be put."""
    made = new_world(stack, f"t-{uuid.uuid4().hex[:10]}")
    yield made
    made.labeler.http.close()
    made.verifier.http.close()
