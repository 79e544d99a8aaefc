"""`make demo START=good`: a line that begins with good parts alone, and what its device says about defects.

The first set has good parts only. Then parts pass the camera of which some have a defect of a kind that nobody
labelled. What the device decided about each of them is read from the Captures that it sent back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from components.generated_parts.other_defects import OTHER_DEFECTS
from components.generated_parts.photographs import LineGenerator
from components.stores.raw_images.images import RawImages
from components.use_case import UseCase
from demo.data import SEED, DemoData, Photograph
from demo.device import DEVICE
from demo.state import Demo
from inspection.documents import Capture
from inspection.geometry import LabelledBox, iou
from inspection.image import sha256_of
from inspection.verdict import Verdict

START: Final = "good"
USE_CASE: Final = "metal-tag-good-only"
FIRST_PARTS: Final = 30
GOAL_S: Final = 180.0
"""The first release should run on the device so soon after people have labelled."""
_GOOD_LATER: Final = 6
_EACH_KIND: Final = 3
_LATER: Final = 1000
_MIN_OVERLAP: Final = 0.05
"""The least IoU of a region and a defect that are taken for the same place: regions of a map are coarse."""


@dataclass(frozen=True, slots=True)
class Unseen:
    """A part that passes the camera. kind: of its defect, '' for a good part; boxes: where the defect is."""

    kind: str
    boxes: tuple[LabelledBox, ...]


@dataclass(frozen=True, slots=True)
class Marked:
    """What the device said about the parts of one kind. located: marked ones with a region at the defect."""

    kind: str
    parts: int
    failed: int
    uncertain: int
    located: int

    @property
    def marked(self) -> int:
        """The parts that were not passed."""
        return self.failed + self.uncertain


def policy(use_case: UseCase) -> UseCase:
    """The use case with every frame sent back, so that it can be said what the device decided about each."""
    sampling = use_case.sampling.model_copy(update={"control_rate": 1.0})
    return use_case.model_copy(update={"sampling": sampling})


def generated_good(parts: int = FIRST_PARTS) -> tuple[DemoData, Mapping[str, Unseen]]:
    """Good parts to learn from; then good parts and some of each kind of defect. sha256 -> what passes the camera."""
    good = LineGenerator(seed=SEED, defect_rate=0.0, photographs_per_part=1)
    first = tuple(Photograph(p.name, p.jpeg, p.part_id) for p in good.photographs(range(parts)))
    lines: list[tuple[str, LineGenerator, range]] = [("", good, range(_LATER, _LATER + _GOOD_LATER))]
    for number, defect in enumerate(OTHER_DEFECTS, start=1):
        line = LineGenerator(seed=SEED, defect_rate=1.0, photographs_per_part=1, other_defect=defect)
        lines.append((defect, line, range(_LATER + 100 * number, _LATER + 100 * number + _EACH_KIND)))
    later: list[Photograph] = []
    unseen: dict[str, Unseen] = {}
    for kind, line, numbers in lines:
        for photograph in line.photographs(numbers):
            later.append(Photograph(photograph.name, photograph.jpeg, photograph.part_id))
            unseen[sha256_of(photograph.jpeg)] = Unseen(kind, photograph.boxes)
    said = (
        f"generated: {parts} good parts to begin with, then {_GOOD_LATER} good parts and {_EACH_KIND} each with a "
        f"{', a '.join(OTHER_DEFECTS)}, of which nobody has labelled one"
    )
    truth: dict[str, Sequence[LabelledBox]] = {sha256_of(frame.data): () for frame in first}
    return DemoData(first, tuple(later), truth, 0, said), unseen


def marked(captures: Iterable[Capture], unseen: Mapping[str, Unseen]) -> list[Marked]:
    """What was said about each kind, in the order of `unseen`. A part of which no Capture came back is not counted."""
    said = {capture.sha256: capture for capture in captures if capture.sha256 in unseen and capture.verdict}
    found = []
    for kind in dict.fromkeys(part.kind for part in unseen.values()):
        of = [(said[sha256], part) for sha256, part in unseen.items() if part.kind == kind and sha256 in said]
        wrong = [(capture, part) for capture, part in of if capture.verdict is not Verdict.PASS]
        failed = sum(capture.verdict is Verdict.FAIL for capture, _ in wrong)
        located = sum(_is_at_the_defect(capture, part) for capture, part in wrong)
        found.append(Marked(kind, len(of), failed, len(wrong) - failed, located))
    return found


def _is_at_the_defect(capture: Capture, part: Unseen) -> bool:
    return any(iou(detection.box, box.box) >= _MIN_OVERLAP for detection in capture.detections for box in part.boxes)


def sentences(found: Sequence[Marked]) -> list[str]:
    """What the device said, for people."""
    lines = []
    for kind in found:
        if not kind.kind:
            lines.append(f"{kind.parts - kind.marked} of {kind.parts} good parts pass")
            continue
        lines.append(
            f"{kind.kind}: {kind.marked} of {kind.parts} are marked ({kind.failed} fail, {kind.uncertain} uncertain), "
            f"{kind.located} with a region at the defect"
        )
    return lines


def has_marked_a_defect(found: Iterable[Marked]) -> bool:
    """Whether a part with a defect of a kind that was never seen is marked, with a region where it is."""
    return any(kind.kind and kind.located for kind in found)


def came_back(demo: Demo) -> list[Capture]:
    """The Captures of the frames that the device has sent."""
    raw = RawImages(demo.store("importer"), "kizu-raw")
    return [capture for image in raw.list_images() if image.device == DEVICE for capture in raw.captures(image)]


def say_what_was_marked(demo: Demo) -> bool:
    """Say what the device decided about parts with defects that nobody labelled. Returns `has_marked_a_defect`."""
    found = marked(came_back(demo), generated_good()[1])
    for line in sentences(found):
        demo.say(line)
    good = has_marked_a_defect(found)
    if good:
        demo.say("[green]a defect of a kind that it never saw is marked, with a region where it is[/green]")
    else:
        demo.say("[bold red]no defect of a kind that it never saw is marked where it is[/bold red]")
    return good


def since_labelled(progress: Any, now: float) -> float:
    """Seconds since people had labelled, by the clock of the demo: the same where it was interrupted in between.

    progress: see `Progress.once`; now: seconds since 1970.
    """
    began = progress.once("labelled-at", lambda: now)
    return float(now - began)
