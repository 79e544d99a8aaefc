"""A Feature Store export, row by row."""

from datetime import UTC, datetime

import pytest

from components.exchange.feature_store import read_feature_store
from components.exchange.rows import ClassNames, ExchangeError, SourceStatus
from components.stores.labels.box_rule import Drawn
from components.stores.raw_images.set_aside import SetAside

NAMES = ClassNames(("scratch", "dent"), {})
HEADER = "source_ref,image_width,image_height,image_depth,annotations,event_time,labeling_job,status\n"
BOXES = "\"[{'class_id': 1, 'top': 123, 'left': 81, 'height': 97, 'width': 82}]\""
ROW = f"s3://${{bucket}}/2021/bad/a.jpg,450,300,3,{BOXES},1657199072.0,labeling-job/x,APPROVED\n"


def read(text):
    return list(read_feature_store(text.splitlines(keepends=True), NAMES))


def test_a_row_is_an_image_with_its_boxes_its_status_and_its_time():
    """The class by its number's place in the use case; the rest as it stands."""
    (row,) = read(HEADER + ROW)
    assert row.boxes == (Drawn("dent", 81, 123, 82, 97),)
    assert (row.image, row.width, row.height) == ("s3://${bucket}/2021/bad/a.jpg", 450, 300)
    assert (row.status, row.said, row.job) == (SourceStatus.APPROVED, "APPROVED", "labeling-job/x")
    assert (row.at, row.line) == (datetime.fromtimestamp(1657199072, UTC), 2)


def test_annotations_may_be_json_and_times_iso():
    """Annotations in JSON and times in ISO 8601, as other exports write them, are read too."""
    text = ROW.replace(BOXES, '"[{""class_id"": 0, ""left"": 1, ""top"": 2, ""width"": 3, ""height"": 4}]"')
    (row,) = read(HEADER + text.replace("1657199072.0", "2022-07-07T13:04:32Z"))
    assert row.boxes == (Drawn("scratch", 1, 2, 3, 4),)
    assert row.at == datetime.fromtimestamp(1657199072, UTC)


@pytest.mark.parametrize(("word", "status"), [("REJECTED", "rejected"), ("rejected", "rejected"), ("", "labelled")])
def test_the_status_is_that_of_the_source(word, status):
    """The source's own status words are kept; any other word says nothing of a verification."""
    (row,) = read(HEADER + ROW.replace("APPROVED", word))
    assert row.status is SourceStatus(status)


def test_a_row_that_athena_says_is_deleted_is_deleted():
    """A row that Athena's export, with its three extra columns, marks as deleted has the status deleted."""
    header = HEADER.replace("\n", ",write_time,api_invocation_time,is_deleted\n")
    rows = read(header + ROW.replace("\n", ",x,y,false\n") + ROW.replace("\n", ",x,y,true\n"))
    assert [row.status for row in rows] == [SourceStatus.APPROVED, SourceStatus.DELETED]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ROW.replace(BOXES, "__import__('os').abort()"), "annotations"),
        (ROW.replace(BOXES, '"{1: 2}"'), "annotations"),
        (ROW.replace(BOXES, '"' + "[" * 5000 + '"'), "annotations"),
        (ROW.replace(BOXES, "x" * 2_000_000), "not-csv"),
        (ROW.replace("1657199072.0", "noon"), "time"),
        (ROW.replace("1657199072.0", "nan"), "time"),
        (ROW.replace(",450,", ",-450,"), "size"),
        (ROW.replace("s3://${bucket}/2021/bad/a.jpg", " "), "no-image"),
        ("a.jpg,450\n", "columns"),
        (ROW.replace("\n", ",one too many\n"), "columns"),
    ],
)
def test_a_row_that_does_not_parse_is_set_aside_with_its_line(row, reason):
    """The rows around a row that does not parse are read, and nothing in the text is run."""
    before, aside, after = read(HEADER + ROW + row + ROW)
    assert isinstance(aside, SetAside)
    assert (aside.reason, aside.line) == (reason, 3)
    assert (before.line, after.line) == (2, 4)


@pytest.mark.parametrize("text", ["", "image,part\na,b\n", "\x8f\x9d\n"])
def test_a_table_without_the_columns_is_refused(text):
    """A table without the needed columns is refused with an error that names the missing columns."""
    with pytest.raises(ExchangeError, match="annotations"):
        read(text)
