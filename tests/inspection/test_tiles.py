"""A picture is cut into overlapping tiles, and what is found on them is put together as on one picture."""

import threading

import cv2
import numpy as np
import pytest

from inspection.buffers import Buffers
from inspection.decode import Nms
from inspection.documents import InputSpec
from inspection.geometry import Box, Detection
from inspection.image import Picture
from inspection.inspector import Inspector
from inspection.lanes import each
from inspection.picture import PictureProblem, derive, measure
from inspection.preprocess import Preprocess, Tiles, letterbox
from inspection.seams import Found, merged
from inspection.tiles import Cut, begins, measure_picture, tiles_of
from inspection.verdict import ClassThreshold, Verdict
from tests.inspection.blob_network import SIDE, find_spots, picture_with, tiled

THRESHOLDS = {"scratch": ClassThreshold(fail=0.5, uncertain=0.25)}


def inspector_of(preprocess, infer=find_spots, **options):
    return Inspector(infer, preprocess, ("scratch",), THRESHOLDS, Nms(), **options)


def boxes_on(image, preprocess):
    return [found.box for found in inspector_of(preprocess).detect(image, 0.3)]


def is_near(box, expected, within):
    return np.abs(np.array(box.xyxy) - np.array(expected)).max() <= within


# -- cutting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "overlap"), [(64, 0), (64, 16), (64, 32), (96, 31)])
def test_tiles_of_every_length_cover_it_and_overlap_enough(side, overlap):
    """The first begins at 0, the last ends at the end, and neighbours share at least the overlap; none is too many."""
    for length in range(1, 500):
        starts = begins(length, side, overlap)
        assert starts[0] == 0
        assert starts[-1] == max(0, length - side)
        steps = np.diff(starts)
        assert (steps <= side - overlap).all()
        assert (steps > 0).all()
        fewer = len(starts) - 1
        assert fewer == 0 or side + (fewer - 1) * (side - overlap) < length


