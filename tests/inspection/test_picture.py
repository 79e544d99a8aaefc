"""Whether a picture says anything: what is measured, the limits of a line, and what trips them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from components.generated_parts.photographs import LineGenerator
from inspection.decode import Nms
from inspection.image import decode_image
from inspection.inspector import Inspector
from inspection.picture import PictureLimits, PictureMeasure, PictureProblem, derive, measure, problem_of
from inspection.preprocess import Preprocess, letterbox
from inspection.verdict import ClassThreshold, Verdict

SIZE = Preprocess(320, 224)


def measured(image, size=SIZE) -> PictureMeasure:
    return measure(*letterbox(image, size))


def checkerboard(low: int, high: int, side: int = 64) -> np.ndarray:
    rows, columns = np.indices((side, side))
    grey = np.where((rows + columns) % 2, high, low).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.fixture(scope="module")
def line() -> list[np.ndarray]:
    """Photographs of one line: many parts, two of each."""
    generator = LineGenerator(seed=7, photographs_per_part=2)
    return [decode_image(photograph.jpeg) for photograph in generator.photographs(range(30))]


@pytest.fixture(scope="module")
def limits(line) -> PictureLimits:
    """Derived from other parts of the same line."""
    return derive([measured(image) for image in line[:40]])


def test_a_checkerboard_has_the_numbers_worked_out_by_hand():
    """The mean of 40 and 60 is 50, and each pixel lies 10 from it. Its four neighbours differ by 20: 80 up or down."""
    found = measured(checkerboard(40, 60), Preprocess(64, 64))
    assert (found.brightness, found.contrast) == (pytest.approx(50, abs=0.01), pytest.approx(10, abs=0.01))
    assert found.sharpness == pytest.approx(80**2, rel=0.01)


def as_opencv_adds_up(image, size=SIZE) -> PictureMeasure:
    """The same numbers by `cv2.meanStdDev`, which adds one value after the other."""
    tensor, geometry = letterbox(image, size)
    height, width = round(geometry.image_height * geometry.scale_y), round(geometry.image_width * geometry.scale_x)
    inner = tensor[0, :, geometry.pad_top :, geometry.pad_left :][:, :height, :width]
    grey = (inner[0] + inner[1]) + inner[2]
    mean, deviation = cv2.meanStdDev(grey)
    _, edges = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))
    return PictureMeasure(float(mean[0, 0]) * 85, float(deviation[0, 0]) * 85, (float(edges[0, 0]) * 85) ** 2)


def test_the_order_in_which_values_are_added_up_changes_no_number_and_no_limit(line):
    """The numbers are those of `cv2.meanStdDev` but for the last digits of a double, and the limits are the same."""
    found, expected = [measured(image) for image in line], [as_opencv_adds_up(image) for image in line]
    for one, other in zip(found, expected, strict=True):
        assert one.brightness == pytest.approx(other.brightness, rel=1e-11)
        assert one.contrast == pytest.approx(other.contrast, rel=1e-11)
        assert one.sharpness == pytest.approx(other.sharpness, rel=1e-11)
    assert derive(found) == derive(expected)


def test_the_border_of_the_input_is_not_measured():
    """A wide picture has the same numbers as the picture alone."""
    wide = np.concatenate([checkerboard(0, 200)] * 2, axis=1)
    assert measured(wide, Preprocess(128, 128)) == measured(wide, Preprocess(128, 64))


def test_the_order_of_the_channels_does_not_matter():
    """A release with the other order has the same limits."""
    image = np.random.default_rng(3).integers(0, 255, (64, 64, 3), np.uint8)
    one = measured(image, Preprocess(64, 64, colour_order="rgb"))
    other = measured(image, Preprocess(64, 64, colour_order="bgr"))
    assert one.brightness == pytest.approx(other.brightness)
    assert one.sharpness == pytest.approx(other.sharpness, rel=1e-4)


@pytest.mark.parametrize(
    ("grey", "problem"),
    [(0, "dark"), (31, "dark"), (32, "flat"), (128, "flat"), (222, "flat"), (224, "bright"), (255, "bright")],
)
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_a_picture_of_one_grey_says_nothing_without_any_limits(grey, problem, noise):
    """The noise of a covered camera does not hide that."""
    image = np.full((300, 450, 3), grey, np.float64) + np.random.default_rng(1).normal(0, noise, (300, 450, 3))
    if noise and grey in (31, 32, 222, 224):
        return  # which side of the bound the mean falls on is chance
    found = measured(np.clip(np.rint(image), 0, 255).astype(np.uint8))
    assert problem_of(found, None) == problem


def test_healthy_pictures_of_the_same_line_trip_no_limit(line, limits):
    """Neither do those of parts that no limit was derived from."""
    assert [problem_of(measured(image), limits) for image in line] == [None] * len(line)
    brighter = [np.clip(image * 1.2, 0, 255).astype(np.uint8) for image in line]
    darker = [(image * 0.8).astype(np.uint8) for image in line]
    assert {problem_of(measured(image), limits) for image in brighter + darker} == {None}


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (lambda image: cv2.GaussianBlur(image, (0, 0), 3), "blurred"),
        (lambda image: (image * 0.3).astype(np.uint8), "dark"),
        (lambda image: (255 - (255 - image.astype(int)) * 0.2).astype(np.uint8), "bright"),
        (lambda image: (image * 0.2 + 110).astype(np.uint8), "flat"),
    ],
    ids=["blurred", "dark", "bright", "flat"],
)
def test_a_camera_that_fails_is_told_on_every_picture(line, limits, fault, problem):
    """Out of focus, hardly lit, overexposed, in a fog."""
    assert {problem_of(measured(fault(image)), limits) for image in line} == {problem}


def test_the_limits_follow_the_rule_by_the_numbers():
    """Half of the 1st percentile, half way to white, a quarter for the variance; rounded outwards."""
    measures = [PictureMeasure(100.0 + number, 40.0 + number, 200.0 + number) for number in range(101)]
    assert derive(measures) == PictureLimits(
        brightness_low=50.5, brightness_high=227.0, contrast_low=20.5, sharpness_low=50.25, pictures=101
    )
    odd = derive([PictureMeasure(100.333, 40.333, 200.333)] * 10)
    assert (odd.brightness_low, odd.brightness_high) == (50.16, 177.67)
    assert (odd.contrast_low, odd.sharpness_low) == (20.16, 50.08)


def test_a_few_pictures_give_no_limits():
    """Nine pictures do not say what is normal."""
    assert derive([PictureMeasure(100, 40, 200)] * 9) is None


def test_one_bad_picture_in_a_large_dataset_does_not_open_the_limits():
    """Percentiles are taken, not extremes."""
    healthy = [PictureMeasure(100, 40, 200)] * 199
    assert derive([*healthy, PictureMeasure(1, 0, 0)]).brightness_low == 50.0


def test_a_line_that_is_flat_by_nature_is_not_doubted():
    """The limits of a release count where they are wider than those of a device alone."""
    plain = PictureMeasure(120.0, 1.5, 0.5)
    limits = derive([plain] * 20)
    assert problem_of(plain, None) is PictureProblem.FLAT
    assert problem_of(plain, limits) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"brightness_low": -1.0}, {"brightness_low": 210.0}, {"brightness_high": 256.0}, {"contrast_low": 128.0},
        {"contrast_low": -1.0}, {"sharpness_low": -1.0},
    ],
)  # fmt: skip
def test_limits_that_no_picture_can_keep_are_refused(changes):
    """A release with them could not be read."""
    good = {"brightness_low": 10.0, "brightness_high": 200.0, "contrast_low": 5.0, "sharpness_low": 5.0, "pictures": 10}
    with pytest.raises(ValueError, match=r"(picture limits|contrast_low|sharpness_low)"):
        PictureLimits(**good | changes)


def test_a_picture_that_says_nothing_is_neither_good_nor_bad():
    """The detections stay, for people; the verdict is uncertain even where the network is sure."""

    def sure(tensor):
        return np.array([[[32], [32], [16], [16], [0.99]]], dtype=np.float32)

    inspector = Inspector(sure, Preprocess(64, 64), ("scratch",), {"scratch": ClassThreshold(0.8, 0.4)}, Nms())
    said = inspector.inspect(np.full((64, 64, 3), 255, np.uint8))
    assert (said.verdict, said.problem, len(said.detections)) == (Verdict.UNCERTAIN, PictureProblem.BRIGHT, 1)
    said = inspector.inspect(checkerboard(50, 150))
    assert (said.verdict, said.problem) == (Verdict.FAIL, None)
