"""`kizu import` and `kizu export`, as processes with the rights that they have."""

import io
import json
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.stores.labels.store import LabelStore
from components.stores.raw_images.images import RawImages
from components.use_case import load_use_case
from inspection.image import sha256_of
from tests.pipelines.holding_proxy import HoldingProxy

REPOSITORY = Path(__file__).resolve().parents[2]


def picture(seed):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture
def kizu(s3, tmp_path):
    """Run a command in an empty folder, as an identity of this installation."""
    here = tmp_path / "here"
    here.mkdir()

    def run(identity, *arguments, **more):
        return subprocess.run(
            [sys.executable, "-m", "kizu", *map(str, arguments)],
            cwd=here, capture_output=True, text=True, timeout=120,
            env=s3.environment(identity) | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"} | more,
        )  # fmt: skip

    run.here = here
    return run


@pytest.fixture
def use_case(tmp_path):
    file = tmp_path / "use-case.yaml"
    file.write_text(
        f"name: c-{uuid.uuid4().hex[:12]}\nclasses: [scratch, dent]\nlabeling: {{instructions: Draw.}}\n"
        "gates: {min_map50: 0.1, max_escape_rate: 1.0, max_overkill_rate: 1.0}\n"
    )
    return file


def said(result):
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_images_go_in_and_what_is_none_is_listed_where_one_is(kizu, tmp_path):
    """A file that is no image is listed by name and reason in the current folder; a second import finds nothing new."""
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(picture(1))
    (folder / "cut.jpg").write_bytes(picture(2)[:-100])
    assert "2 files: 1 images (1 new), 1 set aside" in said(kizu("importer", "import", "images", folder))
    assert "cut.jpg,truncated" in (kizu.here / "set-aside-set.csv").read_text()
    assert "1 images (0 new)" in said(kizu("importer", "import", "images", folder))
    assert "1 images (0 new)" in said(kizu("importer", "ingest", folder))  # by its shorter name


@pytest.mark.parametrize("has_sources", [True, False])
def test_images_are_imported_for_a_use_case(kizu, s3, use_case, tmp_path, has_sources):
    """With sources the device carries the use case's name, so that they are its own; without, all images are."""
    if has_sources:
        use_case.write_text(use_case.read_text() + "sources: [osaka/*]\n")
    folder = tmp_path / "boxes"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(data := picture(uuid.uuid4().int % 2**32))
    said(kizu("importer", "ingest", folder, "-u", use_case))
    name = load_use_case(use_case).name
    (found,) = [
        image for image in RawImages(s3.store("labeling"), "kizu-raw").list_images() if image.sha256 == sha256_of(data)
    ]
    assert found.device == (f"import-{name}--boxes" if has_sources else "import-boxes")


