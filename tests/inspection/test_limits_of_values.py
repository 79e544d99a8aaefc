"""The values at the limits of what documents and rules allow: the last that is taken, and the first that is not."""

import json
import os
import time
from datetime import UTC, datetime

import pytest

from inspection.codec import DocumentError
from inspection.documents import Capture, InputSpec, LabelledRegion, Release, Sampling, Wave, check_file
from inspection.geometry import Box, Detection, LabelledBox, iou
from inspection.golden import Tolerance, difference
from inspection.paths import raw_image_key
from inspection.preprocess import Preprocess
from inspection.verdict import ClassThreshold

SHA = "a" * 64


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.4, 0.4)])
def test_the_band_of_doubt_may_be_a_point_or_everything(low, high):
    """0 and 1 belong to it, and so does a band without an extent."""
    assert Sampling(uncertain_low=low, uncertain_high=high).uncertain_high == high


@pytest.mark.parametrize(("low", "high"), [(-0.01, 0.5), (0.5, 0.4), (0.5, 1.01)])
def test_a_band_of_doubt_outside_of_the_scores_is_refused(low, high):
    """A band of uncertainty outside the scores is refused with a message that gives both values."""
    with pytest.raises(ValueError, match=f"got {low}, {high}"):
        Sampling(uncertain_low=low, uncertain_high=high)


@pytest.mark.parametrize("name", ["nothing_found_rate", "control_rate", "disagreement_rate"])
def test_a_rate_is_a_share(name):
    """0 and 1 are shares; the message names the key and the value that is none."""
    for good in (0.0, 1.0):
        assert getattr(Sampling(uncertain_low=0.1, uncertain_high=0.6, **{name: good}), name) == good
    for bad in (-0.1, 1.1):
        with pytest.raises(ValueError, match=f"^{name} lies in 0..1, but got {bad}$"):
            Sampling(uncertain_low=0.1, uncertain_high=0.6, **{name: bad})


@pytest.mark.parametrize("name", ["max_per_minute", "max_per_hour", "max_per_day"])
def test_a_cap_may_be_zero_and_not_less(name):
    """A cap of 0 or 1 is accepted and a negative one is refused; 0 sends nothing."""
    for good in (0, 1):
        assert getattr(Sampling(uncertain_low=0.1, uncertain_high=0.6, **{name: good}), name) == good
    with pytest.raises(ValueError, match=f"^{name} is not negative, but got -1$"):
        Sampling(uncertain_low=0.1, uncertain_high=0.6, **{name: -1})


def test_the_input_of_a_release_gives_all_of_its_values_to_the_letterbox():
    """The letterbox gets every value of a release's input; here each differs from its default."""
    spec = InputSpec(width=64, height=96, pad_value=7, interpolation="area", colour_order="bgr")
    assert spec.to_preprocess() == Preprocess(64, 96, 7, "area", "bgr")


@pytest.mark.parametrize(("width", "height"), [(0, 32), (32, 0), (-32, 32), (32, -32), (33, 32), (32, 48)])
def test_the_input_of_a_network_has_positive_multiples_of_32_as_sides(width, height):
    """An input whose sides are not positive multiples of 32 is refused with a message that gives both sides."""
    with pytest.raises(ValueError, match=f"but got {width} x {height}"):
        Preprocess(width, height)


def test_the_border_may_be_black_or_white():
    """0 and 255 are greys; -1 and 256 are none."""
    for good in (0, 255):
        assert Preprocess(32, 32, good).pad_value == good
    for bad in (-1, 256):
        with pytest.raises(ValueError, match=f"but got {bad}"):
            Preprocess(32, 32, bad)


def test_a_threshold_may_leave_no_room_for_doubt():
    """`uncertain` may equal `fail`, and `fail` may be 1."""
    assert ClassThreshold(fail=0.5, uncertain=0.5).uncertain == 0.5
    assert ClassThreshold(fail=1.0, uncertain=0.5).fail == 1.0


def test_boxes_that_touch_do_not_overlap():
    """Boxes that share only a side or a corner, or are apart in both directions, have an IoU of 0."""
    box = Box(0, 0, 10, 10)
    assert iou(box, Box(10, 0, 10, 10)) == 0.0
    assert iou(box, Box(0, 10, 10, 10)) == 0.0
    assert iou(box, Box(20, 20, 10, 10)) == 0.0


