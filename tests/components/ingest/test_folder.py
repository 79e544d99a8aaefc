"""A folder of images, as people have them, into a real S3."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.ingest.folder import IngestError, image_files, ingest, read_parts
from components.stores.objects.s3 import S3ObjectStore
from components.stores.raw_images.images import RawImages
from inspection.documents import Reason
from inspection.image import sha256_of


def jpeg(seed):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture
def raw(store, installation):
    return RawImages(store, installation.bucket("raw"))


def run(raw, folder, **more):
    options = {"name": folder.name, "site": "factory", "parts": {}, **more}
    return ingest(raw, folder, image_files(folder), **options)


def test_a_folder_goes_in_once(raw, tmp_path):
    """Subfolders and duplicates included; the second time nothing is new."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").write_bytes(jpeg(100))
    (tmp_path / "a" / "copy.JPG").write_bytes(jpeg(100))
    (tmp_path / "2.bin").write_bytes(jpeg(101))
    first = run(raw, tmp_path)
    assert set(first.images) == {sha256_of(jpeg(100)), sha256_of(jpeg(101))}
    assert (first.new, first.set_aside) == (2, ())
    assert run(raw, tmp_path).new == 0


def test_an_image_carries_its_name_its_part_and_the_date_of_its_file(raw, tmp_path):
    """An imported image's capture has device import-<name>, its part, its original name and its file's date.

    Parts are looked up by path, with or without images/, or by file name.
    """
    (tmp_path / "images").mkdir()
    file = tmp_path / "images" / "部品 1.jpg"
    file.write_bytes(jpeg(102))
    os.utime(file, (1_700_000_000, 1_700_000_000))
    run(raw, tmp_path, name="Line 3 / 傷", parts={"部品 1.jpg": "P-1"})
    (image,) = [i for i in raw.list_images() if i.sha256 == sha256_of(jpeg(102))]
    (capture,) = raw.captures(image)
    assert (capture.device, capture.part_id, capture.reason) == ("import-line-3", "P-1", Reason.IMPORT)
    assert capture.original_name == "images/部品 1.jpg"
    assert (image.day.isoformat(), capture.captured_at.timestamp()) == ("2023-11-14", 1_700_000_000)


def test_what_is_no_image_is_set_aside_counted_and_stops_nothing(raw, tmp_path):
    """Empty, text, cut off; the good ones go in."""
    (tmp_path / "good.jpg").write_bytes(jpeg(103))
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_bytes(b"hello")
    (tmp_path / "cut.jpg").write_bytes(jpeg(104)[:-200])
    progress = []
    result = run(raw, tmp_path, on_file=lambda: progress.append(1))
    assert list(result.images.values()) == [tmp_path / "good.jpg"]
    assert result.reasons == {"empty": 1, "not-an-image": 1, "truncated": 1}
    assert len(progress) == 4


def test_plain_text_and_hidden_files_are_not_even_looked_at(tmp_path):
    """Labels, notes and thumbnails of a file manager."""
    for name in ("labels.csv", "README.md", "LICENSE", ".thumb.jpg", ".cache/x.jpg", "b.png", "a.jpg"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
    assert [path.name for path in image_files(tmp_path)] == ["a.jpg", "b.png"]


def test_a_folder_that_is_none_is_refused_by_name(tmp_path):
    """A path that is a file or does not exist is refused with an error that names it."""
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "none"):
        with pytest.raises(IngestError, match=str(path)):
            image_files(path)


def test_an_empty_folder_is_nothing_to_do(raw, tmp_path):
    """An import of an empty folder ends without an error and imports no image."""
    assert run(raw, tmp_path).images == {}


def test_a_name_in_kanji_alone_becomes_a_plain_device(raw, tmp_path):
    """A device name has none of these letters."""
    (tmp_path / "1.jpg").write_bytes(jpeg(105))
    run(raw, tmp_path, name="傷の写真")
    assert "import-folder" in {image.device for image in raw.list_images()}


def test_a_site_that_is_no_name_is_refused(raw, tmp_path):
    """An invalid site is refused before any image is written."""
    (tmp_path / "1.jpg").write_bytes(jpeg(106))
    with pytest.raises(ValueError, match="expected a site"):
        run(raw, tmp_path, site="../factory")
    assert sha256_of(jpeg(106)) not in {image.sha256 for image in raw.list_images()}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_parts_are_read_as_a_spreadsheet_saves_them(tmp_path, encoding):
    """`parts.csv` is read with and without a byte order mark."""
    file = tmp_path / "parts.csv"
    file.write_text("image,part\n傷.jpg,P 1\n", encoding=encoding)
    assert read_parts(file) == {"傷.jpg": "P 1"}


@pytest.mark.parametrize("content", [b"", b"file,part\n", b"image,part\n\x8f\x9d.jpg,1\n"])
def test_parts_that_cannot_be_read_are_an_error_that_names_the_file(tmp_path, content):
    """Empty, another column, Shift-JIS; and a file that is not there."""
    file = tmp_path / "parts.csv"
    file.write_bytes(content)
    for path in (file, Path(tmp_path / "none.csv")):
        with pytest.raises(IngestError, match=str(path)):
            read_parts(path)


def test_a_store_that_is_away_is_an_error_and_not_an_empty_result(tmp_path):
    """A store that does not answer raises an error, and no file is counted as set aside."""
    (tmp_path / "1.jpg").write_bytes(jpeg(107))
    away = RawImages(S3ObjectStore("http://127.0.0.1:9", "us-east-1", "a", "b"), "kizu-raw")
    with pytest.raises(RuntimeError, match=r"127\.0\.0\.1:9"):
        run(away, tmp_path)
