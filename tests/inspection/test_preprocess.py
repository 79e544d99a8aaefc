"""Letterbox: into the input of a network, and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspection.preprocess import Letterbox, Preprocess, letterbox

SIZES = [(300, 450), (480, 640), (333, 447), (1, 1), (7, 1000), (1000, 7), (1080, 1919), (96, 128), (224, 320)]


def image_of(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def to_input(xyxy, geometry):
    """Convert boxes from pixels of the image to pixels of the input: the inverse of `to_image`."""
    scale = np.array([geometry.scale_x, geometry.scale_y] * 2)
    pad = np.array([geometry.pad_left, geometry.pad_top] * 2)
    return xyxy * scale + pad


def test_a_wide_image_is_centred_between_grey_bars():
    """100 x 50 into 64 x 64 is scaled by 0.64 to 64 x 32, with 16 grey rows above and below."""
    white = np.full((50, 100, 3), 255, dtype=np.uint8)
    tensor, geometry = letterbox(white, Preprocess(64, 64))
    assert tensor.shape == (1, 3, 64, 64)
    assert tensor.dtype == np.float32
    assert geometry == Letterbox(0.64, 0.64, 0, 16, 100, 50)
    assert (tensor[0, :, 16:48] == 1.0).all()
    assert tensor[0, :, :16] == pytest.approx(114 / 255)
    assert tensor[0, :, 48:] == pytest.approx(114 / 255)


def test_an_odd_border_leaves_the_extra_pixel_on_the_far_side():
    """32 x 31 in 32 x 32 has its one row of border below, as in Ultralytics."""
    white = np.full((31, 32, 3), 255, dtype=np.uint8)
    tensor, geometry = letterbox(white, Preprocess(32, 32))
    assert geometry.pad_top == 0
    assert (tensor[0, :, :31] == 1.0).all()
    assert tensor[0, :, 31] == pytest.approx(114 / 255)


def test_each_axis_keeps_the_scale_of_its_own_rounded_side():
    """100 x 33 into 64 x 64: 33 * 0.64 = 21.12 becomes 21 rows, so y scales by 21/33 and x by 64/100."""
    _, geometry = letterbox(image_of(33, 100), Preprocess(64, 64))
    assert geometry.scale_x == 64 / 100
    assert geometry.scale_y == 21 / 33
    assert geometry.pad_top == 21  # (64 - 21) / 2 = 21.5, less 0.1


def test_a_small_image_is_enlarged():
    """16 x 8 into 64 x 32 is four times as large, without a border."""
    _, geometry = letterbox(image_of(8, 16), Preprocess(64, 32))
    assert geometry == Letterbox(4.0, 4.0, 0, 0, 16, 8)


def test_an_image_of_the_input_size_is_only_normalised():
    """The image is not resampled: each byte is there, divided by 255, red first."""
    image = image_of(32, 64)
    tensor, _ = letterbox(image, Preprocess(64, 32))
    assert (tensor[0].transpose(1, 2, 0) * 255).round().astype(np.uint8).tolist() == image[:, :, ::-1].tolist()


def test_a_network_that_wants_blue_first_gets_it():
    """The colour order `bgr` gives the network OpenCV's order, with blue first."""
    blue = np.zeros((32, 32, 3), dtype=np.uint8)
    blue[:, :, 0] = 255
    rgb, _ = letterbox(blue, Preprocess(32, 32))
    bgr, _ = letterbox(blue, Preprocess(32, 32, colour_order="bgr"))
    assert rgb[0, :, 0, 0].tolist() == [0, 0, 1]
    assert bgr[0, :, 0, 0].tolist() == [1, 0, 0]


def test_the_grey_of_the_border_can_be_chosen():
    """The grey of the border is the `pad_value`; 0 gives a black border."""
    tensor, _ = letterbox(image_of(32, 64), Preprocess(64, 64, pad_value=0))
    assert (tensor[0, :, :16] == 0).all()


def test_a_line_of_one_pixel_keeps_one_pixel():
    """1 x 10000 would round to a width of 0; a side is never shorter than one pixel."""
    _, geometry = letterbox(image_of(1, 10_000), Preprocess(64, 64))
    assert geometry.scale_y == 1.0
    assert geometry.scale_x == 64 / 10_000


@pytest.mark.parametrize("shape", [(10, 10), (10, 10, 1), (10, 10, 4), (0, 10, 3)])
def test_anything_but_a_colour_image_is_refused(shape):
    """The decoder, not the letterbox, converts grey images and images with alpha."""
    with pytest.raises(ValueError, match="expected an image of shape"):
        letterbox(np.zeros(shape, dtype=np.uint8), Preprocess(64, 64))


@pytest.mark.parametrize(
    "arguments",
    [
        {"width": 0, "height": 32},
        {"width": 100, "height": 64},
        {"width": 64, "height": -32},
        {"width": 64, "height": 64, "pad_value": 256},
        {"width": 64, "height": 64, "interpolation": "cubic"},
        {"width": 64, "height": 64, "colour_order": "grb"},
    ],
)
def test_an_input_that_no_network_has_is_refused(arguments):
    """Sides must be multiples of 32, and words must be known ones."""
    with pytest.raises(ValueError, match=r"but got"):
        Preprocess(**arguments)


@given(
    st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([(320, 224), (256, 192), (640, 640), (32, 32)]),
    st.lists(st.floats(0, 3000), min_size=4, max_size=4),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_there_and_back_again_is_exact(height, width, size, corners):
    """A box that is put into the input and back moves by less than a millionth of a pixel."""
    _, geometry = letterbox(np.zeros((height, width, 3), np.uint8), Preprocess(*size))
    xyxy = np.array([corners], dtype=np.float64)
    assert np.abs(geometry.to_image(to_input(xyxy, geometry)) - xyxy).max() < 1e-6


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("target", [(224, 320), (640, 640), (192, 256)])
def test_pixels_and_boxes_are_those_of_ultralytics(size, target):
    """The input agrees to the byte, and boxes agree within 0.01 px. target: (height, width)."""
    reference = pytest.importorskip("tests.inspection.reference_ultralytics")
    image = image_of(*size)
    tensor, geometry = letterbox(image, Preprocess(target[1], target[0]))
    theirs = reference.LetterBox(new_shape=target, auto=False)(image=image)
    assert ((tensor[0].transpose(1, 2, 0) * 255).round().astype(np.uint8)[:, :, ::-1] == theirs).all()
    rng = np.random.default_rng(1)
    inside = to_input(_inside(rng, size), geometry)
    ours = geometry.to_image(inside.astype(np.float32))
    expected = reference.scale_boxes(target, reference.torch.from_numpy(inside.astype(np.float32)), size).numpy()
    assert np.abs(ours - expected).max() < 0.01


def _inside(rng, size):
    corners = rng.uniform(0, 1, (50, 4)) * np.array([size[1], size[0], size[1], size[0]])
    return np.concatenate([np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])], 1)
