"""What is exported comes back the same, and is what other tools read."""

import contextlib
import io
import json
from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest
from pycocotools.coco import COCO

from components.exchange.coco import read_coco
from components.exchange.exporting import export_coco, export_parquet, export_yolo
from components.exchange.rows import ClassNames, ExchangeError
from components.exchange.selection import Selected, from_labels, from_manifest
from components.exchange.yolo import read_yolo
from components.stores.datasets.manifest import Manifest, ManifestImage, SplitName, regions
from components.stores.labels.store import SCHEMA, LabelEvent, LabelStatus
from components.stores.raw_images.image_source import cell_text, read_parts, text_of_cell
from components.stores.raw_images.images import capture_id_for
from inspection.documents import Capture, Reason
from inspection.geometry import Box, LabelledBox
from inspection.image import sha256_of
from tests.components.exchange.small_photographs import HEIGHT, WIDTH, photograph

CLASSES = ("scratch", "dent")
NOON = datetime(2025, 4, 1, 12, 0, tzinfo=UTC)
BOXES = (
    (LabelledBox("scratch", Box(1.25, 2, 3.5, 4)), LabelledBox("dent", Box(0, 0, WIDTH, HEIGHT))),
    (LabelledBox("dent", Box(10.1, 20.2, 30.3, 7.7)),),
    (),
)


@pytest.fixture
def approved(exchange):
    """Three approved images in the store: two boxes, one, none; the first two of one part."""
    for index, boxes in enumerate(BOXES):
        data = photograph(100 + index)
        sha256 = sha256_of(data)
        at = NOON + timedelta(minutes=index)
        capture = Capture(
            capture_id=capture_id_for(sha256, "import", NOON), sha256=sha256, device="line-1", camera="top",
            captured_at=NOON, reason=Reason.IMPORT,
        )  # fmt: skip
        stored = exchange.raw.put(data, capture, site="factory")
        exchange.labels.append(
            [
                LabelEvent(
                    event_id=sha256_of(f"{exchange.use_case.name}{index}".encode()), use_case=exchange.use_case.name,
                    image_uri=stored.uri, sha256=sha256, width=WIDTH, height=HEIGHT, boxes=boxes,
                    status=LabelStatus.APPROVED, at=at, group="P-1" if index < 2 else sha256, source="label-studio",
                    annotator="1", verifier="2",
                )
            ]
        )  # fmt: skip
    return exchange


def selected(exchange):
    return from_labels(exchange.approved())


def boxes_of(events):
    """sha256 -> its boxes, in order and to a millionth of a pixel."""
    return {
        event.sha256: sorted((b.class_name, *(round(value, 6) for value in b.box.xyxy)) for b in event.boxes)
        for event in events
    }


def took_the_same(exchange, rows, source, finder_folder):
    """Import into another use case, and compare."""
    expected = exchange.approved()
    exchange.use_case = exchange.use_case.model_copy(update={"name": f"{exchange.use_case.name}-back"})
    exchange.folder = finder_folder
    parts = read_parts(finder_folder / "parts.csv") if (finder_folder / "parts.csv").exists() else {}
    result = exchange.take(rows, source=source, trust_status=True, parts=parts)
    back = exchange.approved()
    assert (result.rows, result.tally.counts(), result.set_aside) == ({LabelStatus.APPROVED: 3}, {}, ())
    assert boxes_of(back.values()) == boxes_of(expected.values())
    assert {e.sha256: e.group for e in back.values()} == {e.sha256: e.group for e in expected.values()}
    return back


def test_coco_comes_back_the_same(approved, tmp_path):
    """Boxes, classes, groups and times; and a second export of it is the same file."""
    folder = tmp_path / "coco"
    export_coco(folder, selected(approved), CLASSES, "x", approved.raw.fetch)
    before = {event.sha256: event.at for event in approved.approved().values()}
    data = (folder / "annotations.json").read_bytes()
    back = took_the_same(approved, read_coco(data, ClassNames(CLASSES, {}), NOON), "coco", folder / "images")
    assert {event.sha256: event.at for event in back.values()} == before
    export_coco(tmp_path / "again", selected(approved), CLASSES, "x", None)
    assert (tmp_path / "again" / "annotations.json").read_bytes() == data


def test_pycocotools_reads_what_is_exported_as_coco(approved, tmp_path):
    """Every image with its file, every box with its class and area."""
    export_coco(tmp_path / "coco", selected(approved), CLASSES, "x", approved.raw.fetch)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "coco" / "annotations.json"))
    assert {category["name"] for category in coco.loadCats(coco.getCatIds())} == set(CLASSES)
    found = {}
    for image in coco.loadImgs(coco.getImgIds()):
        file = tmp_path / "coco" / "images" / image["file_name"]
        assert (image["width"], image["height"]) == (WIDTH, HEIGHT)
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"], iscrowd=False))
        assert all(a["area"] == pytest.approx(a["bbox"][2] * a["bbox"][3]) for a in annotations)
        found[sha256_of(file.read_bytes())] = sorted(
            (coco.loadCats(a["category_id"])[0]["name"], *a["bbox"]) for a in annotations
        )
    assert found == {
        event.sha256: sorted((b.class_name, b.box.x, b.box.y, b.box.width, b.box.height) for b in event.boxes)
        for event in approved.approved().values()
    }


