"""Rows of other tools into a real S3 and a real label store."""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from components.exchange.finder import ByAddress, InSource
from components.exchange.ground_truth import read_manifest
from components.exchange.rows import ClassNames, ExchangeError, SourceRow, SourceStatus
from components.stores.labels import store
from components.stores.labels.box_rule import Drawn
from components.stores.labels.store import LabelStatus
from components.stores.objects.s3 import S3ObjectStore
from components.stores.raw_images.image_source import FolderSource, S3Source
from inspection.geometry import Box, LabelledBox
from inspection.image import sha256_of
from tests.components.exchange.manifest_lines import DRAWN, boxes, line, verification

SCRATCH = (0, 1, 2, 3, 4)
THEIRS = "s3://theirs/2021/{}"


def rows(exchange, *lines):
    return read_manifest(lines, ClassNames(exchange.use_case.classes, {}))


def approved_line(name, *rectangles, **more):
    return line(THEIRS.format(name), category=boxes(*rectangles), verified=verification("good"), **more)


def test_an_approved_row_counts_as_approved_only_where_the_source_is_trusted(exchange):
    """An approved row of an untrusted source is imported as `labelled`.

    No row has a verifier, and each reason says what the source said and whether it was trusted.
    """
    data = exchange.image("bad/a.jpg")
    text = approved_line("bad/a.jpg", SCRATCH)
    assert exchange.take(rows(exchange, text)).rows == {LabelStatus.LABELLED: 1}
    assert exchange.approved() == {}
    (event,) = exchange.events()
    assert (event.verifier, event.annotator) == (None, None)
    assert event.reason == "imported; the source said 'good'; status not trusted"

    assert exchange.take(rows(exchange, text), trust_status=True).rows == {LabelStatus.APPROVED: 1}
    (event,) = exchange.approved().values()
    assert event.sha256 == sha256_of(data)
    assert event.boxes == (LabelledBox("scratch", Box(1, 2, 3, 4)),)
    assert (event.verifier, event.source) == (None, "ground-truth")
    assert event.reason == "imported; the source said 'good'; status trusted"
    assert (event.width, event.height) == (64, 48)
    assert event.at == DRAWN.replace(tzinfo=UTC) + timedelta(hours=1)
    assert exchange.raw.fetch(event.image_uri, event.sha256) == data


@pytest.mark.parametrize("trust", [True, False])
def test_trust_approves_nothing_that_the_source_did_not(exchange, trust):
    """With trust in the source, a rejected row stays rejected, and an unverified row stays labelled."""
    exchange.image("a.jpg", 1)
    exchange.image("b.jpg", 2)
    rejected = line(THEIRS.format("a.jpg"), category=boxes(SCRATCH), verified=verification("bad"))
    exchange.take(rows(exchange, rejected, line(THEIRS.format("b.jpg"), category=boxes())), trust_status=trust)
    assert {event.status for event in exchange.events()} == {LabelStatus.REJECTED, LabelStatus.LABELLED}


def test_a_row_that_the_source_deleted_takes_its_approval_away(exchange):
    """A deleted row removes an approval whether the source is trusted or not. An approval that is younger stays."""
    exchange.image("a.jpg", 20)
    at = datetime(2024, 1, 1, tzinfo=UTC)

    def row(status, days):
        return SourceRow(line=1, image="a.jpg", boxes=(), status=status, at=at + timedelta(days=days))

    exchange.take([row(SourceStatus.APPROVED, 0)], trust_status=True)
    exchange.take([row(SourceStatus.DELETED, 1)])
    assert exchange.approved() == {}
    exchange.take([row(SourceStatus.APPROVED, 2)], trust_status=True)
    exchange.take([row(SourceStatus.DELETED, 1)])
    assert len(exchange.approved()) == 1


def test_importing_again_changes_nothing(exchange, installation, store):
    """No row, no version, no object; also from a copy of the folder whose files have another date."""
    exchange.image("a.jpg", 3)
    text = approved_line("a.jpg", SCRATCH)
    first = exchange.take(rows(exchange, text), trust_status=True)
    objects = {info.key for info in store.list(installation.bucket("raw"))}
    again = exchange.take(rows(exchange, text), trust_status=True)
    assert (first.new, again.new, again.new_images) == (1, 0, 0)
    assert again.label_version == first.label_version
    assert {info.key for info in store.list(installation.bucket("raw"))} == objects
    os.utime(exchange.folder / "a.jpg", (1_600_000_000, 1_600_000_000))
    assert exchange.take(rows(exchange, text), trust_status=True).new == 0


