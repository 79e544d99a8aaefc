"""How an anomaly map becomes detections, against maps whose answer is plain to see."""

from dataclasses import replace

import numpy as np
import pytest

from inspection.anomaly import ANOMALY, check_map_values, decode_anomaly_map, kept_map
from inspection.decode import Nms, OutputError
from inspection.documents import Release
from inspection.inspector import Inspector
from inspection.model_rules import ModelFormError, check_output
from inspection.outputs import ANOMALY_MAP, decoder_of
from inspection.preprocess import Letterbox, Preprocess
from inspection.verdict import ClassThreshold, Verdict
from tests.inspection.test_documents import RELEASE
from tests.inspection.test_model_rules import Tensor

SIDE = 64
WHOLE = Letterbox(1.0, 1.0, 0, 0, SIDE, SIDE)
THRESHOLDS = {ANOMALY: ClassThreshold(fail=0.5, uncertain=0.25)}


def map_of(*peaks: tuple[int, int, float], rest: float = 0.01) -> np.ndarray:
    """A map of 8 x 8 places of 8 pixels each. peaks: row, column, value."""
    values = np.full((1, 1, 8, 8), rest, np.float32)
    for row, column, value in peaks:
        values[0, 0, row, column] = value
    return values


def found_in(values, threshold=0.1, geometry=WHOLE, most=100):
    return decode_anomaly_map(values, geometry, SIDE, SIDE, threshold, most)


def test_a_peak_becomes_a_box_around_what_is_connected_at_half_its_height():
    """The score is the peak; weaker places beside it belong to it down to half of it, diagonals too."""
    [found] = found_in(map_of((2, 3, 0.8), (2, 4, 0.5), (3, 5, 0.4), (3, 6, 0.39)))
    assert (found.class_name, found.score) == (ANOMALY, pytest.approx(0.8))
    assert found.box.xyxy == (24.0, 16.0, 48.0, 32.0)


def test_two_places_apart_are_two_anomalies_the_higher_first():
    """Each has its own box."""
    first, second = found_in(map_of((0, 0, 0.4), (6, 6, 0.9)))
    assert (first.score, second.score) == (pytest.approx(0.9), pytest.approx(0.4))
    assert first.box.xyxy == (48.0, 48.0, 56.0, 56.0)
    assert second.box.xyxy == (0.0, 0.0, 8.0, 8.0)


def test_the_shoulder_of_a_higher_peak_is_no_anomaly_of_its_own():
    """Two peaks with more than half of the lower one between them are one anomaly."""
    [found] = found_in(map_of((2, 1, 0.9), (2, 2, 0.3), (2, 3, 0.5)))
    assert found.score == pytest.approx(0.9)


def test_a_threshold_leaves_out_but_moves_no_box():
    """What is found above a threshold is what a lower threshold finds, less the lower scores."""
    values = np.random.default_rng(0).random((1, 1, 8, 8), np.float32) ** 4
    every = found_in(values, 0.001)
    assert found_in(values, 0.3) == tuple(one for one in every if one.score >= 0.3)
    assert every[0].score == pytest.approx(float(values.max()))
    assert found_in(values, 0.001, most=2) == every[:2]


def test_a_flat_map_is_one_anomaly_as_large_as_the_image():
    """Of equal values one is the peak."""
    [found] = found_in(map_of(rest=0.7))
    assert found.box.xyxy == (0.0, 0.0, 64.0, 64.0)


