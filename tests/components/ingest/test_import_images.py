"""Images from a folder or another S3, into a real S3: resumed, and with what is unusable set aside."""

import csv
import io

import numpy as np
import pytest
from PIL import Image

from components.ingest.images import import_images
from components.ingest.journal import open_journal
from components.stores.objects.s3 import AccessDenied, S3ObjectStore
from components.stores.raw_images.image_source import FolderSource, S3Source, in_parallel
from components.stores.raw_images.images import RawImages
from components.stores.raw_images.set_aside import SetAside, write_listing
from inspection.image import sha256_of


def picture(seed, kind="JPEG", **options):
    stream = io.BytesIO()
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8))
    image.save(stream, kind, **options)
    return stream.getvalue()


class Counting(FolderSource):
    """A folder that counts what is read of it, and can break."""

    def __init__(self, folder, breaks_after=None):
        super().__init__(folder)
        self.read_files = []
        self.breaks_after = breaks_after

    def read(self, file):
        if self.breaks_after is not None and len(self.read_files) >= self.breaks_after:
            raise KeyboardInterrupt
        self.read_files.append(file.name)
        return super().read(file)


@pytest.fixture
def raw(store, installation):
    return RawImages(store, installation.bucket("raw"))


def run(raw, source, journal=None, **more):
    options = {"name": "set", "site": "factory", "parts": {}, **more}
    with open_journal(journal) as opened:
        return import_images(raw, source, opened, **options)


def test_what_an_image_is_its_content_says(raw, tmp_path):
    """Each kind under a name of another one goes in; a table and a note are nobody's loss."""
    (tmp_path / "a.txt").write_bytes(picture(200))
    (tmp_path / "b.jpg").write_bytes(picture(201, "PNG"))
    (tmp_path / "c").write_bytes(picture(202, "TIFF"))
    (tmp_path / "labels.csv").write_text("image,part\n")
    result = run(raw, FolderSource(tmp_path))
    assert set(result.images.values()) == {"a.txt", "b.jpg", "c"}
    assert (result.files, result.new, result.set_aside) == (3, 3, ())
    kinds = {image.sha256: image.uri.rsplit(".", 1)[-1] for image in raw.list_images()}
    assert [kinds[sha256_of(picture(*p))] for p in ((200,), (201, "PNG"), (202, "TIFF"))] == ["jpg", "png", "tif"]


def test_each_kind_of_unusable_file_is_set_aside_with_its_reason(raw, tmp_path):
    """Empty, text, cut off, broken inside, animated, of more than 100 MP."""
    animated = picture(203, "WEBP", save_all=True, append_images=[Image.new("RGB", (32, 24), "red")], duration=100)
    large = bytearray(picture(204, "PNG"))
    large[16:24] = (20_000).to_bytes(4, "big") + (5_001).to_bytes(4, "big")
    files = {
        "empty.jpg": (b"", "empty"),
        "text.png": (b"hello", "not-an-image"),
        "film.gif": (picture(205, "GIF"), "not-an-image"),
        "cut.jpg": (picture(206)[:-200], "truncated"),
        "film.webp": (animated, "animated"),
        "large.png": (bytes(large), "too-large"),
    }
    for name, (data, _) in files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "good.jpg").write_bytes(picture(207))
    result = run(raw, FolderSource(tmp_path))
    assert {item.image: item.reason for item in result.set_aside} == {name: why for name, (_, why) in files.items()}
    assert list(result.images.values()) == ["good.jpg"]


def test_an_import_that_was_cut_off_goes_on_where_it_was(raw, tmp_path):
    """A second run after an interruption skips the images that are imported, and ignores a torn line of the journal."""
    folder, journal = tmp_path / "set", tmp_path / "state" / "journal"
    folder.mkdir()
    for index in range(200):
        (folder / f"{index:03}.jpg").write_bytes(picture(1000 + index))
    with pytest.raises(KeyboardInterrupt):
        run(raw, Counting(folder, breaks_after=50), journal)
    with journal.open("a") as stream:
        stream.write('{"name": "torn')
    again = Counting(folder)
    result = run(raw, again, journal)
    assert len(result.images) == 200
    assert len(again.read_files) <= 160  # a few were under way
    assert run(raw, last := Counting(folder), journal).new == 0
    assert last.read_files == []


def test_a_journal_is_a_hint_and_the_store_is_the_truth(raw, store, installation, tmp_path):
    """A file that changed is read again; so is one that the store has lost."""
    folder, journal = tmp_path / "set", tmp_path / "journal"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(picture(210))
    (folder / "b.jpg").write_bytes(picture(211))
    run(raw, FolderSource(folder), journal)
    (folder / "a.jpg").write_bytes(picture(212))
    assert run(raw, source := Counting(folder), journal).new == 1
    assert source.read_files == ["a.jpg"]
    elsewhere = RawImages(store, installation.bucket("state"))
    assert run(elsewhere, source := Counting(folder), journal).new == 2
    assert len(source.read_files) == 2


