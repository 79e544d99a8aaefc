"""An inspector uses the memory of one image again for the next, and nothing of the former image shows."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from inspection.buffers import Buffers
from inspection.decode import Nms
from inspection.inspector import Inspector
from inspection.picture import measure
from inspection.preprocess import Preprocess, letterbox
from inspection.verdict import ClassThreshold

THRESHOLDS = {"scratch": ClassThreshold(fail=0.5, uncertain=0.25)}
SIZES = [(300, 450), (40, 700), (224, 320), (700, 40), (1, 1), (300, 450)]


def image_of(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def answer(tensor):
    """One box, whose score is the mean of the input."""
    return np.array([[[160.0], [112.0], [40.0], [20.0], [float(tensor.mean())]]], dtype=np.float32)


def inspector_of(infer, size=(320, 224)):
    return Inspector(infer, Preprocess(*size), ("scratch",), THRESHOLDS, Nms())


@pytest.mark.parametrize("target", [(320, 224), (64, 320)])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_an_image_gives_the_same_input_whatever_was_there_before(target, order):
    """Images of several shapes, with borders on other sides, one after the other in the same memory."""
    buffers, preprocess = Buffers(), Preprocess(*target, colour_order=order)
    for height, width in SIZES:
        expected, place = letterbox(image_of(height, width), preprocess)
        found, there = letterbox(image_of(height, width), preprocess, buffers)
        assert (found == expected).all()
        assert there == place
        assert measure(found, there, buffers) == measure(expected, place)


def test_the_input_of_an_image_keeps_its_values_while_its_picture_is_measured():
    """What is computed for the measure lies in other memory than the input of the network."""
    buffers, preprocess = Buffers(), Preprocess(320, 224)
    tensor, geometry = letterbox(image_of(300, 450), preprocess, buffers)
    before = tensor.copy()
    measure(tensor, geometry, buffers)
    assert (tensor == before).all()


def test_an_inspector_takes_no_new_memory_for_the_next_image():
    """The network gets the next input at the place of the former one, also where the image has another shape."""
    seen = []

    def infer(tensor):
        seen.append(tensor.__array_interface__["data"][0])
        return answer(tensor)

    inspector = inspector_of(infer)
    for height, width in SIZES:
        inspector.inspect(image_of(height, width))
        inspector.detect(image_of(height, width), 0.1)
    assert len(seen) == 2 * len(SIZES)
    assert len(set(seen)) == 1


def test_an_image_on_which_the_network_fails_leaves_the_memory_to_the_next():
    """The next inspection is as that of a new inspector."""
    inspector = inspector_of(lambda tensor: np.zeros((1, 5, 1), np.float32))
    with pytest.raises(ValueError, match="all 5 numbers are zero"):
        inspector.inspect(image_of(300, 450))
    inspector._infer = answer
    assert inspector.inspect(image_of(40, 700)) == inspector_of(answer).inspect(image_of(40, 700))


def test_two_threads_that_inspect_at_once_do_not_share_memory():
    """While one waits in the network, the other inspects another image; both get the result of their own image."""
    both_are_in_the_network = threading.Barrier(2, timeout=30)

    def infer(tensor):
        both_are_in_the_network.wait()
        return answer(tensor)

    inspector = inspector_of(infer)
    images = [np.full((100, 100, 3), grey, np.uint8) for grey in (60, 200)]
    found = {}
    threads = [
        threading.Thread(target=lambda index=index: found.update({index: inspector.inspect(images[index])}))
        for index in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [found[index] for index in range(2)] == [inspector_of(answer).inspect(image) for image in images]
