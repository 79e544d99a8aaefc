"""A device judges a region of a camera's pictures: what is cut away never reaches the network."""

import cv2
import numpy as np
import pytest

from inspection.decode import Nms
from inspection.geometry import Box
from inspection.inspector import Inspector
from inspection.picture import PictureProblem
from inspection.preprocess import Preprocess
from inspection.region import Crop, Region
from inspection.verdict import ClassThreshold, Verdict
from tests.inspection.blob_network import find_spots, picture_with, tiled

THRESHOLDS = {"scratch": ClassThreshold(fail=0.5, uncertain=0.25)}
INPUTS = {"whole": Preprocess(64, 64), "fine": Preprocess(160, 160), "tiles": tiled(), "small-tiles": tiled(0.5)}
SIZE = (200, 150)
TRIANGLE = ((100.0, 20.0), (180.0, 20.0), (180.0, 100.0))
each_input = pytest.mark.parametrize("preprocess", INPUTS.values(), ids=INPUTS)


def region(width=200, height=150, **changes):
    return Region(width=width, height=height, **changes)


def inspector_of(preprocess, infer=find_spots):
    return Inspector(infer, preprocess, ("scratch",), THRESHOLDS, Nms())


def found_on(image, preprocess, judged):
    return [one.box for one in inspector_of(preprocess).inspect(image, region=judged).detections]


@each_input
@pytest.mark.parametrize(
    "judged",
    [
        region(mask=(TRIANGLE,)),
        region(crop=Crop(x=30, y=20, width=90, height=101)),
        region(crop=Crop(x=30, y=20, width=90, height=101), mask=(((0, 0), (70, 0), (70, 150)),)),
        region(mask=(TRIANGLE,), crop=Crop(x=3, y=3, width=160, height=140), rotate=90),
    ],
    ids=["mask", "crop", "both", "turned"],
)
def test_whatever_is_cut_away_the_network_gets_the_same(preprocess, judged):
    """Two pictures that differ in what is cut away, and nowhere else, give the same inputs to the last bit."""
    inputs = ([], [])
    cut_away = judged.drawn(150, 200, 1.0, 1.0).astype(bool)
    assert 0.05 < cut_away.mean() < 0.9
    for seed, seen in enumerate(inputs):
        image = picture_with((40, 50, 20, 20), (130, 30, 20, 20), size=SIZE)
        noise = np.random.default_rng(seed).integers(0, 256, image.shape, dtype=np.uint8)
        image[cut_away] = noise[cut_away]
        infer = lambda tensor, seen=seen: (seen.append(tensor.copy()), find_spots(tensor))[1]  # noqa: E731
        inspector_of(preprocess, infer).inspect(image, region=judged)
    assert len(inputs[0]) == len(inputs[1]) > 0
    assert all((one == other).all() for one, other in zip(*inputs, strict=True))


@each_input
def test_what_is_left_is_judged_as_without_a_region(preprocess):
    """At the same scale and the same place: a release judges as it was trained, whatever a device cuts away."""
    spots = [(30, 90, 24, 24), (130, 30, 24, 24)]
    image = picture_with(*spots, size=SIZE)
    plain = found_on(image, preprocess, None)
    assert len(plain) == 2
    left = found_on(image, preprocess, region(mask=(TRIANGLE,)))
    assert left == [box for box in plain if box.x < 100]
    right = found_on(image, preprocess, region(crop=Crop(x=110, y=10, width=80, height=80)))
    assert right == [box for box in plain if box.x > 100]


def test_a_tile_that_is_cut_away_is_not_given_to_the_network():
    """That saves its time."""
    calls = []
    inspector = inspector_of(tiled(), lambda tensor: (calls.append(1), find_spots(tensor))[1])
    inspector.inspect(picture_with(size=SIZE), region=region(crop=Crop(x=0, y=0, width=40, height=40)))
    assert len(calls) == 1


@each_input
@pytest.mark.parametrize("turn", [90, 180, 270])
def test_boxes_of_a_turned_camera_are_in_pixels_of_the_picture_that_is_stored(preprocess, turn):
    """The network gets the picture turned; labels, captures and results speak of the camera's own picture."""
    image = picture_with((120, 30, 40, 24), size=SIZE)
    (box,) = found_on(image, preprocess, region(rotate=turn))
    assert np.abs(np.array(box.xyxy) - (120, 30, 160, 54)).max() <= 4.0


