"""Output manifests of Ground Truth, line by line."""

import json
from datetime import UTC, timedelta

import pytest

from components.exchange.ground_truth import ManifestOptions, read_manifest
from components.exchange.rows import ClassNames, SourceStatus
from components.stores.labels.box_rule import Drawn
from components.stores.raw_images.set_aside import SetAside
from tests.components.exchange.manifest_lines import DRAWN, boxes, line, verification

NAMES = ClassNames(("scratch", "dent"), {})
IMAGE = "s3://theirs/2021/bad/a b.jpg"


def read(*lines, names=NAMES, **options):
    return list(read_manifest(lines, names, ManifestOptions(**options)))


def test_a_labeling_job_says_labelled():
    """Boxes in pixels, classes by the job's map, the job's time in UTC."""
    (row,) = read(line(IMAGE, category=boxes((1, 5, 6, 7, 8), (0, 1, 2, 3, 4))))
    assert row.boxes == (Drawn("dent", 5, 6, 7, 8), Drawn("scratch", 1, 2, 3, 4))
    assert (row.image, row.width, row.height, row.line) == (IMAGE, 64, 48, 1)
    assert (row.status, row.job) == (SourceStatus.LABELLED, "labeling-job/find-scratches")
    assert row.at == DRAWN.replace(tzinfo=UTC)


def test_an_image_without_a_box_is_a_row_too():
    """An image without a box is a row, because a person looked at it and found nothing."""
    (row,) = read(line(IMAGE, category=boxes()))
    assert row.boxes == ()


@pytest.mark.parametrize(
    ("word", "status"), [("good", "approved"), ("Approve", "approved"), ("bad", "rejected"), ("blurred", "labelled")]
)
def test_a_verification_job_approves_or_rejects_by_its_word(word, status):
    """A word that is neither decides nothing, and is kept."""
    (row,) = read(line(IMAGE, category=boxes((0, 1, 2, 3, 4)), verified=verification(word)))
    assert (row.status, row.said) == (SourceStatus(status), word)
    assert row.at == DRAWN.replace(tzinfo=UTC) + timedelta(hours=1)


def test_the_word_that_approves_can_be_told():
    """Every other one then rejects, those that would approve otherwise included."""
    lines = [line(IMAGE, category=boxes(), verified=verification(word)) for word in ("Blurred", "good")]
    rows = read(*lines, approved_words=frozenset({"blurred"}))
    assert [row.status for row in rows] == [SourceStatus.APPROVED, SourceStatus.REJECTED]


def test_the_adjusted_boxes_win():
    """Whatever their name and place; of two adjustments the last; the date of a first job matters not."""
    first = boxes((0, 1, 2, 3, 4), at=DRAWN + timedelta(days=9))
    adjusted = boxes((0, 5, 6, 7, 8), at=DRAWN + timedelta(days=1), **{"adjustment-status": "adjusted"})
    again = boxes((0, 9, 9, 9, 9), at=DRAWN + timedelta(days=2), **{"adjustment-status": "unadjusted"})
    (row,) = read(line(IMAGE, zzz=first, aaa=adjusted))
    assert row.boxes == (Drawn("scratch", 5, 6, 7, 8),)
    (row,) = read(line(IMAGE, mmm=again, zzz=first, aaa=adjusted))
    assert row.boxes == (Drawn("scratch", 9, 9, 9, 9),)


def test_a_verification_of_boxes_that_were_adjusted_since_does_not_count():
    """A verification of boxes that were adjusted afterwards does not count; a later verification does."""
    adjusted = boxes((0, 5, 6, 7, 8), at=DRAWN + timedelta(days=1), **{"adjustment-status": "adjusted"})
    (row,) = read(line(IMAGE, first=boxes((0, 1, 2, 3, 4)), verified=verification("good"), second=adjusted))
    assert (row.status, row.said) == (SourceStatus.LABELLED, "")
    later = verification("good", DRAWN + timedelta(days=2))
    (row,) = read(line(IMAGE, first=boxes((0, 1, 2, 3, 4)), verified=later, second=adjusted))
    assert row.status is SourceStatus.APPROVED


def test_of_two_jobs_that_are_no_adjustment_one_is_named():
    """A line with two unrelated jobs is set aside unless --attribute names one, because the choice is unclear."""
    text = line(IMAGE, one=boxes((0, 1, 2, 3, 4)), two=boxes((0, 5, 6, 7, 8)))
    (aside,) = read(text)
    assert aside.reason == "several-jobs"
    assert "one, two" in aside.message
    assert "--attribute" in aside.message
    (row,) = read(text, attribute="two")
    assert row.boxes == (Drawn("scratch", 5, 6, 7, 8),)


def test_classes_may_have_other_names_here():
    """Classes are renamed by the source's name or number; a class without a name here counts as unknown."""
    text = line(IMAGE, category=boxes((0, 1, 2, 3, 4), (1, 1, 2, 3, 4), (2, 1, 2, 3, 4)))
    (row,) = read(text, names=ClassNames(("kizu", "hekomi"), {"scratch": "kizu", "1": "hekomi"}))
    assert [box.class_name for box in row.boxes] == ["kizu", "hekomi", None]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not-json"),
        ("[1]\n", "not-json"),
        ("[" * 100_000, "not-json"),
        ("{}\n", "no-image"),
        (json.dumps({"source-ref": 5}), "no-image"),
        (json.dumps({"source-ref": IMAGE}), "no-boxes"),
        (json.dumps({"source-ref": IMAGE, "category": 0, "category-metadata": {"type": "groundtruth/x"}}), "no-boxes"),
        (line(IMAGE, category=(None, boxes()[1] | {"failure-reason": "ClientError: no such key"})), "failed"),
        (line(IMAGE, category=({"annotations": []}, boxes()[1])), "size"),
        (line(IMAGE, category=({"annotations": 1, "image_size": []}, boxes()[1])), "no-boxes"),
        (line(IMAGE, category=boxes(width=0)), "size"),
        (line(IMAGE, category=boxes(width="wide")), "size"),
        (line(IMAGE, category=(boxes()[0], boxes()[1] | {"creation-date": "yesterday"})), "time"),
        (line(IMAGE, category=(boxes()[0], boxes()[1] | {"creation-date": 1e300})), "time"),
    ],
)
def test_a_line_that_does_not_parse_is_set_aside_with_its_number(text, reason):
    """The lines around a line that does not parse are read."""
    good = line(IMAGE, category=boxes())
    before, aside, after = read(good, text, good)
    assert isinstance(aside, SetAside)
    assert (aside.reason, aside.line) == (reason, 2)
    assert (before.line, after.line) == (1, 3)


def test_annotations_that_are_no_boxes_are_kept_to_be_counted():
    """A word or a box without a side is kept as a drawing without a box, so that it can be counted."""
    value, metadata = boxes((0, 1, 2, 3, 4))
    value["annotations"] += ["box", {"class_id": 0, "left": 1}]
    (row,) = read(line(IMAGE, category=(value, metadata)))
    assert row.boxes[1:] == (Drawn(None, is_rectangle=False), Drawn("scratch", 1, None, None, None))
