"""Which lines drift, as a document and as a rule over pictures."""

from datetime import UTC, datetime, timedelta

import pytest

from inspection.codec import DocumentError
from inspection.drifting import DriftingLine, DriftingLines, since_their_begin

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_a_document_comes_back_with_the_keys_that_this_version_does_not_know():
    """A newer program's document passes through an older one; a newer form is refused."""
    lines = (DriftingLine(device="line-1", since=NOON), DriftingLine(device="line-2", since=NOON, classes=("dent",)))
    data = DriftingLines(use_case="tags", at=NOON, lines=lines).to_json()
    assert DriftingLines.from_json(data).lines == lines
    more = data.replace(b'"use_case"', b'"later":[1],"use_case"')
    assert b'"later":[1]' in DriftingLines.from_json(more).to_json()
    with pytest.raises(DocumentError, match="newer"):
        DriftingLines.from_json(data.replace(b'"schema_version":1', b'"schema_version":9'))


def test_a_picture_is_of_a_drifting_line_from_its_begin_on_and_with_its_classes():
    """A line whose whole picture drifts takes all; one that drifts in a class takes pictures with a box of it."""
    whole = DriftingLine(device="line-1", since=NOON)
    assert whole.shows_in("line-1", NOON, ())
    assert not whole.shows_in("line-1", NOON - HOUR, ())
    assert not whole.shows_in("line-2", NOON, ())
    dents = DriftingLine(device="line-1", since=NOON, classes=("dent",))
    assert dents.shows_in("line-1", NOON + HOUR, {"scratch", "dent"})
    assert not dents.shows_in("line-1", NOON + HOUR, {"scratch"})


def test_a_line_that_drifted_before_keeps_its_begin():
    """Its windows move on, and pictures of the first of them stay pictures of a drifting line."""
    before = [DriftingLine(device="line-1", since=NOON), DriftingLine(device="line-3", since=NOON)]
    now = [
        DriftingLine(device="line-1", since=NOON + HOUR, classes=("dent",)),
        DriftingLine(device="line-2", since=NOON),
    ]
    assert since_their_begin(now, before) == (
        DriftingLine(device="line-1", since=NOON, classes=("dent",)),
        DriftingLine(device="line-2", since=NOON),
    )