def test_a_tile_knows_its_seams():
    """Of 3 x 2 tiles, the first has seams at its right and lower side, the one in the middle of a row at three."""
    tiles = tiles_of(160, 112, tiled())
    assert [(tile.left, tile.top) for tile in tiles] == [(0, 0), (48, 0), (96, 0), (0, 48), (48, 48), (96, 48)]
    assert tiles[0].inner == (False, False, True, True)
    assert tiles[4].inner == (True, True, True, False)


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("size", [(200, 150), (64, 64), (40, 150), (30, 20)])
def test_every_pixel_of_a_tile_is_where_its_geometry_says(size, scale):
    """The picture that the tiles show, laid down at their places, is the scaled picture; around it there is grey."""
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    preprocess, buffers = tiled(scale), Buffers()
    cut = Cut(image, preprocess, buffers)
    width, height = round(size[0] * scale), round(size[1] * scale)
    scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR) if scale < 1 else image
    laid = np.full((height, width, 3), -1.0)
    for number in range(len(cut)):
        tensor, geometry = cut.input(number, buffers)
        rows, columns = geometry.shown(SIDE, SIDE)
        inner = tensor[0, ::-1, rows, columns].transpose(1, 2, 0) * 255
        top, left = rows.start - geometry.pad_top, columns.start - geometry.pad_left
        laid[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
        outside = np.ones((SIDE, SIDE), bool)
        outside[rows, columns] = False
        assert (tensor[0][:, outside] == np.float32(114 / 255)).all()
    assert np.abs(laid - scaled).max() < 0.01


def test_without_tiles_the_one_input_is_the_letterbox():
    """A release that says nothing of tiles gets the input that it always got, to the last bit."""
    image = picture_with((50, 60, 20, 10))
    preprocess = Preprocess(64, 96)
    expected, place = letterbox(image, preprocess)
    cut = Cut(image, preprocess, Buffers())
    found, there = cut.input(0, Buffers())
    assert (len(cut), there) == (1, place)
    assert (found == expected).all()


# -- seams ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_defect_at_each_offset_to_the_seams_is_found_as_well_as_one_in_the_middle(scale):
    """A defect that is no longer than the overlap gives one box, at its place, wherever the seams cut the picture."""
    width, height, pixel = 14, 11, 1 / scale
    for x in (*range(0, 200 - width, 7), *range(30, 56)):
        for y in (0, 5, 37, 40, 43, 46, 49, 52, 139 - 12):
            (box,) = boxes_on(picture_with((x, y, width, height)), tiled(scale))
            assert is_near(box, (x, y, x + width, y + height), 1.5 * pixel), (x, y, box)


def test_a_defect_longer_than_the_overlap_gives_one_box_around_all_of_it():
    """Each tile shows a piece of it; the score is that of the best piece."""
    for x, width in ((20, 30), (30, 60), (5, 190), (100, 40)):
        for y, height in ((70, 4), (20, 100), (40, 30)):
            (box,) = boxes_on(picture_with((x, y, width, height)), tiled())
            assert is_near(box, (x, y, x + width, y + height), 1.0), (x, y, width, height, box)


def test_a_slanting_scratch_across_all_tiles_gives_one_box():
    """Its pieces share only the overlap with each other."""
    image = picture_with()
    cv2.line(image, (6, 8), (190, 140), (230, 230, 230), 3)
    (box,) = boxes_on(image, tiled())
    assert is_near(box, (5, 7, 192, 142), 3.0)


def test_two_defects_beside_one_seam_stay_two():
    """Neither is taken for a piece of the other, though one tile sees both and the other one only."""
    found = boxes_on(picture_with((44, 60, 6, 8), (58, 60, 6, 8)), tiled())
    assert sorted(round(box.x) for box in found) == [44, 58]


def test_a_small_defect_beside_a_large_one_stays_where_one_tile_sees_both():
    """Suppression on a tile has decided that they are two."""
    ring = picture_with((20, 20, 36, 3), (20, 53, 36, 3), (20, 20, 3, 36), (53, 20, 3, 36), (34, 34, 6, 6))
    alone = sorted(box.xyxy for box in boxes_on(ring[:64, :64], tiled()))
    tiles = sorted(box.xyxy for box in boxes_on(ring, tiled()))
    assert len(alone) == 2
    assert tiles == alone


def box_of(score, x, tile, cut=(False, False, False, False), class_name="scratch", width=20.0):
    return Found(Detection(class_name, score, Box(x, 0, width, 10)), frozenset((tile,)), cut)


RIGHT, LEFT = (False, False, True, False), (True, False, False, False)


def test_a_whole_box_comes_before_a_piece_and_takes_the_higher_score():
    """The tile that shows all of the defect knows where it is; the score is the highest of the tiles'."""
    (found,) = merged([box_of(0.9, 50, 0, RIGHT, width=14.0), box_of(0.6, 50, 1)], Nms())
    assert (found.score, found.box) == (0.9, Box(50, 0, 20, 10))


def test_boxes_of_different_classes_are_joined_only_where_suppression_is_class_agnostic():
    """As on one picture."""
    pieces = [box_of(0.9, 40, 0, RIGHT), box_of(0.6, 55, 1, LEFT, "dent")]
    assert len(merged(pieces, Nms())) == 2
    (found,) = merged(pieces, Nms(class_agnostic=True))
    assert (found.class_name, found.box) == ("scratch", Box(40, 0, 35, 10))


def test_pieces_that_do_not_reach_into_each_other_stay_apart():
    """Two scratches that end at the same seam, at other heights, are two."""
    low = Found(Detection("scratch", 0.8, Box(55, 30, 20, 10)), frozenset((1,)), LEFT)
    assert len(merged([box_of(0.9, 40, 0, RIGHT), low], Nms())) == 2


def test_a_picture_has_at_most_as_many_detections_as_suppression_allows():
    """The best ones, highest score first."""
    found = merged([box_of(number / 100, 30 * number, number) for number in range(1, 20)], Nms(max_detections=5))
    assert [one.score for one in found] == [0.19, 0.18, 0.17, 0.16, 0.15]


# -- the whole inspection ---------------------------------------------------------------------------------------------


def test_a_small_defect_is_seen_on_tiles_and_lost_in_a_letterbox():
    """What tiles are for: four pixels of 2,000 are less than one pixel of the input."""
    image = picture_with((1234, 777, 4, 4), size=(2000, 1200))
    said = inspector_of(tiled()).inspect(image)
    assert said.verdict is Verdict.FAIL
    assert is_near(said.detections[0].box, (1234, 777, 1238, 781), 1.0)
    assert inspector_of(Preprocess(SIDE, SIDE)).inspect(image).verdict is Verdict.PASS


def test_several_threads_find_what_one_finds():
    """Each tile has memory of its own; the order of the tiles does not depend on the threads."""
    image = picture_with(*((x, 17 * x % 130, 9, 9) for x in range(3, 190, 21)))
    one, three = inspector_of(tiled()).inspect(image), inspector_of(tiled(), at_once=3).inspect(image)
    assert one == three
    assert len(one.detections) >= 5


def test_tiles_are_judged_at_the_same_time():
    """Three threads are in the network at once: each waits there for the others."""
    together = threading.Barrier(3, timeout=30)
    calls = iter(range(3))
    lock = threading.Lock()

    def infer(tensor):
        with lock:
            is_first = next(calls, None) is not None
        if is_first:
            together.wait()
        return find_spots(tensor)

    inspector_of(tiled(), infer, at_once=3).inspect(picture_with())


def test_a_network_that_fails_on_one_tile_fails_on_the_picture():
    """No verdict is made of the other tiles, and no thread is left."""
    before = threading.active_count()

    def infer(tensor):
        return np.zeros((1, 5, 1), np.float32) if tensor.max() > 0.8 else find_spots(tensor)

    for at_once in (1, 3):
        with pytest.raises(ValueError, match="are zero"):
            inspector_of(tiled(), infer, at_once=at_once).inspect(picture_with((150, 100, 8, 8)))
    assert threading.active_count() == before


def test_the_results_of_threads_come_in_order():
    """Whatever the order in which they end; nothing to do gives nothing."""
    assert each(lambda number: number * number, 20, 4) == [number * number for number in range(20)]
    assert each(lambda number: number, 0, 4) == []


# -- the measure of a picture -----------------------------------------------------------------------------------------


def test_the_measure_of_a_tiled_picture_is_that_of_the_picture_at_the_tiles_scale():
    """Where the tiles divide the picture without an overlap, brightness and contrast are those of its pixels."""
    image = np.random.default_rng(3).integers(30, 200, (128, 192, 3), dtype=np.uint8)
    found = measure_picture(image, tiled(overlap_px=0))
    grey = image.astype(np.float64).mean(axis=2)
    assert found.brightness == pytest.approx(grey.mean(), abs=0.01)
    assert found.contrast == pytest.approx(grey.std(), abs=0.01)


def test_a_blur_that_only_the_tiles_see_makes_a_picture_blurred():
    """At the size of a letterbox the lens may be out of focus by some pixels, and nothing shows it."""
    rng = np.random.default_rng(4)

    def line(blurred=False):
        blocks = np.kron(rng.integers(60, 190, (4, 6, 1)), np.ones((50, 50, 3)))
        image = (blocks + rng.integers(-20, 21, (200, 300, 1))).astype(np.uint8)
        return cv2.GaussianBlur(image, (0, 0), 2.0) if blurred else image

    sharp = [line() for _ in range(10)]
    soft = line(blurred=True)
    limits = derive([measure_picture(image, tiled(overlap_px=0)) for image in sharp])
    assert inspector_of(tiled(overlap_px=0), picture_limits=limits).inspect(soft).problem is PictureProblem.BLURRED
    assert inspector_of(tiled(overlap_px=0), picture_limits=limits).inspect(sharp[0]).problem is None
    whole = Preprocess(SIDE, SIDE, interpolation="area")
    coarse = derive([measure(*letterbox(image, whole)) for image in sharp])
    assert inspector_of(whole, picture_limits=coarse).inspect(soft).problem is not PictureProblem.BLURRED


def test_a_black_picture_says_nothing_on_tiles_too():
    """Nothing found on tiles of a dead camera is no good part."""
    said = inspector_of(tiled()).inspect(np.zeros((150, 200, 3), np.uint8))
    assert (said.verdict, said.problem) == (Verdict.UNCERTAIN, PictureProblem.DARK)


# -- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"scale": 0.0, "overlap_px": 8}, "above 0 and at most 1"),
        ({"scale": 1.5, "overlap_px": 8}, "above 0 and at most 1"),
        ({"overlap_px": -1}, "not negative"),
        ({"overlap_px": 33}, "at most half of a side"),
    ],
)
def test_tiles_that_cannot_be_cut_are_refused(values, said):
    """With what was expected and what came."""
    with pytest.raises(ValueError, match=said):
        Preprocess(64, 64, tiles=Tiles(**values))


def test_a_picture_that_was_decoded_small_has_no_tiles_at_a_larger_scale():
    """The pixels that such tiles would show were not decoded."""
    with pytest.raises(ValueError, match=r"the scale is at most 0\.25"):
        Preprocess(64, 64, shrink=4, tiles=Tiles(scale=0.5, overlap_px=8))
    with pytest.raises(ValueError, match=r"one of \[1, 2, 4, 8\], but got 3"):
        InputSpec(width=64, height=64, shrink=3)


def test_a_picture_is_never_smaller_than_its_pixels():
    """A `Picture` is valid at birth."""
    with pytest.raises(ValueError, match="at most 4 x 3"):
        Picture(np.zeros((3, 5, 3), np.uint8), 4, 3)
    with pytest.raises(ValueError, match="of shape"):
        Picture(np.zeros((3, 5), np.uint8), 5, 3)
