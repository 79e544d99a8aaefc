"""The message to the line agrees with its published schema, docs/reference/result.schema.json."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest

from edge_agent.result import Result
from inspection import Box, Detection, Verdict

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
    ],
)
def test_what_the_agent_says_is_what_the_schema_promises(changes):
    """Results with and without optional fields, and with keys of a later version, are valid."""
    jsonschema.Draft202012Validator(SCHEMA).validate(message(**changes))


@pytest.mark.parametrize(
    "change", [{"verdict": "maybe"}, {"schema_version": 2}, {"sha256": "x"}, {"detections": [{"score": 1}]}]
)
def test_the_schema_refuses_what_the_agent_never_says(change):
    """The schema does not accept just anything."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(message() | change)


def test_every_field_is_described():
    """A new field must be described in the schema too."""
    assert set(SCHEMA["properties"]) == {item.name for item in dataclasses.fields(Result)} - {"unknown"}
