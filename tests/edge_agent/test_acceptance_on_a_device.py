"""Acceptance rules on a device: results say which rule decided; the device's file tightens and never loosens."""

from __future__ import annotations

import json
import threading
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
import yaml

from edge_agent.camera_config import FolderCamera
from edge_agent.config import AcceptanceTighten, load_config
from edge_agent.errors import ConfigError
from edge_agent.inference import CANDIDATE_FILE, RuntimeChoice, load_release
from edge_agent.result import Result
from edge_agent.shadow.process import ShadowProcess
from edge_agent.tightening import Tightening
from inspection import Acceptance, AcceptanceRule, Candidate, Inspection, PartView, PictureProblem, Severity, Verdict
from inspection.acceptance import RuleOutcome, RuleState, When
from tests.edge_agent.bench import Bench, loaded
from tests.edge_agent.models import BAD, DOUBTFUL, GOOD, build_release, picture
from tests.edge_agent.servers import wait_for

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs/reference/result.schema.json").read_text())
UP_TO_3_MM = Acceptance(
    rules=(
        AcceptanceRule(name="long", classes=("scratch",), max_longest_side_mm=3.0),
        AcceptanceRule(name="seen", classes=("scratch",), severity=Severity.REWORK, max_count=1),
    )
)
TENTH = PartView(mm_per_px=0.1)  # a quadrant of 32 pixels has 3.2 mm
NOW = datetime(2026, 1, 2, tzinfo=UTC)
TWO = (255, 255, 0, 0)


def judged(tmp_path, kinds, view, **changes):
    """The results of pictures on a device whose camera has this view."""
    with Bench(tmp_path, views={} if view is None else {"camera": view}) as bench:
        bench.active.set(loaded(tmp_path / "r", **({"acceptance": UP_TO_3_MM} | changes)))
        for number, kind in enumerate(kinds):
            bench.feed(f"{number}.png", picture(*kind, seed=number))
        wait_for(lambda: len(bench.results()) == len(kinds) and not bench.waiting(), 20)
        found = sorted(bench.results(), key=lambda item: item["original_name"])
        counts = bench.outbox.counts("rule")
    for item in found:
        jsonschema.Draft202012Validator(SCHEMA).validate(item)
    return found, counts


def test_the_result_says_which_rule_decided_and_how_grave_it_is(tmp_path):
    """A quadrant of 3.2 mm is too long, two are too many too, a doubtful one would be too long, a good part passes."""
    found, counts = judged(tmp_path, [BAD, TWO, DOUBTFUL, GOOD], TENTH)
    said = [
        (item["verdict"], item.get("severity"), [(r["rule"], r["state"]) for r in item.get("rules", [])])
        for item in found
    ]
    assert said == [
        ("fail", "reject", [("long", "broken")]),
        ("fail", "reject", [("long", "broken"), ("seen", "broken")]),
        ("uncertain", None, [("long", "in-doubt")]),
        ("pass", None, []),
    ]
    assert counts == {"long": 2, "seen": 1}
    assert "rules" not in found[3], "a part that keeps all rules has the message of before"


def test_what_is_tolerated_passes_and_what_can_be_mended_fails_as_rework(tmp_path):
    """At a quarter of the scale a quadrant has 0.8 mm; two are too many, which can be mended."""
    found, _ = judged(tmp_path, [BAD, TWO, DOUBTFUL], PartView(mm_per_px=0.025))
    assert [(item["verdict"], item.get("severity")) for item in found] == [
        ("pass", None), ("fail", "rework"), ("pass", None)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("view", "why"), [(None, "no-scale"), (PartView(mm_per_px=0.01, size_px=(640, 480)), "other-size")]
)
def test_a_camera_without_a_scale_is_uncertain_and_says_why(tmp_path, view, why):
    """The part may break the rule, so that it never passes; a good part does, whatever the scale."""
    found, _ = judged(tmp_path, [BAD, GOOD], view)
    assert [(item["verdict"], item["reason"]) for item in found] == [("uncertain", why), ("pass", None)]
    assert found[0]["rules"] == [
        {"rule": "long", "severity": "reject", "state": "not-judged", "reason": why}
    ]  # fmt: skip


def test_a_release_without_rules_is_judged_as_before(tmp_path):
    """Every detection fails the part, and the message has no new key."""
    found, counts = judged(tmp_path, [BAD, DOUBTFUL], None, acceptance=None)
    assert [item["verdict"] for item in found] == ["fail", "uncertain"]
    assert counts == {}
    assert not {"rules", "severity"} & found[0].keys()


def test_a_picture_that_says_nothing_breaks_no_rule():
    """Nobody knows what the part looks like, so that it is uncertain and not scrap."""
    outcome = RuleOutcome(rule="long", severity=Severity.REJECT, state=RuleState.BROKEN)
    inspection = Inspection((), Verdict.FAIL, rules=(outcome,)).doubted(PictureProblem.DARK)
    assert (inspection.verdict, inspection.rules) == (Verdict.UNCERTAIN, ())


def test_a_candidate_judges_by_its_rules_in_the_view_of_the_frames_camera(tmp_path):
    """Its process is told how the camera sees the part, and what this device tightens."""
    built = build_release(acceptance=Acceptance(rules=UP_TO_3_MM.rules[:1]))
    values = {name: getattr(built.release, name) for name in (item.name for item in fields(Candidate))}
    candidate = Candidate(**values)
    folder = built.write(tmp_path / "c")
    (folder / CANDIDATE_FILE).write_bytes(candidate.to_json())
    with_factor = ShadowProcess(
        folder, candidate.digest, precision="fp32", max_pixels=10**6, interrupted=threading.Event(),
        tighten=Tightening(0.5),
    )  # fmt: skip
    try:
        answers = [
            with_factor.judge(picture(*BAD), view).verdict
            for view in (TENTH, PartView(), PartView(mm_per_px=0.06), PartView(mm_per_px=0.04))
        ]
    finally:
        with_factor.close()
    assert answers == [Verdict.FAIL, Verdict.UNCERTAIN, Verdict.FAIL, Verdict.PASS]


