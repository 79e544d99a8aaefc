"""A large picture is decoded at a part of its size, as the release says; boxes stay in pixels of the full picture."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from inspection.decode import Nms
from inspection.image import ImageError, decode_image, read_picture
from inspection.inspector import Inspector
from inspection.preprocess import Preprocess
from inspection.verdict import ClassThreshold
from tests.inspection.blob_network import find_spots, picture_with, tiled


def encoded(image, kind="JPEG", orientation=None, **options):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image[:, :, ::-1])).save(stream, kind, exif=exif, **options)
    return stream.getvalue()


def textured(width, height):
    small = np.random.default_rng(width).integers(40, 220, (height // 16 + 2, width // 16 + 2, 3), dtype=np.uint8)
    return np.ascontiguousarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


@pytest.mark.parametrize("shrink", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(161, 123), (160, 159), (7, 90)])
def test_a_picture_knows_its_full_size_however_it_is_decoded(size, kind, shrink):
    """Sides that are no multiple are rounded up, and a picture that lies on its side is turned first."""
    for orientation in (1, 3, 6, 8):
        picture = read_picture(encoded(textured(*size), kind, orientation), shrink=shrink)
        width, height = size if orientation < 5 else size[::-1]
        assert (picture.width, picture.height) == (width, height)
        assert picture.pixels.shape == (-(-height // shrink), -(-width // shrink), 3)


@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_a_jpeg_and_a_png_of_one_picture_are_nearly_the_same_when_decoded_small(shrink):
    """libjpeg's part and the mean of the pixels differ by a few grey levels."""
    image = textured(640, 480)
    jpeg = read_picture(encoded(image, "JPEG", quality=97, subsampling=0), shrink=shrink).pixels
    png = read_picture(encoded(image, "PNG"), shrink=shrink).pixels
    assert np.abs(jpeg.astype(int) - png).mean() < 2.0


def test_decoded_in_full_a_picture_has_the_pixels_that_it_always_had():
    """`shrink` 1 is what releases of before mean."""
    data = encoded(textured(123, 77), "JPEG", 6)
    assert np.array_equal(read_picture(data).pixels, decode_image(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("preprocess", [Preprocess(64, 64, shrink=4), tiled(0.25, shrink=4)], ids=["whole", "tiles"])
def test_boxes_are_in_pixels_of_the_full_picture(kind, preprocess):
    """A defect of 40 pixels on 803 x 601 is found where it is."""
    inspector = Inspector(find_spots, preprocess, ("scratch",), {"scratch": ClassThreshold(0.5, 0.3)}, Nms())
    image = picture_with((500, 300, 80, 60), size=(803, 601))
    (found,) = inspector.inspect(inspector.read(encoded(image, kind))).detections
    assert np.abs(np.array(found.box.xyxy) - (500, 300, 580, 360)).max() <= 13


def test_pixels_that_were_decoded_in_full_are_made_small_as_those_of_a_png():
    """A caller that has pixels only gets the same answer as with the file."""
    inspector = Inspector(
        find_spots, Preprocess(64, 64, shrink=4), ("scratch",), {"scratch": ClassThreshold(0.5, 0.3)}, Nms()
    )
    image = picture_with((500, 300, 80, 60), size=(803, 601))
    assert inspector.inspect(image) == inspector.inspect(inspector.read(encoded(image, "PNG")))


def test_the_limit_of_pixels_is_that_of_the_full_picture():
    """It is checked before anything is decoded."""
    with pytest.raises(ImageError, match="at most 100 pixels, got 64 x 32"):
        read_picture(encoded(textured(64, 32)), shrink=8, max_pixels=100)


def test_bytes_that_are_no_image_are_refused_as_ever():
    """With the same error as a picture that is decoded in full."""
    for shrink in (1, 8):
        with pytest.raises(ImageError, match="expected JPEG"):
            read_picture(b"not an image at all", shrink=shrink)
