"""Counts, agreement and suspicions: rules over events and boxes, against numbers worked out by hand."""

import dataclasses
import hashlib
import uuid
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from components.reporting.agreement import agreement, match
from components.reporting.counts import count_labels, read_acts
from components.reporting.coverage import measure_coverage
from components.reporting.suspects import Doubt, Shot, Suspect, Suspects, doubts, duplicates_doubt
from components.stores.labels.parts import with_parts
from components.stores.labels.renames import plan_renaming, rename
from components.stores.labels.store import LabelEvent, LabelStatus, LabelStore
from components.stores.raw_images.images import RawImage
from inspection.geometry import Box, Detection, LabelledBox
from inspection.verdict import ClassThreshold

MONDAY = datetime(2025, 3, 3, 9, tzinfo=UTC)
THRESHOLDS = {"scratch": ClassThreshold(fail=0.5, uncertain=0.25), "dent": ClassThreshold(fail=0.5, uncertain=0.25)}
MARK = Box(10, 10, 20, 20)


def event(image, status="approved", *, day=0, annotator="a", verifier="v", boxes=(), **more):
    return LabelEvent(
        event_id=f"{image}-{status}-{day}", use_case="tag", image_uri=f"s3://raw/{image}",
        sha256=hashlib.sha256(image.encode()).hexdigest(), width=100, height=80,
        boxes=tuple(LabelledBox(name, box) for name, box in boxes), status=LabelStatus(status),
        at=MONDAY + timedelta(days=day), group=f"part-{image}", source="test", annotator=annotator,
        verifier=None if status == "labelled" else verifier, **{"task": image, **more},
    )  # fmt: skip


@pytest.fixture
def counted(tmp_path):
    """Counts events that were made in this order, as a report does: from a label store."""

    def count(events, classes):
        labels = LabelStore(str(tmp_path / uuid.uuid4().hex), {})
        labels.append([dataclasses.replace(e, at=e.at + timedelta(seconds=place)) for place, e in enumerate(events)])
        version = labels.version()
        return count_labels(read_acts(labels, "tag", version), labels.latest_approved("tag", version=version), classes)

    return count


def detection(score, box=MARK, name="scratch"):
    return Detection(name, score, box)


def test_labels_are_counted_by_class_day_and_person(counted):
    """Drawn, rejected, drawn again and approved is one approved image, with the work of both days."""
    scratch = ("scratch", MARK)
    counts = counted(
        [
            event("1", "labelled", boxes=[scratch]),
            event("2", "labelled", boxes=[scratch, scratch, ("dent", MARK)], annotator="b"),
            event("1", "rejected", day=1, boxes=[scratch]),
            event("2", "approved", day=1, boxes=[scratch, scratch, ("dent", MARK)], annotator="b"),
            event("1", "labelled", day=2),
            event("1", "approved", day=2),
            event("3", "labelled", day=2),
            event("4", "labelled", day=2, annotator="b"),
            event("4", "rejected", day=2, annotator="b", verifier="w"),
            event("5", "approved", day=2, annotator=None, verifier=None),
            event("6", "approved", day=1, annotator="b"),
            event("6", "deleted", day=2, annotator="b"),
        ],
        ["scratch", "stain"],
    )
    assert sorted(e.image_uri for e in counts.approved.values()) == ["s3://raw/1", "s3://raw/2", "s3://raw/5"]
    assert [(c.name, c.images, c.boxes) for c in counts.classes] == [
        ("scratch", 1, 2), ("stain", 0, 0), ("dent", 1, 1),
    ]  # fmt: skip
    assert (counts.without_box, counts.unverified, counts.waiting, counts.rejected) == (2, 1, 1, 1)
    assert [(d.day.day, d.labelled, d.approved, d.rejected, d.boxes) for d in counts.days] == [
        (3, 2, 0, 0, {}),
        (4, 0, 1, 1, {"scratch": 2, "dent": 1}),
        (5, 3, 2, 1, {}),
    ]
    first, second = counts.annotators
    assert (first.user, first.labelled, first.days, first.per_day) == ("a", 3, 2, 1.5)
    assert (first.rejected.count, first.rejected.n) == (1, 2)
    assert (second.user, second.labelled, second.rejected.count, second.rejected.n) == ("b", 2, 1, 3)
    assert [(v.user, v.decided, v.days, v.rejected.count) for v in counts.verifiers] == [("v", 4, 2, 1), ("w", 1, 1, 1)]