@pytest.mark.parametrize(
    ("asked", "holds", "refused"),
    [
        ({"long": {"max_longest_side_mm": 2.0}}, 2.0, None),
        ({"long": {"max_longest_side_mm": 4.0}}, 3.0, "long.max_longest_side_mm 4 would loosen: the release says 3"),
        ({"none": {"max_count": 1}}, 3.0, "none: the release has no such rule; it has long, seen"),
        ({"long": {"max_count": 5}}, 3.0, None),
    ],
)
def test_a_device_may_tighten_a_rule_and_is_told_what_would_loosen_it(tmp_path, asked, holds, refused, caplog):
    """The stricter of both holds, and a new release with a stricter rule is taken as it is."""
    built = build_release(acceptance=UP_TO_3_MM)
    choice = RuntimeChoice(threads=1, tighten=Tightening(1.0, asked))
    release = load_release(built.write(tmp_path / "r"), built.digest, built.release, choice)
    tightened, _ = choice.tighten.of(built.release.acceptance)
    assert tightened.rules[0].max_longest_side_mm == holds
    assert [text.removeprefix("acceptance_tighten ") for text in release.not_tightened] == (
        [refused] if refused else []
    )
    assert (refused or "") in caplog.text


def test_a_limit_that_would_make_a_rule_break_less_often_is_refused():
    """Where all limits must be broken together, or where no defect is tolerated, one more limit tolerates more."""
    strict = Acceptance(rules=(AcceptanceRule(name="none", classes=("scratch",)),))
    together = Acceptance(
        rules=(AcceptanceRule(name="none", classes=("scratch",), max_count=1, max_area_px2=4, when=When.ALL),)
    )
    for acceptance in (strict, together):
        tightened, refused = Tightening(1.0, {"none": {"max_longest_side_px": 1.0}}).of(acceptance)
        assert tightened == acceptance
        assert "would loosen" in refused[0]
    _, refused = Tightening(1.0, {"none": {"max_count": 1}}).of(None)
    assert "the release has no acceptance rules" in refused[0]


CONFIG = {
    "device": "d", "group": "g", "site": "s", "use_case": "u",
    "cameras": [{"source": "folder", "path": "camera", "mm_per_px": 0.05, "calibrated_px": [640, 480]}],
    "s3": {"endpoint": "http://s3:1", "credentials_file": "c.json"},
}  # fmt: skip


def written(tmp_path, **changes):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(CONFIG | changes))
    return load_config(path, {})


def test_the_file_of_a_device_says_how_its_cameras_see_the_part_and_what_it_tightens(tmp_path):
    """Both come to the rules as values."""
    config = written(tmp_path, acceptance_tighten={"factor": 0.8, "rules": {"long": {"max_count": 2}}})
    assert config.cameras[0].view() == PartView(mm_per_px=0.05, size_px=(640, 480))
    assert config.acceptance_tighten.to_tightening() == Tightening(0.8, {"long": {"max_count": 2}})
    assert AcceptanceTighten().to_tightening() == Tightening()
    placed = FolderCamera(path="x", part_origin_px=(3, 4), part_angle_deg=90)
    assert placed.view() == PartView(origin_px=(3.0, 4.0), angle_deg=90.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"acceptance_tighten": {"factor": 1.1}}, "acceptance_tighten.factor"),
        ({"acceptance_tighten": {"rules": {"long": {"min_score": 0.1}}}}, "unknown key 'acceptance_tighten.rules.long"),
        ({"cameras": [{"path": "x", "source": "folder", "mm_per_px": 0}]}, "mm_per_px"),
        (
            {"cameras": [{"path": "x", "source": "folder", "mm_per_px": 0.1, "mm_per_px_uncertainty": 0.2}]},
            "below mm_per_px",
        ),
        ({"cameras": [{"path": "x", "source": "folder", "mm_per_px_uncertainty": 0.2}]}, "expected mm_per_px beside"),
    ],
)
def test_a_file_that_would_loosen_or_makes_no_sense_is_refused_by_its_key(tmp_path, changes, message):
    """A factor above 1 would tolerate more than the release."""
    with pytest.raises(ConfigError, match=message):
        written(tmp_path, **changes)


def test_a_result_with_rules_survives_reading_and_writing():
    """Also by a program that knows more keys; a severity that the verdict contradicts is refused."""
    outcome = RuleOutcome(rule="long", severity=Severity.REJECT, state=RuleState.BROKEN, unknown={"later": 1})
    values = {
        "capture_id": "0" * 32, "sha256": "1" * 64, "captured_at": NOW, "decided_at": NOW, "device": "d", "camera": "c",
        "release_digest": "2" * 64, "model_sha256": "3" * 64, "infer_ms": 1.0, "rules": (outcome,),
    }  # fmt: skip
    result = Result(**values, verdict=Verdict.FAIL, severity=Severity.REJECT)
    assert Result.from_json(result.to_json()) == result
    with pytest.raises(ValueError, match="of severity reject fails the part"):
        Result(**values, verdict=Verdict.PASS, severity=Severity.REJECT)