def test_the_same_file_in_two_use_cases_is_two_sets_of_labels(exchange):
    """An event of one is not taken for that of the other."""
    exchange.image("a.jpg", 4)
    exchange.take(rows(exchange, approved_line("a.jpg", SCRATCH)), trust_status=True)
    exchange.use_case = exchange.use_case.model_copy(update={"name": f"{exchange.use_case.name}-b"})
    assert exchange.take(rows(exchange, approved_line("a.jpg", SCRATCH)), trust_status=True).new == 1


def test_an_image_of_a_part_is_in_the_parts_group(exchange):
    """Told with the import or later; silence takes it not back; another name for it wins."""
    sha256 = sha256_of(exchange.image("bad/a.jpg", 5))
    text = approved_line("bad/a.jpg", SCRATCH)

    def group(parts):
        result = exchange.take(rows(exchange, text), trust_status=True, parts=parts)
        return result.new, exchange.approved()[sha256].group

    assert group({}) == (1, sha256)
    assert group({"bad/a.jpg": "part-07"}) == (1, "part-07")
    assert group({"a.jpg": "part-07"}) == (0, "part-07")
    assert group({}) == (0, "part-07")
    assert group({"bad/a.jpg": "part-08"}) == (1, "part-08")
    assert group({"bad/a.jpg": "part-07"}) == (1, "part-07")
    assert group({"bad/a.jpg": "part-07"}) == (0, "part-07")


def test_a_label_that_was_made_here_later_is_not_overruled(exchange):
    """An import carries the source's date, so an old label is old."""
    sha256 = sha256_of(exchange.image("a.jpg", 6))
    exchange.take(rows(exchange, approved_line("a.jpg", (1, 5, 6, 7, 8))), trust_status=True)
    (old,) = exchange.events()
    newer = line(
        THEIRS.format("a.jpg"),
        category=boxes(SCRATCH, at=DRAWN + timedelta(days=5)),
        verified=verification("good", DRAWN + timedelta(days=6)),
    )
    exchange.take(rows(exchange, newer), trust_status=True)
    exchange.take(rows(exchange, approved_line("a.jpg", (0, 9, 9, 9, 9))), trust_status=True)
    assert len(exchange.events()) == 3
    assert exchange.approved()[sha256].boxes == (LabelledBox("scratch", Box(1, 2, 3, 4)),)
    assert exchange.approved()[sha256].at > old.at


def test_an_image_that_lost_a_box_waits_for_a_person(exchange):
    """Clipping keeps the approval, a box of no use does not; all is counted."""
    exchange.image("clipped.jpg", 7)
    exchange.image("lost.jpg", 8)
    result = exchange.take(
        rows(
            exchange,
            approved_line("clipped.jpg", (0, -5, 2, 10, 4)),
            approved_line("lost.jpg", SCRATCH, (7, 1, 2, 3, 4), (0, 500, 2, 3, 4), (0, 1, 2, 0, 4)),
        ),
        trust_status=True,
    )
    assert result.rows == {LabelStatus.APPROVED: 1, LabelStatus.LABELLED: 1}
    assert result.tally.counts() == {"clipped": 1, "outside": 1, "no_area": 1, "unknown_class": 1}
    assert (result.withheld, result.boxes) == (1, 2)
    (waiting,) = [event for event in exchange.events() if event.status is LabelStatus.LABELLED]
    assert waiting.reason.endswith("status trusted; boxes left out: 3")


def test_what_cannot_be_imported_is_set_aside_and_stops_nothing(exchange):
    """Lines whose image is missing, ambiguous, not an image or of another size are set aside, as is a broken line.

    The other rows are imported.
    """
    exchange.image("good.jpg", 9)
    exchange.image("left/two.jpg", 10)
    exchange.image("right/two.jpg", 11)
    (exchange.folder / "text.jpg").write_bytes(b"hello")
    small = line(THEIRS.format("good.jpg"), category=boxes(width=128, height=96))
    names = ("none.jpg", "two.jpg", "text.jpg", "good.jpg")
    lines = [line(THEIRS.format(name), category=boxes()) for name in names]
    result = exchange.take(rows(exchange, *lines[:3], small, "{", lines[3]))
    reasons = {"no-image": 1, "ambiguous-image": 1, "not-an-image": 1, "size": 1, "not-json": 1}
    assert result.reasons == reasons
    assert [item.line for item in result.set_aside] == [1, 2, 3, 4, 5]
    assert sum(result.rows.values()) == 1