def test_what_was_imported_without_trust_waits_for_the_verifier(counted):
    """Its boxes become a verification task. Where an approved label of the image holds, nobody is asked."""
    imported = event("1", "labelled", annotator=None, task=None)
    assert counted([imported, event("2", "labelled")], ["scratch"]).waiting == 2
    approved = event("3", "approved")
    assert counted([approved, event("3", "labelled", day=1, annotator=None, task=None)], ["scratch"]).waiting == 0


@pytest.mark.parametrize("status", ["reopened", "unusable", "deleted"])
def test_an_approved_image_that_was_withdrawn_since_is_not_counted_as_approved(counted, status):
    """It is no label until it is approved again, and no verifier is counted for it a second time."""
    counts = counted([event("1"), event("1", status, day=1, annotator=None)], ["scratch"])
    assert (counts.approved, [verifier.decided for verifier in counts.verifiers]) == ({}, [1])


def test_a_renamed_class_or_a_corrected_part_is_nobody_s_work(tmp_path):
    """The later events that bring them keep the people's names, and count as no second label or decision."""
    labels = LabelStore(str(tmp_path / "labels"), {})
    first = [event("1", "labelled", boxes=[("scratch", MARK)]), event("1", day=1, boxes=[("scratch", MARK)])]
    labels.append([*first, event("2", "labelled", day=1, boxes=[("scratch", MARK)])])
    labels.append(with_parts(first[1:], {first[0].sha256: "another"}))
    for old, new in (("scratch", "line"), ("line", "hairline")):
        list(rename(labels, "tag", plan_renaming(labels, "tag", old, new)))
    version = labels.version()
    approved = labels.latest_approved("tag", version=version)
    counts = count_labels(read_acts(labels, "tag", version), approved, ["hairline"])
    assert [(c.name, c.images, c.boxes) for c in counts.classes] == [("hairline", 1, 1)]
    assert (counts.annotators[0].labelled, counts.annotators[0].rejected.n, counts.verifiers[0].decided) == (2, 1, 1)
    assert [(day.labelled, day.approved) for day in counts.days] == [(1, 0), (1, 1)]
    assert counts.waiting == 1


def test_an_empty_label_store_counts_nothing(counted):
    """A label store without events, as at the start of a use case, gives zero counts."""
    counts = counted([], ["scratch"])
    assert (counts.boxes, counts.days, counts.annotators, len(counts.approved)) == (0, (), (), 0)


def test_boxes_are_paired_by_the_largest_overlap_of_their_class():
    """A label meets one box of the model; another class never meets it."""
    label = LabelledBox("scratch", Box(0, 0, 10, 10))
    near, exact = detection(0.9, Box(0, 0, 10, 8)), detection(0.4, Box(0, 0, 10, 10))
    found = match([label], [near, exact, detection(0.9, Box(0, 0, 10, 10), "dent")])
    assert found.pairs == ((label, exact, 1.0),)
    assert found.detections == (near, detection(0.9, Box(0, 0, 10, 10), "dent"))
    assert match([], []).unchanged
    assert not found.unchanged


def test_agreement_says_how_often_people_changed_what_the_model_said():
    """One as it was, one moved, one with a box more, one with a box less."""
    label, moved = LabelledBox("scratch", MARK), LabelledBox("scratch", Box(10, 10, 20, 30))
    rows = [
        match([label], [detection(0.9)]),
        match([moved], [detection(0.9)]),
        match([label], []),
        match([], [detection(0.9)]),
    ]
    found = agreement("tag/3", rows, prelabelled=True)
    assert (found.images, found.unchanged, found.kept, found.added, found.removed) == (4, 1, 2, 1, 1)
    assert found.mean_iou == pytest.approx((1 + 2 / 3) / 2)
    assert found.changed_share == 0.75
    assert agreement("tag/3", [], prelabelled=True) is None


