"""A training learns from the tiles that a device cuts: with defects, and some without."""

import numpy as np
import pytest

from components.stores.datasets.manifest import SplitName
from components.training.dataset_folder import write_dataset
from components.training.tile_examples import examples_of
from components.training.trainer import TrainingError
from components.use_case import Tiles
from inspection.buffers import Buffers
from inspection.geometry import Box, LabelledBox
from inspection.image import Picture, decode_image, read_picture
from inspection.picture import derive
from inspection.preprocess import Preprocess
from inspection.tiles import Cut, measure_picture
from tests.components.training.generated_dataset import generated_line

SIDE = 64
TILES = Tiles(overlap_px=16, keep_share=0.3, empty_tiles=2)


def sized(tiles=TILES, **changes):
    return Preprocess(SIDE, SIDE, tiles=tiles.to_release(), **changes)


def picture(width=160, height=112):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Picture(pixels, width, height)


def scratch(x, y, width, height):
    return LabelledBox("scratch", Box(x, y, width, height))


def cut(labels, tiles=TILES, shown=None, name="a"):
    return {one.number: one for one in examples_of(shown or picture(), labels, sized(tiles), tiles, name)}


def test_a_tile_has_the_pixels_that_the_device_gives_to_the_network():
    """Byte for byte, with the same border where the picture is smaller than a tile."""
    for shown in (picture(), picture(40, 100)):
        whole = Cut(shown, sized(), Buffers())
        for number, example in cut([], Tiles(overlap_px=16, empty_tiles=100), shown).items():
            tensor, _ = whole.input(number, Buffers())
            assert np.array_equal(example.pixels, np.round(tensor[0, ::-1].transpose(1, 2, 0) * 255))


def test_a_box_is_in_pixels_of_each_tile_that_shows_it():
    """Tiles begin at 0, 48 and 96: a box at 50 lies in the first two."""
    found = cut([scratch(50, 10, 10, 8)], Tiles(overlap_px=16, empty_tiles=0))
    assert {number: [label.box for label in one.labels] for number, one in found.items()} == {
        0: [Box(50, 10, 10, 8)], 1: [Box(2, 10, 10, 8)]
    }  # fmt: skip


def test_a_box_that_a_tile_cuts_is_clipped_or_left_out_by_its_share():
    """Of a box from 60 to 80, the first tile shows a fifth: at 0.3 it is left out, at 0.1 it is clipped."""
    labels = [scratch(60, 10, 20, 8)]
    assert set(cut(labels, Tiles(overlap_px=16, keep_share=0.3, empty_tiles=0))) == {1}
    found = cut(labels, Tiles(overlap_px=16, keep_share=0.1, empty_tiles=0))
    assert found[0].labels == (scratch(60, 10, 4, 8),)
    assert found[1].labels == (scratch(12, 10, 20, 8),)


def test_every_box_is_learned_from_at_least_one_tile():
    """Wherever it lies, however large it is, and whatever share is asked for."""
    tiles = Tiles(overlap_px=16, keep_share=1.0, empty_tiles=0)
    places = ((40, 40, 30, 30), (0, 0, 160, 112), (3, 50, 150, 4), (30, 30, 50, 50), (159, 111, 1, 1))
    for x, y, width, height in places:
        assert any(one.labels for one in cut([scratch(x, y, width, height)], tiles).values()), (x, y, width, height)


def test_each_tile_along_a_long_scratch_shows_it():
    """The share counts what a tile can hold: a scratch across three tiles is learned from all three."""
    found = cut([scratch(0, 10, 160, 4)], Tiles(overlap_px=16, keep_share=0.9, empty_tiles=0))
    assert {number: one.labels[0].box.width for number, one in found.items()} == {0: 64, 1: 64, 2: 64}


def test_some_tiles_without_a_defect_are_learned_from_and_none_that_shows_a_piece():
    """Which ones depends on the picture's name alone. A tile with too little of a box is no good place."""
    labels = [scratch(60, 10, 20, 8)]
    first = cut(labels)
    assert set(first) == set(cut(labels))
    assert 0 not in first
    assert [number for number, one in first.items() if one.labels] == [1]
    assert len(first) == 3
    assert len({frozenset(cut(labels, name=str(name))) for name in range(20)}) > 1
    assert len(cut([])) == 2


def test_a_dataset_of_tiles_holds_tiles_and_is_measured_as_the_device_measures(tmp_path):
    """The numbers of images are those of tiles; the limits of a healthy picture are those of whole pictures."""
    line = generated_line(train=11, val=2)
    tiles = Tiles(scale=0.5, overlap_px=24, empty_tiles=1)
    size = Preprocess(96, 96, shrink=2, tiles=tiles.to_release())
    dataset = write_dataset(line.manifest, line.fetch, tmp_path, size, tiles)
    files = sorted((tmp_path / "images" / "train").iterdir())
    assert dataset.images["train"] == len(files) > 11
    assert {decode_image(file.read_bytes()).shape for file in files} == {(96, 96, 3)}
    labels = [(tmp_path / "labels" / "train" / f"{file.stem}.txt").read_text() for file in files]
    assert sum(1 for text in labels if text) >= 11
    assert any(not text for text in labels)
    trained = [line.images[entry.sha256] for entry in line.manifest.of(SplitName.TRAIN)]
    expected = derive([measure_picture(read_picture(data, shrink=2), size) for data in trained])
    assert dataset.picture_limits == expected


def test_without_tiles_a_picture_is_stored_as_small_as_it_is_decoded(tmp_path):
    """Labels are shares of the picture, so they do not depend on its pixels."""
    line = generated_line(train=2, val=1)
    write_dataset(line.manifest, line.fetch, tmp_path / "full", Preprocess(96, 96))
    write_dataset(line.manifest, line.fetch, tmp_path / "small", Preprocess(96, 96, shrink=2))
    for entry in line.manifest.of(SplitName.TRAIN):
        small, full = (
            decode_image((tmp_path / kind / "images" / "train" / f"{entry.sha256}.png").read_bytes())
            for kind in ("small", "full")
        )
        assert np.array_equal(small, read_picture(line.images[entry.sha256], shrink=2).pixels)
        assert small.shape[1] == -(-full.shape[1] // 2)
        labels = [tmp_path / kind / "labels" / "train" / f"{entry.sha256}.txt" for kind in ("small", "full")]
        assert labels[0].read_text() == labels[1].read_text()


def test_a_split_of_which_no_tile_is_learned_from_is_refused(tmp_path):
    """A validation split of good parts has no tile where none without a defect is asked for."""
    line = generated_line(train=2, val=1)
    entries = [entry for entry in line.manifest.images if entry.split is not SplitName.VAL]
    good = generated_line(train=0, val=1, defect_rate=0.0)
    from tests.components.training.generated_dataset import Line, manifest_of

    mixed = Line(manifest_of([*entries, *good.manifest.of(SplitName.VAL)]), {**line.images, **good.images})
    tiles = Tiles(overlap_px=16, empty_tiles=0)
    with pytest.raises(TrainingError, match="no tile of the val split"):
        write_dataset(mixed.manifest, mixed.fetch, tmp_path, Preprocess(96, 96, tiles=tiles.to_release()), tiles)
