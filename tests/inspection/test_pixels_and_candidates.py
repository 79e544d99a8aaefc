"""Single pixels of the border, the smallest boxes, and the order of equals."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from inspection.decode import Nms, decode_yolov8
from inspection.geometry import Box, iou_matrix
from inspection.image import ImageError, decode_image
from inspection.preprocess import Letterbox, Preprocess, letterbox

SAME = Letterbox(1.0, 1.0, 0, 0, 4000, 4000)


def output_of(*rows):
    return np.array(rows, dtype=np.float32).T[None]


@pytest.mark.parametrize("shape", [(30, 64, 3), (64, 30, 3), (20, 64, 3), (64, 50, 3)])
def test_every_pixel_of_the_border_is_grey(shape):
    """Every border pixel has the padding value, even where the border is wider than the image."""
    image = np.full(shape, 255, np.uint8)
    for _ in range(3):  # the memory of an earlier answer may hold the right values by chance
        tensor, geometry = letterbox(image, Preprocess(64, 64, pad_value=51))
        inner = np.zeros((64, 64), dtype=bool)
        rows = slice(geometry.pad_top, geometry.pad_top + shape[0])
        inner[rows, geometry.pad_left : geometry.pad_left + shape[1]] = True
        assert np.allclose(tensor[0, :, ~inner], 0.2)
        assert (tensor[0, :, inner] == 1.0).all()
        tensor[:] = 7.0


@pytest.mark.parametrize(("name", "flag"), [("linear", cv2.INTER_LINEAR), ("area", cv2.INTER_AREA)])
def test_the_interpolation_is_the_one_of_the_release(name, flag):
    """Each gives other pixels, and the network must see what it saw in evaluation."""
    image = np.random.default_rng(1).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    tensor, _ = letterbox(image, Preprocess(32, 32, interpolation=name))
    wanted = cv2.resize(image, (32, 32), interpolation=flag)[..., ::-1].transpose(2, 0, 1)
    assert np.allclose(tensor[0], wanted / 255.0)


def test_the_smallest_and_the_largest_settings_of_suppression_are_taken():
    """Suppression may keep only one detection, and may have a limit of overlap of 1, which removes nothing."""
    assert Nms(iou=1.0, max_detections=1) == Nms(1.0, 1)


def test_a_box_smaller_than_a_pixel_is_kept():
    """Only a box without an extent is dropped."""
    [found] = decode_yolov8(output_of((10, 20, 0.5, 0.25, 0.9)), SAME, ("scratch",), 0.5, Nms())
    assert found.box == Box(9.75, 19.875, 0.5, 0.25)


def test_boxes_of_one_score_keep_the_order_of_the_network():
    """The same image gives the same answer on each machine."""
    rows = [(20 * place + 10, 10, 8, 8, 0.5) for place in range(150)]
    found = decode_yolov8(output_of(*rows), SAME, ("scratch",), 0.25, Nms(max_detections=150))
    assert [detection.box.x for detection in found] == [20 * place + 6 for place in range(150)]


def test_overlaps_are_computed_in_double_precision():
    """In single precision these two boxes would be one: 16,777,217 has no such number."""
    one, other = np.array([[0, 0, 16_777_216, 1]]), np.array([[0, 0, 16_777_217, 1]])
    assert iou_matrix(one, other)[0, 0] < 1.0
    assert iou_matrix(one.astype(np.float32), one.astype(np.float32)).dtype == np.float64


def test_a_side_of_a_png_has_no_sign():
    """A side of 2^32 - 1 is large, not negative."""
    body = b"IHDR" + struct.pack(">II", 0xFFFFFFFF, 3) + b"\x08\x02\x00\x00\x00"
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + bytes(4)
    with pytest.raises(ImageError, match="expected at most 10 pixels, got 4294967295 x 3"):
        decode_image(data, max_pixels=10)