@pytest.mark.parametrize(
    ("boxes", "detections", "expected"),
    [
        ([], [detection(0.8)], {Doubt.MISSING_BOX: 0.8}),
        ([], [detection(0.74)], {}),  # it would fail the part, but is not sure
        ([("scratch", MARK)], [detection(0.8)], {}),
        ([("scratch", Box(0, 0, 90, 70))], [detection(0.9)], {}),  # within a larger box: a way to draw
        ([("dent", MARK)], [detection(0.8)], {Doubt.OTHER_CLASS: 0.8}),
        ([("scratch", MARK)], [], {Doubt.NOTHING_THERE: 1.0}),
        ([("scratch", MARK)], [detection(0.04)], {Doubt.NOTHING_THERE: 0.96}),
        ([("scratch", MARK)], [detection(0.06)], {}),  # faint, but not nothing
        ([("stain", MARK)], [], {}),  # a class that the model was never taught
        (
            [("scratch", Box(60, 50, 20, 20))],
            [detection(0.8), detection(0.9, Box(0, 60, 9, 9))],
            {Doubt.MISSING_BOX: 0.9, Doubt.NOTHING_THERE: 1.0},
        ),
    ],
)
def test_a_label_is_suspected_only_where_the_model_is_sure(boxes, detections, expected):
    """At thresholds of 0.5 and 0.25 the model is sure of a defect from 0.75 on, and of no defect below 0.05."""
    found = doubts(event("1", boxes=boxes), detections, THRESHOLDS)
    assert {s.doubt: pytest.approx(s.certainty) for s in found} == expected


def test_near_duplicates_are_suspected_where_their_labels_contradict_each_other():
    """The second photograph is shifted by (40, 5): a box that it cannot show is no contradiction."""
    shift = np.array([[1, 0, 40], [0, 1, 5], [0, 0, 1]], float)

    def suspect(first, second):
        shots = [Shot(event(n, boxes=boxes), ()) for n, boxes in (("1", first), ("2", second))]
        return duplicates_doubt(*shots, shift, 0.8)

    there = ("scratch", Box(50, 15, 20, 20))
    assert suspect([("scratch", MARK)], [there]) is None
    assert suspect([("scratch", MARK), ("scratch", Box(70, 40, 20, 20))], [there]) is None
    assert suspect([], []) is None
    assert suspect([], [("scratch", Box(5, 15, 20, 20))]) is None
    for first, second in (([("scratch", MARK)], []), ([], [there]), ([("dent", MARK)], [there])):
        assert suspect(first, second).doubt is Doubt.DUPLICATES_DIFFER


def test_a_box_that_the_transform_throws_to_infinity_is_not_compared():
    """A box that the transform moves to infinity is not compared, because it says nothing of the other photograph."""
    shots = [Shot(event("1", boxes=[("scratch", MARK)]), ()), Shot(event("2"), ())]
    assert duplicates_doubt(*shots, np.array([[1, 0, 0], [0, 1, 0], [-0.05, 0, 1]], float), 0.8) is None


def test_all_suspicions_are_counted_and_a_few_of_each_kind_are_kept():
    """No kind floods the page; the most certain come first; order of arrival does not matter."""
    many = [Suspect(Doubt.MISSING_BOX, 0.75 + n / 1000, "", (Shot(event(str(n)), ()),)) for n in range(100)]
    one = Suspect(Doubt.NOTHING_THERE, 0.97, "", (Shot(event("one"), ()),))
    for order in (many, many[::-1]):
        kept = Suspects(4)
        for suspect in [*order, one]:
            kept.add([suspect])
        assert kept.counts == {Doubt.MISSING_BOX: 100, Doubt.NOTHING_THERE: 1}
        assert [s.certainty for s in kept.chosen()] == [0.75 + 0.099, 0.97, 0.75 + 0.098, 0.75 + 0.097]


def test_the_coverage_of_a_product_leaves_out_other_lines():
    """An image that is of the product under one of its keys counts; one of another product's line does not."""

    def image(number, *places):
        keys = [f"{place}/2025/03/03/{number:064x}.jpg" for place in places]
        return RawImage(f"{number:064x}", f"s3://raw/{keys[0]}", "d", MONDAY.date(), (), tuple(keys[1:]))

    class Raw:
        def list_images(self):
            return [image(1, "osaka/tags"), image(2, "osaka/discs"), image(3, "osaka/discs", "osaka/tags")]

    found = measure_coverage(Raw(), [], max_captures=0, owns=lambda device: device == "osaka/tags")
    assert found.images == 2
