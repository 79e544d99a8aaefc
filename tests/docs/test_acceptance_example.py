"""The worked example of "Say what fails" is judged as the page says, with the rules that it shows."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from components.use_case import parse_use_case
from edge_agent.camera_config import FolderCamera
from edge_agent.config import AcceptanceTighten, PartCameras
from inspection.acceptance import RuleState, judge, severity_of
from inspection.geometry import Box, Detection
from inspection.verdict import ClassThreshold

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "say-what-fails.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
BASE = {
    "name": "housing", "classes": ["scratch", "dent"], "labeling": {"instructions": "Draw a box."},
    "gates": {"min_map50": 0.5, "max_escape_rate": 0.1, "max_overkill_rate": 0.2},
}  # fmt: skip
THRESHOLDS = {name: ClassThreshold(0.5, 0.25) for name in ("scratch", "dent")}


def detections(text: str) -> list[Detection]:
    found = re.findall(r"(\w+) ([\d.]+) at (\d+), (\d+), (\d+) x (\d+)", text)
    return [Detection(name, float(score), Box(*map(float, box))) for name, score, *box in found]


def test_each_picture_of_the_example_has_its_verdict():
    """Eight pictures: verdict, severity, and the rule that decided."""
    acceptance = parse_use_case(yaml.safe_dump(BASE | BLOCKS[0])).acceptance
    rules, view = acceptance.to_acceptance(), acceptance.view_of("plant1/line7 top")
    rows = re.findall(r"^\| ([A-H]) \| (.*?) \| (\w+) \| (\w*) ?\| (.*?) ?\|$", PAGE, re.MULTILINE)
    assert [row[0] for row in rows] == list("ABCDEFGH")
    for name, found, verdict, severity, decided in rows:
        assert bool(detections(found)) == (found != "none"), name
        judged = judge(detections(found), THRESHOLDS, rules, view)
        first = judged.outcomes[0] if judged.outcomes else None
        said = "" if first is None else first.rule + (" (in doubt)" if first.state is RuleState.IN_DOUBT else "")
        assert (str(judged.verdict), str(severity_of(judged.outcomes) or ""), said) == (verdict, severity, decided), (
            name
        )


def test_the_sections_for_a_device_are_read_by_the_device():
    """A camera with its scale, what is tightened, and the cameras of a part."""
    camera = FolderCamera(**BLOCKS[1]["cameras"][0])
    assert camera.view().mm_per_px == 0.05003
    assert AcceptanceTighten(**BLOCKS[2]["acceptance_tighten"]).to_tightening().factor == 0.9
    assert PartCameras(**BLOCKS[3]["parts"][0]).to_rule().cameras == ("top", "left", "right")
