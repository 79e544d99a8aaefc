"""The message to the line agrees with its published schema, docs/reference/result.schema.json."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest

from edge_agent.result import Result
from inspection import Box, Detection, DocumentError, Verdict

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs/reference/result.schema.json").read_text())
NOW = datetime(2026, 1, 2, 3, 4, 5, 678, UTC)


def message(**changes) -> dict:
    values = {
        "capture_id": "0" * 32, "sha256": "1" * 64, "captured_at": NOW, "decided_at": NOW, "device": "dev1",
        "camera": "top", "release_digest": "2" * 64, "model_sha256": "3" * 64, "verdict": Verdict.PASS,
        "infer_ms": 12.5,
    }  # fmt: skip
    return json.loads(Result(**values | changes).to_json())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"part_id": "T-1", "original_name": "傷.png"},
        {"verdict": Verdict.FAIL, "detections": (Detection("傷", 0.9, Box(1, 2, 3.5, 4)),)},
        {"unknown": {"later": [1]}},
        {"verdict": Verdict.UNCERTAIN, "reason": "dark"},
        {
            "verdict": Verdict.NOT_INSPECTED,
            "reason": "camera-lost",
            "trigger_id": "m7",
            "sha256": None,
            "release_digest": None,
            "model_sha256": None,
            "infer_ms": None,
        },
    ],
)
def test_what_the_agent_says_is_what_the_schema_promises(changes):
    """Results with and without optional fields, and with keys of a later version, are valid."""
    jsonschema.Draft202012Validator(SCHEMA).validate(message(**changes))


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "maybe"},
        {"schema_version": 3},
        {"sha256": "x"},
        {"sha256": None},
        {"reason": "dark"},
        {"verdict": "not-inspected"},
        {"detections": [{"score": 1}]},
    ],
)
def test_the_schema_refuses_what_the_agent_never_says(change):
    """The schema does not accept just anything."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(message() | change)


def test_every_field_is_described():
    """A new field must be described in the schema too."""
    assert set(SCHEMA["properties"]) == {item.name for item in dataclasses.fields(Result)} - {"unknown"}


AS_AGENTS_WROTE_IT = (
    b'{"camera":"top","capture_id":"00000000000000000000000000000000","captured_at":"2026-01-02T03:04:05.000678+00:00",'
    b'"decided_at":"2026-01-02T03:04:05.000678+00:00","detections":[],"device":"dev1","infer_ms":12.5,'
    b'"model_sha256":"3333333333333333333333333333333333333333333333333333333333333333","original_name":null,'
    b'"part_id":null,"release_digest":"2222222222222222222222222222222222222222222222222222222222222222",'
    b'"schema_version":1,"sha256":"1111111111111111111111111111111111111111111111111111111111111111",'
    b'"verdict":"pass"}'
)
"""A result of the first version of the form, which may still wait in an outbox."""


def test_a_result_of_the_first_version_is_read_and_valid():
    """It has no reason and no trigger."""
    old = Result.from_json(AS_AGENTS_WROTE_IT)
    assert (old.schema_version, old.verdict, old.reason, old.trigger_id) == (1, Verdict.PASS, None, None)
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(AS_AGENTS_WROTE_IT))


def test_a_result_survives_reading_and_writing():
    """So does one without an image, with keys of a later version."""
    missed = message(
        verdict=Verdict.NOT_INSPECTED, reason="deadline", sha256=None, release_digest=None, model_sha256=None,
        infer_ms=None, unknown={"later": 1},
    )  # fmt: skip
    for value in (message(), missed):
        data = json.dumps(value).encode()
        assert json.loads(Result.from_json(data).to_json()) == value
    with pytest.raises(DocumentError, match=r"schema_version 3 is newer than this program \(2\)"):
        Result.from_json(json.dumps(message() | {"schema_version": 3}).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": Verdict.NOT_INSPECTED},
        {"verdict": Verdict.PASS, "reason": "dark"},
        {"verdict": Verdict.FAIL, "sha256": None},
        {"verdict": Verdict.PASS, "infer_ms": None},
    ],
)
def test_a_verdict_without_its_grounds_is_never_said(changes):
    """Only `not-inspected` does without an image, and it needs a reason."""
    with pytest.raises(ValueError, match=r"(the verdict|not-inspected)"):
        message(**changes)
