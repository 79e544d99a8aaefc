"""What a document is refused for, in the words that a person reads, and what does not depend on the machine."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from inspection.codec import Document, DocumentError, canonical_json
from inspection.documents import check_sha256
from inspection.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet(Document):
    """A document with one field of each kind."""

    number: float = 1.0
    count: int = 1
    text: str = ""
    flag: bool = False
    words: tuple[str, ...] = ()
    table: Mapping[str, float] | None = None
    counts: dict[str, int] | None = None
    at: datetime | None = None
    verdict: Verdict = Verdict.PASS


@dataclass(frozen=True, slots=True, kw_only=True)
class Odd(Document):
    """A document with a field of a kind that JSON has not."""

    data: bytes = b""


def refused(data: bytes, kind: type[Document] = Sheet) -> str:
    with pytest.raises(DocumentError) as caught:
        kind.from_json(data)
    return str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("number", "3", "a finite number, but got '3'"),
        ("number", True, "a finite number, but got 'True'"),
        ("number", 10**400, f"a finite number, but got '1{'0' * 59}'"),
        ("number", float("inf"), "a finite number, but got 'inf'"),
        ("count", 1.5, "a whole number, but got '1.5'"),
        ("count", True, "a whole number, but got 'True'"),
        ("text", 3, "text, but got '3'"),
        ("flag", 1, "true or false, but got '1'"),
        ("words", "one", "a list, but got 'one'"),
        ("table", [1], "an object, but got '[1]'"),
        ("counts", [2], "an object, but got '[2]'"),
        ("at", 5, "a time as ISO 8601 text, but got '5'"),
        ("at", "noon", "a time as ISO 8601 text, but got 'noon'"),
        ("at", "2026-01-01T00:00:00", "a time with a zone, but got '2026-01-01T00:00:00'"),
        ("verdict", "maybe", "one of ['pass', 'fail', 'uncertain', 'not-inspected'], but got 'maybe'"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_place(field, value, expected):
    """The message says the place, what was expected, and what came."""
    assert refused(json.dumps({field: value}).encode()) == f"Sheet.{field}: expected {expected}"


def test_the_place_of_a_wrong_value_is_told_inside_lists_and_tables():
    """The index or the key is part of the place."""
    assert refused(b'{"words": ["a", 3]}') == "Sheet.words[1]: expected text, but got '3'"
    assert refused(b'{"table": {"a": 1, "b": ""}}') == "Sheet.table.b: expected a finite number, but got ''"
    assert Sheet.from_json(b'{"counts": {"a": 1}}').counts == {"a": 1}
    assert refused(b'{"counts": {"a": 1.5}}') == "Sheet.counts.a: expected a whole number, but got '1.5'"


def test_bytes_that_are_no_json_are_shown_up_to_forty():
    """A log line stays short, and shows what it was."""
    words = refused(b"0123456789" * 5)
    assert words.startswith("Sheet: expected JSON, got b'" + "0123456789" * 4 + "' (")
    words = refused(b'{"more": "\\ud800"}')
    assert words.startswith("Sheet: it holds a value that cannot be written as JSON: ")


def test_a_key_named_unknown_is_an_unknown_key():
    """A key named `unknown` is kept like any other key that this program does not know."""
    sheet = Sheet.from_json(b'{"unknown": 3, "other": 4}')
    assert sheet.unknown == {"unknown": 3, "other": 4}
    assert json.loads(sheet.to_json())["unknown"] == 3


def test_a_field_of_a_kind_without_a_rule_is_a_fault_of_the_program():
    """A field type without a rule raises `TypeError`, because the fault is the program's and not the document's."""
    with pytest.raises(TypeError) as caught:
        Odd.from_json(b'{"data": {}}')
    assert str(caught.value) == "Odd.data: no rule for <class 'bytes'>"


@pytest.mark.parametrize("zone", ["UTC", "JST-9", "EST5"])
def test_a_time_does_not_depend_on_the_zone_of_the_machine(zone, monkeypatch):
    """The bytes of a document, and so its digest, are the same on each machine; so is what is refused."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        document = json.loads(Sheet(at=datetime(2026, 1, 1, 12, tzinfo=UTC)).to_json())
        assert document["at"] == "2026-01-01T12:00:00.000000+00:00"
        for early in ("0001-01-01T05:00:00+09:00", "9999-12-31T22:00:00-05:00"):
            assert refused(json.dumps({"at": early}).encode()) == (
                f"Sheet.at: expected a time as ISO 8601 text, but got '{early}'"
            )
    finally:
        monkeypatch.undo()
        time.tzset()


def test_canonical_json_keeps_signs_and_refuses_what_is_no_number():
    """Canonical JSON, of which digests are taken, keeps characters as they are and refuses values such as NaN."""
    value: dict[str, Any] = {"b": "傷", "a": [1, None]}
    assert canonical_json(value) == '{"a":[1,null],"b":"傷"}'.encode()
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(float("nan"))


def test_a_digest_that_is_none_is_shown_up_to_eighty_signs():
    """A malformed digest is shown up to 80 characters, so that a log line stays short."""
    with pytest.raises(ValueError, match="expected a sha256 of 64 hexadecimal digits") as caught:
        check_sha256("0123456789" * 9)
    assert str(caught.value).endswith(f"but got '{'0123456789' * 8}'")