def test_yolo_comes_back_the_same(approved, tmp_path):
    """Boxes, classes and groups, through shares of the picture; an image without a box has an empty file."""
    folder = tmp_path / "yolo"
    export_yolo(folder, selected(approved), CLASSES, approved.raw.fetch)
    assert sorted(file.stat().st_size > 0 for file in (folder / "labels").iterdir()) == [False, True, True]
    took_the_same(approved, read_yolo(folder, ClassNames(CLASSES, {})), "yolo", folder)


def test_classes_in_another_order_come_back_by_name(approved, tmp_path):
    """An export is read back by class names where the use case has its classes in another order."""
    export_yolo(tmp_path / "yolo", selected(approved), CLASSES, approved.raw.fetch)
    rows = read_yolo(tmp_path / "yolo", ClassNames(("dent", "scratch"), {}))
    approved.use_case = approved.use_case.model_copy(update={"classes": ("dent", "scratch")})
    took_the_same(approved, rows, "yolo", tmp_path / "yolo")


def test_parquet_is_the_rows_as_they_stand(approved, tmp_path):
    """The Parquet file has the columns of the label store, one row an event; an existing file is kept."""
    events, stored = approved.events(), approved.labels.rows(approved.use_case.name)
    assert stored.schema.equals(SCHEMA)
    export_parquet(tmp_path / "labels.parquet", stored)
    rows = pq.read_table(tmp_path / "labels.parquet").to_pylist()
    assert [row["event_id"] for row in rows] == [event.event_id for event in events]
    for row, event in zip(rows, events, strict=True):
        assert (row["at"], row["status"], row["verifier"], row["group"]) == (event.at, "approved", "2", event.group)
        assert [(b["class"], Box(b["x"], b["y"], b["width"], b["height"])) for b in row["boxes"]] == [
            (b.class_name, b.box) for b in event.boxes
        ]
    with pytest.raises(ExchangeError, match="is there already"):
        export_parquet(tmp_path / "labels.parquet", stored)


def test_a_dataset_is_exported_in_its_splits(approved, tmp_path):
    """A dataset is exported as a folder a split for YOLO and a file a split for COCO."""
    images = tuple(
        ManifestImage(
            sha256=event.sha256, uri=event.image_uri, width=WIDTH, height=HEIGHT, group=event.group, split=split,
            boxes=regions(event.boxes),
        )
        for event, split in zip(approved.approved().values(), SplitName, strict=True)
    )  # fmt: skip
    chosen = from_manifest(Manifest(use_case="x", classes=CLASSES, split_seed=0, images=images))
    export_yolo(tmp_path / "yolo", chosen, CLASSES, approved.raw.fetch)
    export_coco(tmp_path / "coco", chosen, CLASSES, "x", None)
    for image in images:
        assert (tmp_path / "yolo" / "images" / image.split / f"{image.sha256}.jpg").is_file()
        assert (tmp_path / "yolo" / "labels" / image.split / f"{image.sha256}.txt").is_file()
        whole = json.loads((tmp_path / "coco" / f"{image.split}.json").read_bytes())
        assert [entry["kizu"]["sha256"] for entry in whole["images"]] == [image.sha256]


def test_an_export_is_there_whole_or_not_at_all(approved, tmp_path):
    """An image that cannot be fetched, a folder that holds something, a class that is not known, no label at all."""
    images = selected(approved)

    def away(uri, sha256):
        raise ConnectionError("away")

    with pytest.raises(ConnectionError):
        export_yolo(tmp_path / "yolo", images, CLASSES, away)
    with pytest.raises(ExchangeError, match="the bytes have"):
        export_coco(tmp_path / "coco", images, CLASSES, "x", lambda uri, sha256: b"other")
    with pytest.raises(ExchangeError, match="dent"):
        export_yolo(tmp_path / "yolo", images, ("scratch",), away)
    with pytest.raises(ExchangeError, match="there are none"):
        export_coco(tmp_path / "coco", [], CLASSES, "x", None)
    assert [file.name for file in tmp_path.iterdir()] == ["images"]  # of the fixture
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "theirs.txt").write_text("x")
    with pytest.raises(ExchangeError, match="holds something"):
        export_coco(tmp_path / "full", images, CLASSES, "x", None)
    assert (tmp_path / "full" / "theirs.txt").read_text() == "x"


@pytest.mark.parametrize("part", ["=1+2", "@a", "-7", "+7", "'x", "plain", "'=a"])
def test_a_part_that_a_spreadsheet_takes_for_a_formula_comes_back_the_same(part):
    """The cell begins with an apostrophe, which reading takes away."""
    cell = cell_text(part)
    assert cell[0] not in "=+-@"
    assert text_of_cell(cell) == part


def test_the_parts_of_an_export_are_no_formulas(tmp_path):
    """A device chooses the name of a part, and people open the table."""
    image = Selected(sha256="a" * 64, uri="s3://r/x.jpg", width=9, height=9, group='=HYPERLINK("x")', boxes=())
    export_yolo(tmp_path / "out", [image], CLASSES, None)
    text = (tmp_path / "out" / "parts.csv").read_text()
    assert ",=" not in text
    assert ',"=' not in text
    assert list(read_parts(tmp_path / "out" / "parts.csv").values()) == ['=HYPERLINK("x")']
