"""A manifest as a folder of images and labels."""

import json
from dataclasses import replace
from threading import Event, Semaphore

import cv2
import numpy as np
import pytest

from components.stores.datasets.manifest import SplitName
from components.training.dataset_folder import label_lines, write_dataset
from components.training.trainer import TrainingError
from inspection.geometry import Box, LabelledBox
from inspection.image import decode_image, sha256_of
from inspection.picture import derive, measure
from inspection.preprocess import Preprocess, letterbox
from tests.components.training.generated_dataset import Line, entry, generated_line, manifest_of


def test_each_split_has_its_images_and_labels(tmp_path):
    """Train and val have an image and a label file of the same name; pixels are those that the device decodes."""
    line = generated_line(train=4, val=2)
    dataset = write_dataset(line.manifest, line.fetch, tmp_path / "d")
    assert dataset.images == {"train": 4, "val": 2}
    assert dataset.classes == ("scratch",)
    for image in line.manifest.of(SplitName.TRAIN):
        png = (tmp_path / "d" / "images" / "train" / f"{image.sha256}.png").read_bytes()
        assert np.array_equal(decode_image(png), decode_image(line.images[image.sha256]))
        label = (tmp_path / "d" / "labels" / "train" / f"{image.sha256}.txt").read_text()
        assert len(label.splitlines()) == len(image.boxes)


def test_the_training_split_alone_says_what_a_healthy_picture_is(tmp_path):
    """Each image is measured as the network gets it, whatever the order in which threads read them."""
    line = generated_line(train=12, val=4)
    size = Preprocess(320, 224)
    dataset = write_dataset(line.manifest, line.fetch, tmp_path / "d", size)
    trained = [decode_image(line.images[image.sha256]) for image in line.manifest.of(SplitName.TRAIN)]
    assert dataset.picture_limits == derive([measure(*letterbox(image, size)) for image in trained])
    assert dataset.picture_limits.pictures == 12
    assert write_dataset(line.manifest, line.fetch, tmp_path / "e").picture_limits is None


def test_training_never_sees_the_test_split(tmp_path):
    """No image of the test split is fetched or written."""
    line = generated_line(train=3, val=2, test=4)
    fetched = []
    write_dataset(line.manifest, lambda u, s: fetched.append(s) or line.images[s], tmp_path)
    held_back = {image.sha256 for image in line.manifest.of(SplitName.TEST)}
    assert len(held_back) == 4
    assert held_back.isdisjoint(fetched)
    assert not any(file.stem in held_back for file in tmp_path.rglob("*"))


def test_labels_are_shares_of_the_image():
    """A box of 40x20 at (10, 20) in 200x100 pixels, worked out by hand; the class by its place in the list."""
    text = label_lines([LabelledBox("dent", Box(10, 20, 40, 20))], ("scratch", "dent"), 200, 100)
    assert text == "1 0.15000000 0.30000000 0.20000000 0.20000000\n"


def test_boxes_are_clipped_to_the_image():
    """Of a box half outside, the inner half is left. A box wholly outside, and no box, give an empty text."""
    assert label_lines([LabelledBox("a", Box(-10, 0, 20, 50))], ("a",), 100, 100).split()[3] == "0.10000000"
    assert label_lines([LabelledBox("a", Box(200, 0, 20, 50))], ("a",), 100, 100) == ""
    assert label_lines([], ("a",), 100, 100) == ""


def test_an_unknown_class_is_refused():
    """A label of an unknown class raises an error that names the class."""
    with pytest.raises(TrainingError, match="dent"):
        label_lines([LabelledBox("dent", Box(0, 0, 1, 1))], ("scratch",), 10, 10)


def test_class_names_of_any_script_need_no_other_font(tmp_path):
    """The data file has ASCII class names, whatever the use case calls its classes."""
    line = generated_line(train=2, val=1)
    images = [
        entry(line.images[i.sha256], i.split, [LabelledBox('傷 "x"', b.box) for b in i.labels], i.group)
        for i in line.manifest.images
    ]
    dataset = write_dataset(manifest_of(images, ('傷 "x"',)), line.fetch, tmp_path / "部品 1")
    content = json.loads(dataset.data_file.read_text(encoding="utf-8"))
    assert content["names"] == {"0": "c0"}
    assert content["path"].endswith("部品 1")
    assert dataset.classes == ('傷 "x"',)


def test_other_bytes_than_the_manifest_says_are_refused(tmp_path):
    """An image whose bytes do not have the manifest's sha256 is refused."""
    line = generated_line(train=2, val=1)
    other = Line(line.manifest, dict.fromkeys(line.images, b"something else"))
    with pytest.raises(TrainingError, match="expected sha256"):
        write_dataset(line.manifest, other.fetch, tmp_path)