def test_a_part_that_is_told_later_is_recorded(raw, tmp_path):
    """A part given at a later import is recorded as another capture of the same image."""
    folder, journal = tmp_path / "set", tmp_path / "journal"
    (folder / "bad").mkdir(parents=True)
    (folder / "bad" / "a.jpg").write_bytes(picture(220))
    run(raw, FolderSource(folder), journal)
    assert run(raw, FolderSource(folder), journal, parts={"bad/a.jpg": "P-1"}).new == 0
    (image,) = [image for image in raw.list_images() if image.sha256 == sha256_of(picture(220))]
    assert {capture.part_id for capture in raw.captures(image)} == {None, "P-1"}


def test_images_come_from_a_prefix_of_s3(raw, store, installation, tmp_path):
    """Resumed by what the listing says; hidden objects, folders and texts are passed over."""
    bucket = installation.bucket("state")
    for name, data in {
        "a.jpg": picture(230), "sub/b.jpg": picture(231), "bad.jpg": b"x", "notes.txt": b"x", ".thumb/a.jpg": b"x",
        "sub/": b"",
    }.items():  # fmt: skip
        store.put(bucket, f"incoming/{name}", data)
    store.put(bucket, "incoming-2/c.jpg", picture(232))
    result = run(raw, S3Source(store, bucket, "incoming"), tmp_path / "journal")
    assert set(result.images.values()) == {"a.jpg", "sub/b.jpg"}
    assert result.reasons == {"not-an-image": 1}
    assert run(raw, S3Source(store, bucket, "incoming/"), tmp_path / "journal").new == 0


def test_a_source_that_is_away_is_an_error(raw):
    """A source that does not answer is an error that names it, not an empty import."""
    away = S3ObjectStore("http://127.0.0.1:9", "us-east-1", "a", "b")
    with pytest.raises(RuntimeError, match=r"127\.0\.0\.1:9"):
        run(raw, S3Source(away, "b", ""))


def test_work_in_parallel_keeps_the_order_and_never_runs_far_ahead():
    """However many items there are: the source is asked for the next one when one is done."""
    asked = []

    def items():
        for index in range(10_000):
            asked.append(index)
            yield index

    results = in_parallel(lambda item: item * 2, items())
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    assert len(asked) < 100
    assert sum(1 for _ in results) == 9_997


def test_a_listing_is_a_table_that_a_spreadsheet_may_open(tmp_path):
    """Names come from whoever made the files: no formula, no line break, no missing letter."""
    aside = SetAside('=HYPERLINK("http://x")\n傷.jpg', "empty", "expected an image, got 0 bytes", 7)
    write_listing(tmp_path / "new" / "list.csv", [aside, SetAside("b\udcff.jpg", "truncated", "cut")])
    with (tmp_path / "new" / "list.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert rows[0]["image"] == '\'=HYPERLINK("http://x") 傷.jpg'
    assert (rows[0]["line"], rows[0]["reason"], rows[1]["line"]) == ("7", "empty", "")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["list.csv"]


def test_an_object_that_may_not_be_read_is_set_aside_and_the_others_go_in(raw, tmp_path):
    """An archived or locked object of a prefix ends no import."""

    class Locked(FolderSource):
        def read(self, file):
            if file.name == "b.jpg":
                raise AccessDenied("get s3://incoming/b.jpg: refused for this identity (InvalidObjectState)")
            return super().read(file)

    for seed, name in enumerate(("a.jpg", "b.jpg", "c.jpg")):
        (tmp_path / name).write_bytes(picture(300 + seed))
    result = run(raw, Locked(tmp_path))
    assert len(result.images) == 2
    ((item),) = result.set_aside
    assert (item.image, item.reason) == ("b.jpg", "unreadable")
    assert "InvalidObjectState" in item.message


def test_a_tiff_of_an_earlier_import_gets_its_rendition(raw, store, installation, tmp_path):
    """The journal says that it was stored. Where it has no rendition it is stored again, which makes one."""

    class WithoutRenditions(RawImages):
        def has(self, key):
            return not key.startswith("renditions/") and super().has(key)

    (tmp_path / "a.tif").write_bytes(picture(400, "TIFF"))
    journal = tmp_path / "journal.jsonl"
    (sha256,) = run(raw, FolderSource(tmp_path), journal).images
    assert raw.has(f"renditions/{sha256}.png")
    source = Counting(tmp_path)
    run(raw, source, journal)
    assert "a.tif" not in source.read_files
    run(WithoutRenditions(store, installation.bucket("raw")), source, journal)
    assert "a.tif" in source.read_files
