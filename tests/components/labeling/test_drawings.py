"""Whose boxes go to the verifier: rules over tasks as Label Studio gives them, without a server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from components.labeling.conversion import to_regions
from components.labeling.drawings import agree, read_drawings
from components.labeling.project_config import SHOWN_BOXES, UNUSABLE
from components.labeling.task_data import LabelingData
from components.labeling.tasks import Annotation, Prediction, Task
from components.use_case import parse_use_case
from inspection.geometry import Box, LabelledBox

USE_CASE = parse_use_case(
    "name: tags\nclasses: [scratch, dent]\nlabeling: {instructions: x, overlap: 2, agreement_iou: 0.5}\n"
    "gates: {min_map50: 0.5, max_escape_rate: 0.5, max_overkill_rate: 0.5}\n"
)
SHA = "ab" * 32
AT = datetime(2026, 11, 22, tzinfo=UTC)
HERE = [LabelledBox("scratch", Box(10, 10, 20, 20))]
NEARLY = [LabelledBox("scratch", Box(12, 11, 20, 20))]
ELSEWHERE = [LabelledBox("scratch", Box(60, 60, 20, 20))]


def task(*annotations, overlap=2, asks=2, predictions=(), note=""):
    data = LabelingData(
        image=f"s3://kizu-raw/plant/cam-1/2026/11/22/{SHA}.jpg", sha256=SHA, width=100, height=100, group="g",
        reason="", device="cam-1", day="2026-11-22", overlap=overlap, note=note,
    )  # fmt: skip
    return Task(1, data.to_data(), annotations, tuple(predictions), False, asks)


def by(people, boxes, number, *, cancelled=False):
    result = tuple(to_regions(boxes, 100, 100))
    return Annotation(str(number), result, tuple(people), cancelled, AT + timedelta(minutes=number))


def read(*tasks):
    return read_drawings(USE_CASE, 7, tasks)


def test_one_of_two_people_leaves_the_image_open():
    """Each drawing becomes an event, although the image stays open until enough people have drawn."""
    drawings = read(task(by("1", HERE, 1)))
    assert (drawings.finished, len(drawings.open), drawings.asking) == ((), 1, ())
    assert [event.annotator for event in drawings.events] == ["1"]


def test_two_who_agree_send_the_first_one_s_boxes_and_neither_may_verify():
    """Two people whose boxes nearly match agree; the boxes of the first go to the verifier."""
    drawings = read(task(by("1", HERE, 1), by("2", NEARLY, 2)))
    (item,) = drawings.finished
    assert (item.event.annotator, item.annotators) == ("1", ("1", "2"))
    assert [event.annotator for event in drawings.events] == ["1", "2"]
    assert not drawings.open


def test_two_who_do_not_agree_ask_for_a_third_whose_boxes_go():
    """Label Studio is told to offer the image once more; all three count as annotators."""
    two = (by("1", HERE, 1), by("2", ELSEWHERE, 2))
    drawings = read(task(*two))
    assert drawings.finished == ()
    assert [wanted for _, wanted in drawings.asking] == [3]
    assert read(task(*two, asks=3)).asking == ()
    (item,) = read(task(*two, by("3", NEARLY, 3), asks=3)).finished
    assert (item.event.annotator, set(item.annotators)) == ("3", {"1", "2", "3"})


def test_one_person_twice_is_one_opinion():
    """Their latest; and Label Studio, which counts annotations, is told to ask another."""
    drawings = read(task(by("1", HERE, 1), by("1", ELSEWHERE, 2)))
    assert (drawings.finished, [wanted for _, wanted in drawings.asking]) == ((), [3])
    assert [event.annotation for event in drawings.events] == ["2"]


def test_who_edited_another_s_boxes_gives_no_second_opinion():
    """Two annotations with a person in common count as one opinion."""
    drawings = read(task(by(("1", "2"), HERE, 1), by("2", HERE, 2)))
    assert drawings.finished == ()


def test_a_cancelled_annotation_is_nobody_s_opinion():
    """A cancelled annotation counts neither as one of two opinions nor as the third."""
    assert read(task(by("1", HERE, 1), by("2", HERE, 2, cancelled=True))).finished == ()


def test_a_task_keeps_the_overlap_that_it_was_made_with():
    """A use case that asks for two from now on does not open what one person finished."""
    (item,) = read(task(by("1", HERE, 1), overlap=1, asks=1)).finished
    assert item.annotators == ("1",)


def because(reason):
    return {"from_name": UNUSABLE, "to_name": "image", "type": "choices", "value": {"choices": [reason]}}


def says(number, result, *, cancelled=False):
    return Annotation(str(number), tuple(result), ("1",), cancelled, AT + timedelta(minutes=number))


def test_with_overlap_1_the_earlier_of_two_people_leaves_an_event():
    """The latest person's boxes go to the verifier, and nothing that a person drew is without a trace."""
    drawings = read(task(by("1", HERE, 1), by("2", ELSEWHERE, 2), overlap=1, asks=1))
    (item,) = drawings.finished
    assert (item.event.annotator, item.annotators) == ("2", ("2",))
    assert [event.annotator for event in drawings.events] == ["1", "2"]