def test_rows_that_contradict_each_other_are_not_both_believed(exchange):
    """One image at one time with two sets of boxes; said twice alike is no contradiction."""
    exchange.image("a.jpg", 12)
    one, other = approved_line("a.jpg", SCRATCH), approved_line("a.jpg", (0, 9, 9, 9, 9))
    result = exchange.take(rows(exchange, one, one, other), trust_status=True)
    assert result.reasons == {"contradiction": 1}
    assert "line 1" in result.set_aside[0].message
    assert len(exchange.events()) == 1


def test_the_image_is_the_one_whose_path_ends_most_like_the_rows(exchange):
    """The image with the longest matching end of its path is taken. A key with %20 is found too."""
    exchange.image("good/x.jpg", 13)
    data = exchange.image("bad/x.jpg", 14)
    exchange.image("a b.jpg", 15)
    finder = InSource(FolderSource(exchange.folder))
    assert finder.find("s3://theirs/2021/bad/x.jpg").data == data
    assert finder.find("s3://theirs/2021/a%20b.jpg").name == "a b.jpg"


def test_images_come_from_a_prefix_of_s3_or_from_where_the_rows_say(exchange, store, installation):
    """Only images below the given prefix, or at the addresses of the rows, are imported."""
    bucket = installation.bucket("state")
    data = exchange.image("a.jpg", 16)
    store.put(bucket, "theirs/2021/bad/a.jpg", data)
    store.put(bucket, "theirs-too/bad/b.jpg", data)
    found = InSource(S3Source(store, bucket, "theirs")).find("s3://gone/bad/a.jpg")
    assert (found.data, found.name) == (data, "2021/bad/a.jpg")
    assert [file.name for file in S3Source(store, bucket, "theirs").files()] == ["2021/bad/a.jpg"]

    text = approved_line("bad/a.jpg", SCRATCH).replace("s3://theirs", f"s3://{bucket}/theirs")
    there = exchange.take(rows(exchange, text, approved_line("none.jpg")), finder=ByAddress(store), trust_status=True)
    assert there.rows == {LabelStatus.APPROVED: 1}
    assert there.reasons == {"no-image": 1}
    assert "--images" in there.set_aside[0].message


def test_a_folder_without_files_is_refused_before_anything_is_set_aside(exchange):
    """A folder without files raises an error, because it is the wrong folder."""
    with pytest.raises(ExchangeError, match="no file there"):
        InSource(FolderSource(exchange.folder))


def test_a_store_that_is_away_ends_the_import(exchange):
    """A store that does not answer ends the import with an error, and no row is set aside for it."""
    away = ByAddress(S3ObjectStore("http://127.0.0.1:9", "us-east-1", "a", "b"))
    with pytest.raises(RuntimeError, match=r"127\.0\.0\.1:9"):
        exchange.take(rows(exchange, approved_line("a.jpg", SCRATCH)), finder=away)


def test_a_format_without_a_status_is_approved_by_trust_alone(exchange):
    """A row without a status is approved by trust alone, and the date of its file does not make another event."""
    exchange.image("a.jpg", 17)
    at = datetime(2024, 1, 1, tzinfo=UTC)

    def take(at, **options):
        row = SourceRow(
            line=1, image="a.jpg", boxes=(), status=SourceStatus.UNSAID, at=at, at_said=False, width=64, height=48
        )
        return exchange.take([row], source="coco", **options)

    assert take(at).rows == {LabelStatus.LABELLED: 1}
    assert take(at, trust_status=True).rows == {LabelStatus.APPROVED: 1}
    assert take(at + timedelta(days=1), trust_status=True).new == 0


def test_two_rows_never_give_one_image_the_labels_of_another(exchange):
    """A folder has the images of one day only: the rows of the other day with the same names are set aside."""
    sha256 = sha256_of(exchange.image("day1/0001.jpg", 30))
    lines = (approved_line("day1/0001.jpg", SCRATCH), approved_line("day2/0001.jpg", (0, 40, 2, 9, 9)))
    result = exchange.take(rows(exchange, *lines), trust_status=True)
    assert [(item.line, item.reason) for item in result.set_aside] == [(2, "no-image")]
    assert exchange.approved()[sha256].boxes == (LabelledBox("scratch", Box(1, 2, 3, 4)),)


