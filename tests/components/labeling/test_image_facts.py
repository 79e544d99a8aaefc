"""What a verification asks the raw bucket: whether people can be shown an image, and which part it shows."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest

from components.labeling import verification_job
from components.labeling.image_facts import RawFacts
from components.labeling.project_config import APPROVE, DECISION
from components.labeling.task_data import VerificationData
from components.labeling.tasks import Annotation, Task
from components.labeling.waiting import Waiting
from components.stores.labels.store import LabelEvent, LabelStatus, LabelStore
from components.stores.raw_images.images import RawImage
from components.use_case import parse_use_case
from inspection.documents import Capture, Reason
from inspection.geometry import Box, LabelledBox

SHA = "ab" * 32
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def uri(extension):
    return f"s3://kizu-raw/plant/import-a/2026/11/22/{SHA}.{extension}"


class Raw:
    """A raw bucket with one image: the parts that were told for it, in that order, and whether it has a rendition."""

    def __init__(self, *parts, rendition=False):
        self._parts, self.rendition, self.asked = parts, rendition, []

    def has(self, key):
        self.asked.append(key)
        return self.rendition

    def image(self, keys):
        return RawImage(SHA, f"s3://kizu-raw/{keys[0]}", "import-a", NOON.date())

    def captures(self, image):
        for number, part in enumerate(self._parts):
            yield Capture(
                capture_id=str(number), sha256=SHA, device="import-a", camera="import", captured_at=NOON,
                reason=Reason.IMPORT, part_id=part,
            )  # fmt: skip


class Tenure:
    """A lease that is always held."""

    def renew(self):
        pass


class Server:
    """A Label Studio without labeling tasks; makes verification tasks, which somebody approves at once."""

    def __init__(self):
        self.made = []

    def ensure_project(self, use_case, role):
        return 1 if role == "labeling" else 2

    def mark(self, project):
        return str(len(self.made))

    def tasks(self, project):
        return list(self.made) if project == 2 else []

    def create_tasks(self, project, tasks, *, before_each):
        for task in tasks:
            result = ({"from_name": DECISION, "type": "choices", "value": {"choices": [APPROVE]}},)
            decision = Annotation("9", result, ("2",), False, NOON + timedelta(days=1))
            self.made.append(Task(len(self.made) + 1, task.data, (decision,), (), False))
        return len(tasks)


@pytest.fixture
def labels(tmp_path):
    return LabelStore(str(tmp_path / "events"), {})


def imported(extension="jpg"):
    return LabelEvent(
        event_id="1" * 64, use_case="tags", image_uri=uri(extension), sha256=SHA, width=100, height=100,
        boxes=(LabelledBox("scratch", Box(10.0, 20.0, 30.0, 40.0)),), status=LabelStatus.LABELLED, at=NOON, group="17",
        source="coco",
    )  # fmt: skip


def verify(labels, raw, server, rule="part"):
    use_case = parse_use_case(
        f"name: tags\nclasses: [scratch]\nlabeling: {{instructions: x}}\ngrouping: {{rule: {rule}}}\n"
        "gates: {min_map50: 0.5, max_escape_rate: 0.5, max_overkill_rate: 0.5}\n"
    )
    return verification_job.verify(
        use_case, server, labels, RawFacts(raw), None, lambda: nullcontext(Tenure()), Waiting(0.0)
    )


@pytest.mark.parametrize(("rule", "part"), [("part", "18"), ("image", "17")])
def test_an_approval_has_the_part_that_was_told_last(labels, rule, part):
    """The part was corrected after the task was made; the task still says the former one. Read again, it is known."""
    labels.append([imported()])
    server, raw = Server(), Raw("17", "18", None)
    for _ in range(3):
        verify(labels, raw, server, rule)
    assert VerificationData.from_data(server.made[0].data).group == "17"
    assert labels.latest_approved("tags")[SHA].group == part
    assert len(labels.events(use_case="tags")) == 2


def test_an_approval_keeps_its_part_where_nobody_told_one(labels):
    """Of an image without a Capture that names a part, the label says what is known."""
    labels.append([imported()])
    server = Server()
    for _ in range(2):
        verify(labels, Raw(None), server)
    assert labels.latest_approved("tags")[SHA].group == "17"


def test_an_imported_tiff_is_verified_by_its_rendition(labels, caplog):
    """Nobody gets a picture that no browser shows; once there is a rendition, the task shows it."""
    labels.append([imported("tif")])
    server, raw = Server(), Raw()
    verify(labels, raw, server)
    assert server.made == []
    assert "no browser shows a TIFF without a rendition" in caplog.text
    raw.rendition = True
    verify(labels, raw, server)
    (task,) = server.made
    assert task.data["image"] == f"s3://kizu-raw/renditions/{SHA}.png"
    assert VerificationData.from_data(task.data).image == uri("tif")
    verify(labels, raw, server)
    assert labels.latest_approved("tags")[SHA].image_uri == uri("tif")


def test_what_a_browser_shows_is_not_asked_for():
    """Only of a TIFF the bucket is asked, and once a rendition was found not again."""
    raw = Raw(rendition=True)
    facts = RawFacts(raw)
    assert [facts.can_be_shown(uri(kind), SHA) for kind in ("jpg", "png", "tif", "tif")] == [True] * 4
    assert raw.asked == [f"renditions/{SHA}.png"]
