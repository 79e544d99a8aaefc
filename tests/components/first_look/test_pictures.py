"""What a first look sees: a bounded sample, each picture as the device decodes it."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import cv2
import numpy as np
import pytest

from components.first_look.findings import findings_of, lines_of
from components.first_look.pictures import MAX_COMPARED, Seen, look, near_duplicates, sample
from components.generated_parts.photographs import LineGenerator
from components.stores.raw_images.image_source import FolderSource, SourceFile
from inspection.image import decode_image
from tests.components.first_look.photographs import folder_of, photograph


def files(count):
    return [SourceFile(f"{number:05}.jpg", 1, datetime(2026, 1, 1, tzinfo=UTC), "") for number in range(count)]


def looked_at(folder):
    source = FolderSource(folder)
    return list(look(source, source.files()))


@pytest.mark.parametrize(("count", "most"), [(1, 200), (200, 200), (201, 200), (100_000, 200), (7, 2), (5, 3)])
def test_a_sample_is_bounded_keeps_the_order_and_reaches_both_ends(count, most):
    """No more files than asked for; the first is among them, and the last where there is room for it."""
    everything = files(count)
    chosen = sample(everything, most)
    assert 0 < len(chosen) <= most
    assert chosen == sorted(set(chosen), key=everything.index)
    assert chosen[0] == everything[0]
    assert most < 4 or chosen[-1] == everything[-1]
    assert chosen == sample(everything, most)


def test_a_sample_holds_neighbours():
    """Photographs of one part follow each other by name, so half of the sample stands beside another of it."""
    numbers = [int(file.name[:5]) for file in sample(files(10_000), 200)]
    assert sum(b - a == 1 for a, b in pairwise(numbers)) >= 100


def test_only_the_sample_is_read(tmp_path):
    """Of a thousand files no more are opened than the sample has."""
    folder_of(tmp_path, 12)
    source, read = FolderSource(tmp_path), []

    class Counting:
        def files(self):
            return source.files()

        def read(self, file):
            read.append(file.name)
            return source.read(file)

    told = []
    found = list(look(Counting(), sample(source.files(), 4), lambda: told.append(1)))
    assert (len(found), len(read), len(told)) == (4, 4, 4)


def test_size_colour_and_orientation_are_those_of_the_upright_picture(tmp_path):
    """EXIF orientation 6 swaps the sides. A grey JPEG is grey, a coloured one is not."""
    (tmp_path / "a.jpg").write_bytes(photograph(1, orientation=6))
    (tmp_path / "b.jpg").write_bytes(photograph(2, grey=True))
    turned, grey = looked_at(tmp_path)
    assert (turned.width, turned.height, turned.orientation, turned.is_grey) == (64, 96, 6, False)
    assert (grey.width, grey.height, grey.orientation, grey.is_grey) == (96, 64, 1, True)


def test_what_cannot_be_read_is_told_with_its_reason(tmp_path):
    """A cut file, a picture of 16 bits and a text under a picture's name; a table beside them is passed over."""
    (tmp_path / "cut.jpg").write_bytes(photograph(1)[:600])
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((8, 8), 4095, np.uint16))
    (tmp_path / "note.jpg").write_text("no picture")
    (tmp_path / "parts.csv").write_text("image,part\n")
    found = {item.name: item for item in looked_at(tmp_path)}
    assert {name: item.reason for name, item in found.items()} == {
        "cut.jpg": "truncated", "deep.png": "unreadable", "note.jpg": "not-an-image"
    }  # fmt: skip
    assert "convert it to 8 bits" in found["deep.png"].message


def test_two_photographs_of_one_part_are_alike_and_two_parts_are_not(tmp_path):
    """One is brightened and encoded again; the same bytes twice are counted apart."""
    line = LineGenerator(seed=3)
    first = line.part(1)[0].jpeg
    again = cv2.imencode(".jpg", cv2.convertScaleAbs(decode_image(first), alpha=1.05, beta=6))[1].tobytes()
    for name, data in {"a.jpg": first, "b.jpg": again, "c.jpg": line.part(5)[0].jpeg, "d.jpg": first}.items():
        (tmp_path / name).write_bytes(data)
    source = FolderSource(tmp_path)
    seen = [item for item in look(source, source.files()) if isinstance(item, Seen)]
    alike = near_duplicates(source, seen)
    assert alike == [("a.jpg", "b.jpg")]
    found = findings_of(seen, files=4, alike=alike, parts=0, labels=None)
    assert found.repeated == 1
    assert "1 pairs show the same again, such as a.jpg and b.jpg." in lines_of(found)


def test_no_more_pairs_are_compared_than_the_limit(tmp_path):
    """Pictures that all look alike would be thousands of pairs; each costs tens of milliseconds."""
    folder_of(tmp_path, 40, width=48, height=32)
    source = FolderSource(tmp_path)
    seen = [item for item in look(source, source.files()) if isinstance(item, Seen)]
    one = [replace(item, fingerprint=seen[0].fingerprint) for item in seen]
    read = []

    class Counting:
        def read(self, file):
            read.append(file.name)
            return source.read(file)

    near_duplicates(Counting(), one)
    assert len(read) <= 2 * MAX_COMPARED


def test_dark_flat_and_blurred_pictures_are_named(tmp_path):
    """A black picture, a white one, a grey one, and one far less sharp than the others."""
    noise = [np.random.default_rng(number).integers(0, 256, (480, 640, 3), np.uint8) for number in range(6)]
    for number, image in enumerate(noise):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    for name, level in {"black.png": 0, "grey.png": 128, "white.png": 255}.items():
        cv2.imwrite(str(tmp_path / name), np.full((64, 96, 3), level, np.uint8))
    cv2.imwrite(str(tmp_path / "soft.png"), cv2.GaussianBlur(noise[0], (0, 0), 4))
    seen = looked_at(tmp_path)
    found = findings_of(seen, files=len(seen), alike=(), parts=0, labels=None)
    assert found.problems == {
        "blurred": ("soft.png",), "bright": ("white.png",), "dark": ("black.png",), "flat": ("grey.png",)
    }  # fmt: skip
    assert any(line.startswith("1 blurred: soft.png.") for line in lines_of(found))