def test_a_key_of_an_image_has_the_day_of_utc(monkeypatch):
    """The key of an image has the day in UTC, whatever the time zone of the machine is."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        key = raw_image_key("site", "dev1", datetime(2026, 3, 1, 23, 30, tzinfo=UTC), SHA, "jpg")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert key == f"site/dev1/2026/03/01/{SHA}.jpg"
    assert os.environ.get("TZ") != "Asia/Tokyo"


def test_a_message_shows_sixty_characters_of_a_wrong_value():
    """A message shows 60 characters of a wrong value, so that a large document does not fill a log."""
    document = {
        "capture_id": "c", "sha256": SHA, "device": "d", "camera": "c", "captured_at": "2026-03-01T00:00:00+00:00",
        "reason": "x" * 200,
    }  # fmt: skip
    with pytest.raises(DocumentError) as caught:
        Capture.from_json(json.dumps(document).encode())
    assert str(caught.value).endswith(f"but got '{'x' * 60}'")


def test_a_message_shows_eighty_characters_of_a_wrong_file_name():
    """A file name that is not plain is refused, and the message shows at most 80 characters of it."""
    with pytest.raises(ValueError, match=f"^expected a plain file name, but got '{'/' * 80}'$"):
        check_file("/" * 200)


def test_a_wave_names_devices_or_a_percent():
    """The message says which two there are."""
    for wrong in ({}, {"devices": ("d",), "percent": 5.0}):
        with pytest.raises(ValueError, match=r"^a wave names either devices or a percent$"):
            Wave(release_digest=SHA, **wrong)


def test_a_labelled_box_needs_a_class_name():
    """A labelled box with an empty class name is refused, and the message says so."""
    with pytest.raises(ValueError, match=r"^a labelled box needs a class name, but got an empty one$"):
        LabelledBox("", Box(0, 0, 1, 1))


def test_a_labelled_region_gives_its_box():
    """A labelled region gives a box with the same four values, and a value that is not finite is refused."""
    region = LabelledRegion(class_name="scratch", x=1.0, y=2.0, width=3.0, height=4.0)
    assert region.to_box() == Box(1.0, 2.0, 3.0, 4.0)
    with pytest.raises(ValueError, match="finite"):
        LabelledRegion(class_name="scratch", x=float("nan"), y=2.0, width=3.0, height=4.0)


def test_a_release_says_what_it_lacks(release_document):
    """The use case's name, a model, a class, or a threshold."""
    for change, message in (
        ({"use_case": "a/b"}, "expected a use case of"),
        ({"models": []}, "a release needs at least one model and one class"),
        ({"classes": []}, "a release needs at least one model and one class"),
        ({"thresholds": {}}, "a release needs a threshold for each class, missing ['scratch']"),
    ):
        with pytest.raises(DocumentError) as caught:
            Release.from_json(release_document(**change))
        assert str(caught.value).startswith(f"Release: {message}")


@pytest.fixture
def release_document():
    def document(**changes):
        value = {
            "schema_version": 1, "use_case": "tag", "version": 1,
            "models": [{"precision": "fp32", "file": "model.onnx", "sha256": SHA, "bytes": 3}],
            "preprocess": {"width": 32, "height": 32}, "classes": ["scratch"],
            "thresholds": {"scratch": {"fail": 0.5, "uncertain": 0.3}}, "nms": {},
            "sampling": {"uncertain_low": 0.1, "uncertain_high": 0.6}, "latency_budget_ms": 10.0, "probation_s": 1.0,
            "golden": [], "min_agent_version": "0.1.0", "dataset_digest": SHA, "training_run": "r",
            "evaluation_digest": SHA,
            "approval": {"by": "approver", "at": "2026-03-01T00:00:00+00:00", "model_sha256": SHA},
        }  # fmt: skip
        return json.dumps({**value, **changes}).encode()

    return document


def found(score=0.5, x=10.0, name="scratch"):
    return Detection(name, score, Box(x, 20.0, 30.0, 40.0))


EXACT = Tolerance(score=0.0625, box_px=2.0)  # sums of powers of two, so that a limit is met exactly


def test_a_golden_sample_agrees_up_to_its_tolerance_and_not_beyond():
    """Score and each side may differ by the tolerance exactly."""
    assert difference([], [], EXACT, 0.1) is None
    assert difference([found(0.5625, 12.0)], [found()], EXACT, 0.1) is None
    for other in (found(0.5626), found(x=12.1), found(name="dent")):
        words = difference([other], [found()], EXACT, 0.1)
        assert words is not None
        assert words.startswith("expected scratch 0.500 at (10, 20, 40, 60), but got ['")


def test_a_golden_sample_without_anything_like_it_says_so():
    """Without any detection, the difference says that nothing like the golden sample's box was found."""
    assert difference([], [found()], EXACT, 0.1) == (
        "expected scratch 0.500 at (10, 20, 40, 60), but got nothing like it"
    )


def test_each_expected_detection_needs_a_partner_of_its_own():
    """One detection does not stand for two, and a second one like it is one too many."""
    assert difference([found()], [found(), found()], EXACT, 0.1) is not None
    assert difference([found(), found()], [found()], EXACT, 0.1) == (
        "expected no more than 1 detections, but got also scratch 0.500 at (10, 20, 40, 60)"
    )
    assert difference([found(), found(x=100.0)], [found(x=100.0), found()], EXACT, 0.1) is None


def test_a_detection_near_the_floor_may_be_there_or_not():
    """A detection may be missing where its score less the tolerance does not exceed the floor."""
    near, above = found(0.3125), found(0.375)
    assert difference([], [near], EXACT, 0.25) is None
    assert difference([near], [], EXACT, 0.25) is None
    assert difference([near, found()], [found()], EXACT, 0.25) is None
    assert difference([], [above], EXACT, 0.25) is not None
    assert difference([near, above], [], EXACT, 0.25) is not None
    assert difference([found()], [near, found(), found(x=90.0)], EXACT, 0.25) is not None
