"""Several pictures make one part: exactly one answer, told by name what is missing, also over a restart."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest
import yaml

from edge_agent.config import load_config
from edge_agent.errors import ConfigError
from edge_agent.outbox import Outbox
from edge_agent.outbox_parts import PartRule
from edge_agent.outbox_schema import PARTS_TOPIC
from edge_agent.part_answer import OpenPart, PartEnd, PartPicture, PartResult
from edge_agent.part_answers import PartAnswers
from inspection import DocumentError, Severity, Verdict
from tests.edge_agent.outbox_items import LIMITS, WHEN, result
from tests.edge_agent.servers import wait_for

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs/reference/part-result.schema.json").read_text())
PASS, FAIL, UNCERTAIN, NOT_INSPECTED = Verdict.PASS, Verdict.FAIL, Verdict.UNCERTAIN, Verdict.NOT_INSPECTED
HOUSING = PartRule("housing", ("top", "left"), timeout_s=5.0, late_s=60.0)


class Device:
    """An outbox with parts, and a clock that the test moves."""

    def __init__(self, folder, rules=(HOUSING,)) -> None:
        self.folder, self.rules, self.now_s, self.number = folder, rules, 1000.0, 0
        self.start()

    def start(self) -> None:
        self.outbox = Outbox(self.folder / "outbox", LIMITS, monotonic=lambda: self.now_s, parts=self.rules)
        self.answers = PartAnswers(self.outbox, device="dev1", publish=True, now=lambda: WHEN + self.passed)

    def restart(self) -> None:
        self.outbox.close()
        self.start()

    @property
    def passed(self) -> timedelta:
        return timedelta(seconds=self.now_s - 1000.0)

    def see(self, camera, part_id="T-1", verdict=PASS, severity=None) -> None:
        self.number += 1
        values = {"camera": camera, "part_id": part_id, "severity": severity, "decided_at": WHEN + self.passed}
        if verdict is NOT_INSPECTED:
            missed = replace(result(self.number), **values, verdict=verdict, reason="deadline")
            self.outbox.record_missed(missed, publish=True)
        else:
            found = replace(result(self.number, verdict), **values)
            self.outbox.record(f"f{self.number}", found, None, publish=True)

    def told(self) -> list[PartResult]:
        """The answers that wait for the broker, after what is due was answered."""
        self.answers.answer()
        waiting = [item for item in self.outbox.results(1000) if item.topic == PARTS_TOPIC]
        for item in waiting:
            jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(item.payload))
        return [PartResult.from_json(item.payload) for item in waiting]

    def said(self) -> list[tuple]:
        return [(str(item.verdict), str(item.end), item.missing) for item in self.told()]


@pytest.fixture
def device(tmp_path):
    device = Device(tmp_path)
    yield device
    device.outbox.close()


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([PASS, PASS], ("pass", "complete", ())),
        ([PASS, FAIL], ("fail", "complete", ())),
        ([UNCERTAIN, FAIL], ("fail", "complete", ())),
        ([PASS, UNCERTAIN], ("uncertain", "complete", ())),
        ([PASS, NOT_INSPECTED], ("uncertain", "complete", ("left",))),
        ([FAIL, NOT_INSPECTED], ("fail", "complete", ("left",))),
    ],
)
def test_a_part_is_as_its_worst_picture_and_a_missing_one_makes_it_uncertain(device, verdicts, expected):
    """As soon as each camera has said something, the one answer is there."""
    device.see("top", verdict=verdicts[0])
    assert device.told() == []
    device.see("left", verdict=verdicts[1])
    assert device.said() == [expected]


def test_a_picture_that_does_not_come_in_time_is_told_by_the_name_of_its_camera(device):
    """Not before the time is over, and once."""
    device.see("left")
    device.now_s += 4.9
    assert device.told() == []
    device.now_s += 0.2
    assert device.said() == [("uncertain", "timeout", ("top",))]
    device.now_s += 100
    assert len(device.told()) == 1


def test_a_picture_after_the_answer_is_counted_and_never_answered_again(device):
    """The line has acted already. Much later the same number is another part."""
    device.see("top")
    device.now_s += 6
    assert device.said() == [("uncertain", "timeout", ("left",))]
    device.see("left", verdict=FAIL)
    assert len(device.told()) == 1
    assert device.outbox.counts("part_late") == {"left": 1}
    device.now_s += 61
    device.see("top")
    device.see("left")
    assert device.said()[1:] == [("pass", "complete", ())]
    assert len({item.answer_id for item in device.told()}) == 2


def test_of_two_pictures_by_one_camera_the_worse_one_counts(device):
    """A picture that was taken again must not hide the first."""
    for verdict in (PASS, FAIL, PASS):
        device.see("top", verdict=verdict, severity=Severity.REWORK if verdict is FAIL else None)
    device.see("left")
    (answer,) = device.told()
    assert (answer.verdict, answer.severity) == (FAIL, Severity.REWORK)
    assert answer.pictures["top"].capture_id == result(2).capture_id


def test_parts_do_not_mix_and_other_cameras_make_none(device):
    """Two parts are open at once; a camera that no part names, and a frame without a part, change nothing."""
    device.see("top", "A")
    device.see("top", "B", FAIL)
    device.see("other", "A", FAIL)
    device.see("top", None)
    device.see("left", "B")
    device.see("left", "A")
    assert sorted((item.part_id, str(item.verdict)) for item in device.told()) == [("A", "pass"), ("B", "fail")]
    assert device.outbox.counts("part_unnamed") == {"top": 1}
    assert device.outbox.open_parts() == 0


@pytest.mark.parametrize("comes", [False, True])
def test_a_part_that_was_open_at_the_restart_gets_one_answer(device, comes):
    """It is completed where the picture comes, and uncertain with the reason where it does not."""
    device.see("top")
    device.now_s += 2
    device.restart()
    assert device.told() == []
    if comes:
        device.see("left")
    device.now_s += 10
    expected = ("pass", "complete", ()) if comes else ("uncertain", "restart", ("left",))
    assert device.said() == [expected]
    device.restart()
    assert device.said() == [expected]


def test_an_answer_names_what_each_camera_said(device):
    """So that a person can look the pictures up."""
    device.see("top", verdict=FAIL, severity=Severity.REJECT)
    device.see("left")
    (answer,) = device.told()
    assert {camera: (str(item.verdict), item.severity) for camera, item in answer.pictures.items()} == {
        "top": ("fail", Severity.REJECT), "left": ("pass", None)
    }  # fmt: skip
    assert (answer.part, answer.part_id, answer.device, answer.severity) == ("housing", "T-1", "dev1", Severity.REJECT)


def test_more_open_parts_than_are_kept_are_answered_the_oldest_first(device):
    """What is kept does not grow with a camera that names a new part each time."""
    device.outbox._parts.max_open = 3
    for number in range(5):
        device.see("top", f"T-{number}")
    assert [(item.part_id, str(item.end)) for item in device.told()] == [
        ("T-0", "too-many-open"), ("T-1", "too-many-open")
    ]  # fmt: skip
    assert device.outbox.open_parts() == 3


def test_the_thread_answers_when_the_last_picture_is_there(tmp_path):
    """Without waiting for the time-out."""
    device = Device(tmp_path, rules=(replace(HOUSING, timeout_s=600.0),))
    stop = threading.Event()
    thread = threading.Thread(target=device.answers.run, args=(stop,))
    thread.start()
    try:
        device.see("top")
        device.see("left")
        wait_for(lambda: any(item.topic == PARTS_TOPIC for item in device.outbox.results(10)), 20)
    finally:
        stop.set()
        thread.join(20)
        device.outbox.close()


def test_an_answer_and_an_open_part_survive_reading_and_writing():
    """Also with keys of a later version; a part without a picture is never pass."""
    part = OpenPart(
        name="housing", part_id="傷", cameras=("top",), since=WHEN, timeout_s=1.0,
        pictures={"top": PartPicture(capture_id="0" * 32, verdict=PASS)}, unknown={"later": 1},
    )  # fmt: skip
    assert OpenPart.from_json(part.to_json()) == part
    answer = replace(part.answer(PartEnd.COMPLETE, "dev1", WHEN), unknown={"later": [2]})
    assert PartResult.from_json(answer.to_json()) == answer
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(answer.to_json()))
    with pytest.raises(DocumentError, match="never pass"):
        PartResult.from_json(json.dumps(json.loads(answer.to_json()) | {"missing": ["left"]}).encode())


CONFIG = {
    "device": "d", "group": "g", "site": "s", "use_case": "u",
    "cameras": [{"source": "folder", "path": name, "name": name} for name in ("top", "left")],
    "s3": {"endpoint": "http://s3:1", "credentials_file": "c.json"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([{"cameras": ["top", "right"]}], r"some of the cameras \['top', 'left'\], but got \['right'\]"),
        ([{"cameras": ["top"]}, {"name": "b", "cameras": ["top"]}], "each camera in one part"),
        ([{"cameras": ["top"]}, {"cameras": ["left"]}], "parts of different names"),
        ([{"cameras": []}], r"parts\.0\.cameras"),
        ([{"cameras": ["top"], "wait_s": 3}], "unknown key 'parts.0.wait_s'; known here: cameras, late_s"),
    ],
)
def test_parts_of_cameras_that_are_not_there_are_refused(tmp_path, parts, message):
    """By name, before the agent starts."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(CONFIG | {"parts": parts}))
    with pytest.raises(ConfigError, match=message):
        load_config(path, {})


def test_the_file_of_a_device_says_which_cameras_make_a_part(tmp_path):
    """Its times are seconds."""
    path = tmp_path / "config.yaml"
    path.write_text(
        yaml.safe_dump(CONFIG | {"parts": [{"name": "housing", "cameras": ["top", "left"], "timeout_s": 3}]})
    )
    assert [part.to_rule() for part in load_config(path, {}).parts] == [
        PartRule("housing", ("top", "left"), 3.0, 3600.0)
    ]
