"""The demo that begins with good parts alone: its parts, and what it says about what the device marked."""

from datetime import UTC, datetime

import pytest

from components.dataset.split import split_of
from components.generated_parts.other_defects import OTHER_DEFECTS
from components.stores.datasets.manifest import SplitName
from demo.choices import demo_use_case
from demo.good_start import Marked, Unseen, generated_good, has_marked_a_defect, marked, sentences, since_labelled
from demo.progress import Progress
from demo.state import DemoOptions
from inspection.documents import Capture, Reason
from inspection.geometry import Box, Detection, LabelledBox
from inspection.image import sha256_of
from inspection.verdict import Verdict
from kizu.commands.servers import demo as demo_command
from kizu.context import CommandError

BOX = LabelledBox("stain", Box(10, 10, 20, 20))


def capture(number, verdict, *detections):
    return Capture(
        capture_id=f"c{number}", sha256=f"{number:064x}", device="line1", camera="front",
        captured_at=datetime(2026, 1, 1, tzinfo=UTC), reason=Reason.CONTROL, verdict=verdict,
        detections=tuple(Detection("anomaly", 0.5, box) for box in detections),
    )  # fmt: skip


def test_people_see_good_parts_only_and_the_camera_sees_defects_of_every_other_kind():
    """Thirty good parts first; no part that passes the camera is among them, and each kind of defect is there."""
    data, unseen = generated_good()
    assert len(data.first) == len({frame.part_id for frame in data.first}) == 30
    assert all(boxes == () for boxes in data.truth.values())
    assert {sha256_of(frame.data) for frame in data.device} == set(unseen)
    assert data.truth.keys().isdisjoint(unseen)
    assert {part.kind for part in unseen.values()} == {"", *OTHER_DEFECTS}
    assert all(bool(part.boxes) == bool(part.kind) for part in unseen.values())


def test_the_good_parts_fall_to_every_split():
    """A model of good parts needs five to learn from, and some in validation and test."""
    use_case, said = demo_use_case(DemoOptions(start="good"))
    splits = [split_of(frame.part_id, use_case.split) for frame in generated_good()[0].first]
    assert splits.count(SplitName.TRAIN) >= 10
    assert min(splits.count(SplitName.VAL), splits.count(SplitName.TEST)) >= use_case.split.min_test_parts
    assert use_case.name == "metal-tag-good-only"
    assert use_case.sampling.control_rate == 1.0
    assert "sends back every frame" in said[-1]


def test_a_defect_counts_as_marked_where_it_is():
    """An uncertain part with a region elsewhere is marked and not located; what did not come back is not counted."""
    unseen = {f"{n:064x}": Unseen("stain", (BOX,)) for n in range(4)} | {f"{9:064x}": Unseen("", ())}
    captures = [
        capture(0, Verdict.FAIL, Box(12, 12, 20, 20)),
        capture(1, Verdict.UNCERTAIN, Box(200, 200, 20, 20)),
        capture(2, Verdict.PASS, Box(12, 12, 20, 20)),
        capture(9, Verdict.PASS),
        capture(77, Verdict.FAIL, Box(0, 0, 5, 5)),
    ]
    stain, good = marked(captures, unseen)
    assert stain == Marked("stain", parts=3, failed=1, uncertain=1, located=1)
    assert (good.parts, good.marked) == (1, 0)
    assert has_marked_a_defect([stain, good])
    assert sentences([stain, good]) == [
        "stain: 2 of 3 are marked (1 fail, 1 uncertain), 1 with a region at the defect",
        "1 of 1 good parts pass",
    ]


def test_a_good_part_that_is_marked_is_no_defect_found():
    """Nor is a region beside the defect."""
    unseen = {f"{0:064x}": Unseen("stain", (BOX,)), f"{1:064x}": Unseen("", ())}
    captures = [capture(0, Verdict.FAIL, Box(100, 100, 9, 9)), capture(1, Verdict.FAIL, Box(1, 1, 5, 5))]
    assert not has_marked_a_defect(marked(captures, unseen))


def test_the_time_since_labeling_outlives_an_interruption(tmp_path):
    """The first moment is kept: a demo that was interrupted does not start its clock again."""
    file = tmp_path / "progress.json"
    assert since_labelled(Progress(file, "k"), 100.0) == 0.0
    assert since_labelled(Progress(file, "k"), 160.0) == 60.0


@pytest.mark.parametrize("others", [{"quick": True}, {"rounds": 3}, {"start": "bad"}])
def test_a_start_from_good_parts_has_parts_of_its_own(others):
    """It is one round with its own images; any other start is unknown."""
    options = {"people": "stand-in", "fresh": False, "stop": True, "rounds": 2, "start": "good", "quick": False}
    with pytest.raises(CommandError, match="expected --start good"):
        demo_command(**(options | {"data": None, "use_case": None} | others))
