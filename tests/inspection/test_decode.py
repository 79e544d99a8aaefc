"""The output tensor of a network becomes detections."""

import numpy as np
import pytest

from inspection.decode import Nms, OutputError, decode_yolov8
from inspection.geometry import Box
from inspection.preprocess import Letterbox

SAME = Letterbox(1.0, 1.0, 0, 0, 320, 224)  # the image is the input
TWO = ("scratch", "dent")


def output_of(*rows):
    """An output tensor with these rows: (cx, cy, w, h, then one score for each class)."""
    return np.array(rows, dtype=np.float32).T[None]


def decode(output, *, geometry=SAME, classes=TWO, threshold=0.25, nms=None):
    return decode_yolov8(output, geometry, classes, threshold, nms or Nms())


def test_a_row_becomes_a_box_of_its_best_class():
    """A row with centre (100, 50) and sides 20 x 10 is a box that begins at (90, 45)."""
    (found,) = decode(output_of((100, 50, 20, 10, 0.3, 0.75)))
    assert found.class_name == "dent"
    assert found.score == 0.75
    assert found.box == Box(90, 45, 20, 10)


def test_boxes_are_led_back_through_the_letterbox():
    """At half size, with 10 px of border at the left and 20 above, (60, 70) in the input is (100, 100) in the image."""
    geometry = Letterbox(0.5, 0.5, 10, 20, 400, 300)
    (found,) = decode(output_of((60, 70, 10, 20, 0.9, 0)), geometry=geometry)
    assert found.box == Box(90, 80, 20, 40)


def test_a_box_ends_at_the_edge_of_the_image_and_one_in_the_border_is_none():
    """A box is cut at the edge of the image, and a box wholly in the grey border is no detection."""
    found = decode(output_of((0, 100, 20, 20, 0.9, 0), (400, 100, 20, 20, 0.8, 0)))
    assert [d.box for d in found] == [Box(0, 90, 10, 20)]


def test_the_threshold_itself_is_enough():
    """A score that is equal to the threshold is a detection."""
    output = output_of((50, 50, 10, 10, 0.5, 0), (150, 150, 10, 10, 0.4375, 0))
    assert [d.score for d in decode(output, threshold=0.5)] == [0.5]
    assert [d.score for d in decode(output, threshold=0.4375)] == [0.5, 0.4375]


def test_highest_score_comes_first():
    """The order of the rows does not matter."""
    found = decode(output_of((50, 50, 9, 9, 0.5, 0), (150, 50, 9, 9, 0, 0.75), (250, 50, 9, 9, 0.625, 0)))
    assert [d.score for d in found] == [0.75, 0.625, 0.5]


def test_overlapping_boxes_of_one_class_are_one():
    """An IoU of 0.818 is more than 0.5, so only the box with the higher score stays."""
    found = decode(output_of((100, 100, 20, 20, 0.6, 0), (102, 100, 20, 20, 0.9, 0)))
    assert [(d.score, d.box.x) for d in found] == [(pytest.approx(0.9), 92)]


def test_overlapping_boxes_of_two_classes_are_two_unless_asked():
    """A scratch in a dent gives two detections; with class_agnostic it gives one."""
    output = output_of((100, 100, 20, 20, 0.6, 0), (100, 100, 20, 20, 0, 0.9))
    assert [d.class_name for d in decode(output)] == ["dent", "scratch"]
    assert [d.class_name for d in decode(output, nms=Nms(class_agnostic=True))] == ["dent"]


def test_suppression_is_greedy_a_suppressed_box_suppresses_nothing():
    """In a chain a-b-c where b overlaps both, a removes b, and c stays."""
    a, b, c = (100, 100, 20, 20, 0.9, 0), (106, 100, 20, 20, 0.8, 0), (112, 100, 20, 20, 0.7, 0)
    assert [d.box.x for d in decode(output_of(a, b, c))] == [90, 102]  # IoU a-b 0.54, a-c 0.25


def test_boxes_that_overlap_by_exactly_the_bound_are_two():
    """An IoU of 0.5 is not more than 0.5, so both boxes stay."""
    output = output_of((100, 100, 20, 20, 0.9, 0), (100, 95, 20, 10, 0.8, 0))
    assert len(decode(output, nms=Nms(iou=0.5))) == 2
    assert len(decode(output, nms=Nms(iou=0.49))) == 1


def test_no_more_than_asked_and_the_best_of_them():
    """At most `max_detections` detections are returned, the ones with the highest scores."""
    rows = [(10 + 12 * i, 50, 8, 8, 0.3 + 0.02 * i, 0) for i in range(20)]
    found = decode(output_of(*rows), nms=Nms(max_detections=3))
    assert [round(d.score, 2) for d in found] == [0.68, 0.66, 0.64]


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_not_finite_is_an_error_and_not_an_empty_answer(place, bad):
    """One such number is enough, also in a row whose score is too low to count: the network is broken."""
    for score in (0.9, 0.0):
        broken = [100, 100, 20, 20, score, 0.1]
        broken[place] = bad
        with pytest.raises(OutputError, match="expected finite numbers, but 1 of 12 are not"):
            decode(output_of(broken, (200, 100, 20, 20, 0.5, 0)))