def test_copies_of_one_image_with_different_labels_are_all_set_aside(exchange):
    """The same bytes under two names are one image, and nobody can say whose labels are right."""
    data = exchange.image("a.jpg", 31)
    (exchange.folder / "b.jpg").write_bytes(data)
    (exchange.folder / "c.jpg").write_bytes(data)
    texts = [approved_line("a.jpg", SCRATCH), approved_line("b.jpg", (0, 9, 9, 9, 9)), approved_line("c.jpg", SCRATCH)]
    assert exchange.take(rows(exchange, *texts), trust_status=True).reasons == {"contradiction": 3}
    assert exchange.events() == []
    assert sum(exchange.take(rows(exchange, texts[0], texts[2]), trust_status=True).rows.values()) == 2


def unsaid(at, *rectangles):
    drawn = tuple(Drawn("scratch", *rectangle) for rectangle in rectangles)
    return SourceRow(line=1, image="a.jpg", boxes=drawn, status=SourceStatus.UNSAID, at=at, at_said=False)


def test_a_label_of_the_future_is_set_aside(exchange):
    """It would win over every later label. The file of the label or the image may have the wrong date."""
    exchange.image("a.jpg", 32)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    ahead, far = unsaid(now + timedelta(minutes=1)), unsaid(now + timedelta(days=1))
    result = exchange.take([ahead, far], trust_status=True, clock=lambda: now)
    assert result.reasons == {"time": 1}
    assert "before now" in result.set_aside[0].message
    assert [event.at for event in exchange.events()] == [now]


def test_labels_that_are_not_in_force_are_said_and_may_supersede(exchange):
    """Importing A, then B, then A again leaves B in force and says so. Asked to, A comes into force, once."""
    sha256 = sha256_of(exchange.image("a.jpg", 33))
    now = datetime(2026, 1, 9, tzinfo=UTC)
    a, b = unsaid(datetime(2026, 1, 1, tzinfo=UTC), (1, 1, 5, 5)), unsaid(datetime(2026, 1, 2, tzinfo=UTC))

    def take(row, **options):
        result = exchange.take([row], source="coco", trust_status=True, clock=lambda: now, **options)
        return result.new, result.superseded, len(result.not_in_force), len(exchange.approved()[sha256].boxes)

    assert take(a) == (1, 0, 0, 1)
    assert take(b) == (1, 0, 0, 0)
    assert take(a) == (0, 0, 1, 0)
    assert take(a, supersede=True) == (1, 1, 0, 1)
    assert take(a, supersede=True) == (0, 0, 0, 1)
    assert take(b, supersede=True) == (1, 1, 0, 0)
    assert "supersedes" in exchange.approved()[sha256].reason


def test_a_label_that_a_person_verified_here_is_not_superseded(exchange):
    """An import says that its label is not in force, but never replaces what a person decided in Kizu."""
    sha256 = sha256_of(exchange.image("a.jpg", 34))
    row = unsaid(datetime(2026, 1, 1, tzinfo=UTC), (1, 1, 5, 5))
    exchange.take([row], source="coco", trust_status=True)
    (imported,) = exchange.events()
    person = {"event_id": "7" * 64, "boxes": (), "annotator": "1", "verifier": "2", "source": "label-studio"}
    exchange.labels.append([replace(imported, at=datetime(2026, 1, 2, tzinfo=UTC), **person)])
    result = exchange.take([row], source="coco", trust_status=True, supersede=True)
    assert (result.new, result.superseded) == (0, 0)
    assert result.not_in_force[0].winner.by_a_person
    assert exchange.approved()[sha256].boxes == ()


def test_an_older_row_of_the_same_file_is_not_reported_as_overruled(exchange):
    """A source that keeps its history says all of it; the latest row of each image counts."""
    exchange.image("a.jpg", 35)
    old, new = unsaid(datetime(2026, 1, 1, tzinfo=UTC), (1, 1, 5, 5)), unsaid(datetime(2026, 1, 2, tzinfo=UTC))
    assert exchange.take([new, old], trust_status=True).not_in_force == ()


def test_an_import_makes_objects_of_the_events_of_its_own_images_only(exchange, monkeypatch):
    """However many labels a use case has, an import reads those that its rows could repeat or contradict."""
    for name in ("bad/a.jpg", "bad/b.jpg", "bad/c.jpg"):
        exchange.image(name)
        exchange.take(rows(exchange, approved_line(name, SCRATCH)), trust_status=True)
    made, from_row = [], store._from_row
    monkeypatch.setattr(store, "_from_row", lambda row: made.append(row["sha256"]) or from_row(row))
    again = exchange.take(rows(exchange, approved_line("bad/b.jpg", SCRATCH)), trust_status=True)
    assert (again.new, len(made), len(set(made))) == (0, 1, 1)