def test_another_size_than_the_manifest_says_is_refused(tmp_path):
    """An image of another size is refused, because its boxes in pixels would be wrong."""
    line = generated_line(train=2, val=1)
    wrong = manifest_of([replace(i, width=i.width + 1) for i in line.manifest.images])
    with pytest.raises(TrainingError, match="expected 451x300 pixels"):
        write_dataset(wrong, line.fetch, tmp_path)


def test_a_dataset_without_a_defect_is_refused(tmp_path):
    """The error says what to do about it."""
    line = generated_line(defect_rate=0.0)
    with pytest.raises(TrainingError, match="label defective parts first"):
        write_dataset(line.manifest, line.fetch, tmp_path)


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_empty_split_is_refused(tmp_path, split):
    """A dataset with an empty split raises an error that names the split."""
    line = generated_line(**{split: 0})
    with pytest.raises(TrainingError, match=f"the {split} split"):
        write_dataset(line.manifest, line.fetch, tmp_path)


def test_grey_images_are_stored_as_the_device_sees_them(tmp_path):
    """A grey image is stored with three channels."""
    line = generated_line(train=1, val=1)
    grey = np.linspace(0, 255, 64 * 96).reshape(64, 96).astype(np.uint8)
    data = cv2.imencode(".png", grey)[1].tobytes()
    odd = entry(data, SplitName.TRAIN)
    manifest = manifest_of([*line.manifest.images, odd])
    write_dataset(manifest, Line(manifest, {**line.images, odd.sha256: data}).fetch, tmp_path)
    stored = cv2.imread(str(tmp_path / "images" / "train" / f"{odd.sha256}.png"), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint8
    assert np.array_equal(stored, decode_image(data))


def test_an_image_that_the_device_refuses_is_refused_by_name(tmp_path):
    """One of 16 bits a channel, for example: the model would learn from nearly black pictures."""
    line = generated_line(train=2, val=1)
    deep = cv2.imencode(".png", np.zeros((64, 96), np.uint16))[1].tobytes()
    odd = replace(line.manifest.images[0], sha256=sha256_of(deep))
    manifest = manifest_of([*line.manifest.images, odd])
    with pytest.raises(TrainingError, match="16 bits") as caught:
        write_dataset(manifest, Line(manifest, {**line.images, odd.sha256: deep}).fetch, tmp_path)
    assert odd.uri in str(caught.value)


def test_the_folder_is_the_same_whichever_image_comes_first(tmp_path):
    """Where the first image arrives after all others, the files and their bytes are the same."""
    line = generated_line(train=6, val=2)
    first = line.manifest.of(SplitName.TRAIN)[0].sha256
    others = Semaphore(0)

    def late(uri, sha256):
        if sha256 == first:
            for _ in range(7):
                assert others.acquire(timeout=20)
        else:
            others.release()
        return line.images[sha256]

    write_dataset(line.manifest, late, tmp_path / "late")
    write_dataset(line.manifest, line.fetch, tmp_path / "d")
    files = [sorted(p.relative_to(top) for p in top.rglob("*.*")) for top in (tmp_path / "late", tmp_path / "d")]
    assert files[0] == files[1]
    assert len(files[0]) == 2 * 8 + 1
    for name in files[0]:
        if name.name != "data.yaml":
            assert (tmp_path / "late" / name).read_bytes() == (tmp_path / "d" / name).read_bytes()


def test_of_several_bad_images_the_first_of_the_manifest_is_named(tmp_path):
    """The error is that of the manifest's first bad image, although another failed earlier."""
    line = generated_line(train=4, val=2)
    first, second = line.manifest.of(SplitName.TRAIN)[1:3]
    second_asked = Event()

    def fetch(uri, sha256):
        if sha256 == second.sha256:
            second_asked.set()
        if sha256 == first.sha256:
            assert second_asked.wait(20)
        return b"damaged" if sha256 in (first.sha256, second.sha256) else line.images[sha256]

    with pytest.raises(TrainingError, match=f"expected sha256 {first.sha256}"):
        write_dataset(line.manifest, fetch, tmp_path)


def test_large_images_are_not_all_in_memory_at_once(tmp_path):
    """Of images with 32 million pixels, as their manifest says, the third waits until the first is done."""
    line = generated_line(train=4, val=1)
    images = [replace(i, width=8000, height=4000) for i in line.manifest.images]
    first, second, third, _ = (image.sha256 for image in images if image.split is SplitName.TRAIN)
    begun = {sha256: Event() for sha256 in line.images}

    def fetch(uri, sha256):
        begun[sha256].set()
        if sha256 == first:
            assert begun[second].wait(20)
            assert not begun[third].wait(0.2)
        return line.images[sha256]

    with pytest.raises(TrainingError, match="expected 8000x4000 pixels"):
        write_dataset(manifest_of(images), fetch, tmp_path)