def test_the_network_gets_a_turned_picture_clockwise():
    """A spot at the upper left of the picture is at the upper right of the input after 90 degrees."""
    seen = []
    infer = lambda tensor: (seen.append(tensor.copy()), find_spots(tensor))[1]  # noqa: E731
    image = picture_with((5, 5, 20, 20), size=(128, 128))
    inspector_of(Preprocess(64, 64), infer).inspect(image, region=region(rotate=90))
    rows, columns = np.nonzero(seen[0][0].mean(axis=0) > 0.6)
    assert rows.max() < 20
    assert columns.min() > 44


def test_a_picture_of_another_size_is_uncertain():
    """The camera was changed: nobody knows where the mask lies on its pictures."""
    said = inspector_of(tiled()).inspect(picture_with(size=(210, 150)), region=region(mask=(TRIANGLE,)))
    assert (said.verdict, said.problem, said.detections) == (Verdict.UNCERTAIN, PictureProblem.REGION, ())
    turned = inspector_of(tiled()).inspect(picture_with(size=(210, 150)), region=Region(rotate=180))
    assert turned.verdict is Verdict.PASS


def test_a_picture_of_which_nothing_is_left_is_uncertain():
    """A sliver that is smaller than one pixel of the input is no part that was judged."""
    sliver = region(crop=Crop(x=100, y=70, width=2, height=2))
    said = inspector_of(Preprocess(64, 64)).inspect(picture_with(size=SIZE), region=sliver)
    assert (said.verdict, said.problem) == (Verdict.UNCERTAIN, PictureProblem.REGION)


def test_the_measure_is_that_of_the_whole_picture():
    """Brightness and sharpness tell whether the camera works, and their limits were measured on whole pictures."""
    image = picture_with((130, 30, 24, 24), size=SIZE)
    plain = inspector_of(tiled()).inspect(image)
    assert inspector_of(tiled()).inspect(image, region=region(mask=(TRIANGLE,))).picture == plain.picture


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rotate": 45}, "rotate is 0, 90, 180 or 270, but got 45"),
        ({"width": None, "mask": (TRIANGLE,)}, "needs the size of the camera's pictures"),
        ({"crop": Crop(x=150, y=0, width=51, height=10)}, r"51 x 10 at \(150, 0\) does not lie in a picture of 200"),
        ({"crop": Crop(x=0, y=0, width=0, height=10)}, "does not lie in"),
        ({"mask": (((0, 0), (10, 10)),)}, "polygon 1 of the mask has 2 points"),
        ({"mask": (TRIANGLE, ((0, 0), (10, 10), (0, 151)))}, r"polygon 2 .* \(0, 151\) does not lie in a picture"),
        ({"mask": (((0, 0), (10, 10), (0, float("nan"))),)}, "expected points"),
        ({"mask": (((0, 0), (10, 10, 3), (0, 5)),)}, "expected points"),
        ({"mask": (((0, 0), (200, 0), (200, 150), (0, 150)),)}, "leave nothing of the picture to judge"),
        (
            {"crop": Crop(x=0, y=0, width=50, height=50), "mask": (((0, 0), (60, 0), (60, 60), (0, 60)),)},
            "leave nothing of the picture to judge",
        ),
    ],
)
def test_a_region_that_does_not_lie_in_the_picture_is_refused(values, said):
    """With the numbers that are wrong."""
    with pytest.raises(ValueError, match=said):
        region(**values)


def test_a_region_is_written_and_read_again():
    """It is handed to the process of a candidate."""
    judged = region(crop=Crop(x=3, y=4, width=90, height=80), mask=(TRIANGLE,), rotate=270)
    assert Region.from_json(judged.to_json()) == judged
    assert Region.from_json(Region(rotate=90).to_json()) == Region(rotate=90)


def test_a_box_is_turned_back_by_hand():
    """A box of 10 x 20 at (30, 40) of 200 x 150, worked out for each turn."""
    from inspection.geometry import Detection
    from inspection.image import Picture

    picture = Picture(np.zeros((150, 200, 3), np.uint8), 200, 150)
    for turn, box in {90: Box(90, 30, 20, 10), 180: Box(160, 90, 10, 20), 270: Box(40, 160, 20, 10)}.items():
        found = Region(rotate=turn).on_picture(Detection("scratch", 0.5, box), picture)
        assert found.box == Box(30, 40, 10, 20)


def test_the_drawing_shows_what_is_cut_away():
    """At the scale that is asked for: a mask of half of the picture is half of a small drawing."""
    half = region(mask=(((0, 0), (100, 0), (100, 150), (0, 150)),))
    drawn = half.drawn(15, 20, 0.1, 0.1)
    assert drawn[:, :10].all()
    assert not drawn[:, 11:].any()
    assert cv2.countNonZero(drawn) in (150, 165)