def test_boxes_are_in_pixels_of_the_image_and_peaks_in_the_border_say_nothing():
    """An image of 128 x 64 lies in the middle of the input at half its size."""
    wide = Letterbox(0.5, 0.5, 0, 16, 128, 64)
    [found] = found_in(map_of((0, 0, 0.9), (4, 7, 0.8)), geometry=wide)
    assert found.score == pytest.approx(0.8)
    assert found.box.xyxy == (112.0, 32.0, 128.0, 48.0)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.zeros((1, 1, 8, 8), np.float32), "all 64 numbers are zero"),
        (map_of((0, 0, np.nan)), "1 of 64 are not"),
        (map_of((0, 0, np.inf)), "1 of 64 are not"),
        (map_of((0, 0, 1.5)), "in 0..1"),
        (map_of((0, 0, -0.5)), "in 0..1"),
        (np.ones((1, 5, 4), np.float32), r"\(1, 1, rows, columns\)"),
        (np.ones((1, 1, 0, 8), np.float32), r"\(1, 1, rows, columns\)"),
        (np.ones((1, 1, 8, 8), np.int32), "floating-point"),
    ],
)
def test_a_map_of_a_broken_network_is_an_error_and_never_a_good_part(values, said):
    """Nothing but zeros, a value that is no number, values outside 0..1, another shape, integers."""
    with pytest.raises(OutputError, match=said):
        check_map_values(values)
    inspector = Inspector(
        lambda tensor: values, Preprocess(SIDE, SIDE), (ANOMALY,), THRESHOLDS, Nms(), output=ANOMALY_MAP
    )
    with pytest.raises(OutputError):
        inspector.inspect(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8))


@pytest.mark.parametrize(("peak", "verdict"), [(0.6, Verdict.FAIL), (0.3, Verdict.UNCERTAIN), (0.2, Verdict.PASS)])
def test_an_inspector_of_an_anomaly_map_decides_by_its_peak(peak, verdict):
    """The map for people comes with the verdict."""
    inspector = Inspector(
        lambda tensor: map_of((2, 3, peak)), Preprocess(SIDE, SIDE), (ANOMALY,), THRESHOLDS, Nms(), output=ANOMALY_MAP
    )
    found = inspector.inspect(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8))
    assert found.verdict is verdict
    assert found.anomaly_map.values.shape == (8, 8)
    assert found.anomaly_map.values[2, 3] == round(peak * 255)


def test_the_map_over_an_image_leaves_out_the_border():
    """Each place of the map lies over the pixels that it is about, whatever the size of the shown image."""
    wide = Letterbox(0.5, 0.5, 0, 16, 128, 64)
    kept = kept_map(map_of((4, 7, 1.0), (0, 0, 1.0), rest=0.0), wide, SIDE, SIDE)
    shown = kept.over(64, 32)
    assert shown.shape == (32, 64)
    assert np.unravel_index(int(shown.argmax()), shown.shape)[0] in range(16, 24)
    assert (shown[16:24, 58:] > 100).any()
    assert shown[:8].max() == 0


def test_the_static_shape_of_a_map_is_checked():
    """One channel, and sides that are fixed."""
    check_output([Tensor([1, 1, 24, 32])], 1, ANOMALY_MAP)
    for outputs in ([], [Tensor([1, 5, 8400])], [Tensor([1, 2, 8, 8])], [Tensor([1, 1, "rows", 8])]):
        with pytest.raises(ModelFormError, match=r"expected an output of shape \(1, 1, rows, columns\), but got"):
            check_output(outputs, 1, ANOMALY_MAP)


def test_a_map_has_the_one_class_anomaly_and_a_form_that_is_not_known_is_refused():
    """A release of a newer program must not be read as boxes."""
    decoder_of(ANOMALY_MAP, classes=(ANOMALY,), nms=Nms(), input_width=SIDE, input_height=SIDE)
    for form, classes, said in ((ANOMALY_MAP, ("scratch",), "the one class 'anomaly'"), ("masks", ("a",), "update")):
        with pytest.raises(ValueError, match=said):
            decoder_of(form, classes=classes, nms=Nms(), input_width=SIDE, input_height=SIDE)


def test_a_release_says_its_output_only_where_it_is_a_map():
    """Releases of boxes keep their bytes, and so their digests."""
    assert b"output" not in RELEASE.to_json()
    anomaly = replace(RELEASE, classes=(ANOMALY,), thresholds=THRESHOLDS, output=ANOMALY_MAP)
    assert b'"output":"anomaly-map"' in anomaly.to_json()
    assert Release.from_json(anomaly.to_json()) == anomaly