def test_labels_go_out_and_come_in_by_every_format(kizu, use_case, tmp_path):
    """The importer writes labels and the training's identity reads them; unreadable rows are listed with their line."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    for index in range(3):
        (folder / f"{index}.jpg").write_bytes(picture(10 + index))
    lines = [
        {
            "source-ref": f"s3://gone/{index}.jpg",
            "boxes": {"image_size": [{"width": 64, "height": 48, "depth": 3}],
                      "annotations": [{"class_id": 4, "left": 1 + n, "top": 2, "width": 30, "height": 40}
                                      for n in range(index)]},
            "boxes-metadata": {"type": "groundtruth/object-detection", "class-map": {"4": "Kratzer"},
                               "creation-date": "2021-01-28T09:50:34", "job-name": "j"},
            "check": 0,
            "check-metadata": {"type": "groundtruth/label-verification", "class-name": "fine",
                               "creation-date": "2021-01-28T10:50:34"},
        }
        for index in range(3)
    ]  # fmt: skip
    manifest = tmp_path / "output.manifest"
    manifest.write_text("".join(json.dumps(item) + "\n" for item in lines) + "{broken\n")
    first = kizu(
        "importer", "import", "ground-truth", manifest, "--images", folder, "-u", use_case, "--trust-status",
        "--approved-class", "fine", "--class", "Kratzer=scratch",
    )  # fmt: skip
    assert "3 rows (3 approved) with 3 boxes; 3 new, 3 new images; 1 set aside" in said(first)
    assert "4,,not-json," in (kizu.here / "set-aside-theirs.csv").read_text()
    for name, target in (("coco", "coco"), ("yolo", "yolo")):
        assert "3 images with 3 boxes" in said(kizu("training", "export", name, kizu.here / target, "-u", use_case))
    assert "3 rows" in said(kizu("training", "export", "parquet", kizu.here / "labels.parquet", "-u", use_case))
    back = use_case.with_name("back.yaml")
    back.write_text(use_case.read_text().replace("name: c-", "name: b-"))
    coco = kizu("importer", "import", "coco", kizu.here / "coco" / "annotations.json", "-u", back)
    assert "3 rows (3 labelled) with 3 boxes; 3 new" in said(coco)
    yolo = kizu("importer", "import", "yolo", kizu.here / "yolo", "-u", back, "--trust-status")
    assert "3 rows (3 approved) with 3 boxes; 3 new" in said(yolo)


def test_a_folder_in_the_form_of_neu_det_goes_in(kizu, use_case, tmp_path):
    """Images are found in IMAGES beside ANNOTATIONS. Labels that are not in force are said, listed, and can be."""
    for name in ("ANNOTATIONS", "IMAGES"):
        (tmp_path / "set" / name).mkdir(parents=True)
    (tmp_path / "set" / "IMAGES" / "scratches_1.jpg").write_bytes(picture(uuid.uuid4().int % 2**32))
    file = tmp_path / "set" / "ANNOTATIONS" / "scratches_1.xml"

    def take(xmax, *options):
        file.write_text(
            "<annotation><filename>scratches_1.jpg</filename><size><width>64</width><height>48</height></size><object>"
            f"<name>scratches</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>{xmax}</xmax><ymax>9</ymax></bndbox>"
            "</object></annotation>"
        )
        command = ("import", "voc", file.parent, "-u", use_case, "--class", "scratches=scratch", "--trust-status")
        return said(kizu("importer", *command, *options))

    assert "1 rows (1 approved) with 1 boxes; 1 new, 1 new images; 0 set aside" in take(20)
    assert "1 new" in take(30)
    again = take(20)
    assert "0 new" in again
    assert "1 rows are not in force" in again
    assert "--supersede" in again
    assert "not-in-force" in (kizu.here / "set-aside-ANNOTATIONS.csv").read_text()
    assert "1 rows replaced later labels" in take(20, "--supersede")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["import", "images", "none"], ["expected a folder of images or s3://", "none"]),
        (["import", "ground-truth", "none.csv"], ["cannot read none.csv"]),
        (["import", "yolo", "none"], ["none"]),
        (["import", "yolo", ".", "--class", "a"], ["THEIRS=OURS", "'a'"]),
        (["export", "coco", "out"], ["expected approved labels", "none"]),
        (["export", "yolo", "out", "--dataset", "ab" * 32, "--label-version", "3"], ["--label-version or --dataset"]),
    ],
)
def test_a_mistake_is_said_in_one_line_and_leaves_nothing(kizu, use_case, arguments, words):
    """The one line of the error says what was expected and what was given, and nothing is written."""
    options = [] if arguments[1] == "images" else ["-u", use_case]
    result = kizu("importer" if arguments[0] == "import" else "training", *arguments, *options)
    assert result.returncode != 0
    (line,) = result.stderr.strip().splitlines()
    for word in words:
        assert word in line
    assert list(kizu.here.iterdir()) == []


@pytest.mark.parametrize(
    ("held", "number"),
    [(b"PUT /kizu-raw/", 1), (b"PUT /kizu-raw/", 61), (b"PUT /kizu-labels/", 1), (b"PUT /kizu-labels/", 2)],
)
def test_an_import_that_is_killed_at_any_moment_ends_the_same_when_it_is_run_again(
    kizu, s3, use_case, tmp_path, held, number
):
    """After a second run there is no image without its row, no row twice, and no row without its image."""
    folder = tmp_path / "yolo"
    folder.mkdir()
    for index in range(60):
        (folder / f"{index:02}.jpg").write_bytes(picture(uuid.uuid4().int % 2**32))
        (folder / f"{index:02}.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    (folder / "classes.txt").write_text("scratch\ndent\n")
    labels = LabelStore.open(s3.settings("importer"))
    raw = RawImages(s3.store("importer"), "kizu-raw")
    name = load_use_case(use_case).name
    device = f"import-k{uuid.uuid4().hex[:8]}"
    command = ["import", "yolo", folder, "-u", use_case, "--trust-status", "--name", device.removeprefix("import-")]

    def images():
        return {image.sha256 for image in raw.list_images() if image.device == device}

    environment = s3.environment("importer") | {"PYTHONPATH": str(REPOSITORY)}
    with HoldingProxy(environment["KIZU_S3_ENDPOINT"], held, number) as proxy:
        process = subprocess.Popen(
            [sys.executable, "-m", "kizu", *map(str, command)], cwd=kizu.here,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment | {"KIZU_S3_ENDPOINT": proxy.url},
        )  # fmt: skip
        assert proxy.reached.wait(60)
        process.kill()
        assert process.wait(10) != 0
    assert {event.sha256 for event in labels.events(use_case=name)} <= images()
    assert "60 rows (60 approved) with 60 boxes" in said(kizu("importer", *command))
    assert len(images()) == len(labels.events(use_case=name)) == len(labels.latest_approved(name)) == 60


def test_labels_and_images_come_from_another_store_with_keys_of_its_own(kizu, s3, use_case):
    """Keys of the other store read it; the importer's own key has no right there and is refused."""
    theirs = s3.store("admin")
    line = {
        "source-ref": "s3://kizu-state/theirs/a.jpg",
        "boxes": {"image_size": [{"width": 64, "height": 48}],
                  "annotations": [{"class_id": 0, "left": 1, "top": 2, "width": 30, "height": 40}]},
        "boxes-metadata": {"type": "groundtruth/object-detection", "class-map": {"0": "dent"},
                           "creation-date": "2021-01-28T09:50:34"},
    }  # fmt: skip
    theirs.put("kizu-state", "theirs/a.jpg", picture(uuid.uuid4().int % 2**32))
    theirs.put("kizu-state", "theirs/out/output.manifest", json.dumps(line).encode())
    command = ("import", "ground-truth", "s3://kizu-state/theirs/out/output.manifest", "-u", use_case)
    refused = kizu("importer", *command)
    assert refused.returncode != 0
    assert "refused for this identity" in refused.stderr
    admin = s3.environment("admin")
    source = {
        "KIZU_SOURCE_S3_ENDPOINT": admin["KIZU_S3_ENDPOINT"],
        "KIZU_SOURCE_ACCESS_KEY_ID": admin["AWS_ACCESS_KEY_ID"],
        "KIZU_SOURCE_SECRET_ACCESS_KEY": admin["AWS_SECRET_ACCESS_KEY"],
    }
    assert "1 rows (1 labelled) with 1 boxes; 1 new, 1 new images" in said(kizu("importer", *command, **source))
    images = kizu("importer", "import", "images", "s3://kizu-state/theirs", **source)
    assert "1 files: 1 images (1 new), 0 set aside" in said(images)  # nobody takes a manifest for an image