@pytest.mark.parametrize("side", [0.0, -3.0, 1e-7, 1e-30])
def test_a_box_without_an_extent_is_dropped_not_raised(side):
    """A side may be zero, negative, or too small to tell two corners apart."""
    found = decode(output_of((300, 100, side, 20, 0.9, 0), (100, 200, 20, side, 0.9, 0), (50, 50, 8, 8, 0.5, 0)))
    assert [d.box for d in found if d.box.area > 1] == [Box(46, 46, 8, 8)]


def test_enormous_numbers_do_not_stop_the_line():
    """A number may be finite in the tensor and infinite as a corner."""
    found = decode(output_of((3e38, 100, 3e38, 20, 0.9, 0), (50, 50, 8, 8, 0.5, 0)))
    assert [d.box for d in found] == [Box(46, 46, 8, 8)]


def test_a_score_a_hair_above_one_is_one():
    """A rounding error of a runtime is no error."""
    (found,) = decode(output_of((50, 50, 8, 8, 1.0000001, 0)))
    assert found.score == 1.0


def test_nothing_found_is_an_empty_answer():
    """No row may be above the threshold."""
    assert decode(output_of(*[(50, 50, 8, 8, 0.0, 0.0)] * 100)) == ()


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (np.zeros((1, 6, 0), np.float32), "with n > 0"),
        (np.zeros((1, 6, 100), np.float32), "all 600 numbers are zero"),
        (np.ones((1, 6, 100), np.int8), "floating-point numbers, got int8"),
    ],
)
def test_an_answer_without_places_or_of_zeros_alone_is_an_error(output, said):
    """Such an answer comes from a runtime that computed nothing; a good part looks otherwise."""
    with pytest.raises(OutputError, match=said):
        decode(output)


@pytest.mark.parametrize("shape", [(1, 5, 10), (2, 6, 10), (6, 10), (1, 10, 6)])
def test_a_tensor_of_another_shape_is_refused_by_shape(shape):
    """The message says what was expected and what came."""
    with pytest.raises(ValueError, match=r"expected an output of shape \(1, 6, n\) for 2 classes with n > 0, got"):
        decode(np.zeros(shape, np.float32))


@pytest.mark.parametrize("arguments", [{"iou": 0.0}, {"iou": 1.1}, {"max_detections": 0}])
def test_settings_that_suppress_all_or_nothing_are_refused(arguments):
    """Nms cannot be created with such values."""
    with pytest.raises(ValueError, match="but got"):
        Nms(**arguments)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("agnostic", [False, True])
def test_random_outputs_give_what_ultralytics_gives(seed, agnostic):
    """Boxes agree within 0.01 px, with the same classes and scores in the same order."""
    reference = pytest.importorskip("tests.inspection.reference_ultralytics")
    rng = np.random.default_rng(seed)
    rows = np.concatenate(
        [rng.uniform(20, 200, (300, 2)), rng.uniform(5, 60, (300, 2)), rng.uniform(0, 1, (300, 2))], axis=1
    ).astype(np.float32)
    output = np.ascontiguousarray(rows.T[None])
    size, target = (333, 447), (224, 320)
    geometry = Letterbox(301 / 447, 224 / 333, 9, 0, 447, 333)
    ours = decode_yolov8(output, geometry, TWO, 0.3, Nms(iou=0.45, max_detections=100, class_agnostic=agnostic))
    theirs = reference.non_max_suppression(
        reference.torch.from_numpy(output.copy()), 0.3, 0.45, agnostic=agnostic, max_det=100
    )[0]
    boxes = reference.scale_boxes(target, theirs[:, :4].clone(), size).numpy()
    whole = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    assert [TWO.index(d.class_name) for d in ours] == theirs[whole, 5].int().tolist()
    assert [d.score for d in ours] == pytest.approx(theirs[whole, 4].tolist())
    assert np.abs(np.array([d.box.xyxy for d in ours]) - boxes[whole]).max() < 0.01


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("most", [3, 100])
def test_few_and_many_candidates_go_by_the_same_rule_to_the_last_bit(monkeypatch, class_agnostic, most):
    """Random boxes that overlap, some without a side or outside the image: with numbers and with arrays the same."""
    draw = np.random.default_rng(8)
    geometry = Letterbox(0.7111, 0.71, 3, 5, 450, 300)
    kept = 0
    for count in range(1, 33):
        output = np.zeros((1, 6, count), np.float32)
        output[0, :2] = draw.uniform(-20, 340, (2, count)).round(-1)
        output[0, 2:4] = draw.uniform(-5, 80, (2, count))
        output[0, 4:] = draw.uniform(0, 1, (2, count)).round(1)  # several have the same score
        nms = Nms(iou=0.3, max_detections=most, class_agnostic=class_agnostic)
        found = decode(output, geometry=geometry, nms=nms)
        monkeypatch.setattr("inspection.decode._FEW", 0)
        assert decode(output, geometry=geometry, nms=nms) == found
        monkeypatch.undo()
        kept += len(found)
    assert kept > 40