@pytest.mark.parametrize("skipped", [True, False], ids=["skipped", "submitted without a box"])
@pytest.mark.parametrize("reason", ["blurred or dark", "ぼけ・暗い"])
def test_an_image_that_is_skipped_with_a_reason_is_set_aside(skipped, reason):
    """It is no open task, and an event says who set it aside and why."""
    drawings = read(task(says(1, [because(reason)], cancelled=skipped)))
    assert (drawings.open, drawings.finished, drawings.handed_out) == ((), (), 0)
    (event,) = drawings.events
    assert (event.status, event.reason, event.annotator, event.boxes) == ("unusable", "blurred or dark", "1", ())


def test_an_image_that_is_skipped_without_a_reason_takes_no_place_of_others():
    """It stays open for another person, and does not count towards the cap of open tasks."""
    drawings = read(task(says(1, [], cancelled=True)))
    assert (len(drawings.open), len(drawings.skipped), drawings.handed_out, drawings.events) == (1, 1, 0, [])


def test_who_draws_what_another_person_set_aside_is_believed():
    """Boxes are more than a reason not to draw them."""
    drawings = read(task(says(1, [because("cannot tell")], cancelled=True), by("2", HERE, 2), overlap=1))
    assert [event.status for event in drawings.events] == ["labelled"]


def test_boxes_together_with_a_reason_not_to_draw_them_are_refused():
    """A submitted drawing that says both does not count, and the task stays open."""
    drawings = read(task(says(1, [*to_regions(HERE, 100, 100), because("cannot tell")])))
    assert [refusal.problem for refusal in drawings.refused] == ["contradiction"]
    assert (len(drawings.open), drawings.events) == (1, [])


@pytest.mark.parametrize(
    "change", [{"original_width": 50}, {"original_height": 200}, {"image_rotation": 90}, {"image_rotation": "left"}]
)
def test_a_drawing_on_a_picture_of_another_size_or_turned_is_refused(change):
    """Percent of another picture's sides are no percent of this one's."""
    drawings = read(task(says(1, [{**region, **change} for region in to_regions(HERE, 100, 100)])))
    assert [refusal.problem for refusal in drawings.refused] == ["other-picture"]
    assert (len(drawings.open), drawings.events) == (1, [])


def test_a_drawing_that_does_not_say_what_the_person_saw_is_believed():
    """Other tools leave out the size; a full turn is no turn."""
    bare = [
        {key: value for key, value in region.items() if key not in ("original_width", "image_rotation")}
        for region in to_regions(HERE, 100, 100)
    ]
    assert len(read(task(says(1, bare), overlap=1)).finished) == 1
    turned = [{**region, "image_rotation": 360} for region in to_regions(HERE, 100, 100)]
    assert len(read(task(says(1, turned), overlap=1)).finished) == 1


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([], [], True),
        (HERE, [], False),
        (HERE, NEARLY, True),
        (HERE, ELSEWHERE, False),
        (HERE, [LabelledBox("dent", Box(10, 10, 20, 20))], False),
        (HERE * 2, HERE, False),
        # The first lies on both of the others, the second on one alone: the nearest-first match would fail.
        (
            [LabelledBox("scratch", Box(4, 0, 20, 20)), LabelledBox("scratch", Box(0, 0, 20, 20))],
            [LabelledBox("scratch", Box(3, 0, 20, 20)), LabelledBox("scratch", Box(8, 0, 20, 20))],
            True,
        ),
    ],
)
def test_people_agree_where_boxes_match_one_to_one(first, second, expected):
    """Boxes match by class and overlap, and the order of the two people makes no difference."""
    assert agree(first, second, 0.5) is expected
    assert agree(second, first, 0.5) is expected


def test_labels_name_the_model_whose_boxes_they_began_with_and_whether_they_kept_them():
    """A returned image begins with a person's boxes, so no model is named."""
    model = Prediction(3, "tags/4", tuple(to_regions(HERE, 100, 100)))
    shown = Prediction(4, SHOWN_BOXES, model.result)
    kept = read(task(by("1", HERE, 1), overlap=1, predictions=[model, shown]))
    changed = read(task(by("1", ELSEWHERE, 1), overlap=1, predictions=[model, shown]))
    returned = read(task(by("1", HERE, 1), overlap=1, predictions=[model, shown], note="Returned"))
    assert [event.prelabel_model for event in (*kept.events, *changed.events)] == ["tags/4", "tags/4"]
    assert (len(kept.suggested_kept), len(kept.suggested_changed)) == (1, 0)
    assert (len(changed.suggested_kept), len(changed.suggested_changed)) == (0, 1)
    assert returned.events[0].prelabel_model is None
    bare = read(task(by("1", HERE, 1), overlap=1, predictions=[shown]))
    assert bare.events[0].prelabel_model is None
