"""The digest of the code that trains."""

import os
import shutil
from pathlib import Path

import pytest

from components.training.code_digest import code_digest
from components.training.trainer import TrainingError

ROOT = Path(__file__).resolve().parents[3]
TRAINS = {
    "yolov8": (
        "components/training/c.py", "components/yolov8/a.py", "inspection/b.py", "locks/training.txt",
    ),
    "fcos": ("components/training/c.py", "inspection/b.py", "locks/training-permissive.txt"),
}  # fmt: skip
OTHERS = {
    "yolov8": ("components/other.py", "locks/training-permissive.txt"),
    "fcos": ("components/other.py", "components/yolov8/a.py", "locks/training.txt"),
}


@pytest.fixture
def tree(tmp_path):
    """A copy of the sources that the digest depends on, and of some that it does not."""
    for name in {*TRAINS["yolov8"], *TRAINS["fcos"], "components/other.py"}:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# {name}\n")
    return tmp_path


@pytest.mark.parametrize("detector", TRAINS)
def test_a_copy_of_this_checkout_elsewhere_has_the_digest_of_this_one(tmp_path, detector):
    """A copy of this checkout has the same digest, so that a training from one clone is found from another."""
    here = code_digest(detector)
    for name in ("components", "inspection", "locks"):
        shutil.copytree(ROOT / name, tmp_path / name, copy_function=shutil.copyfile)
    assert here.startswith("source:")
    assert code_digest(detector, root=tmp_path) == here


@pytest.mark.parametrize(("detector", "changed"), [(name, file) for name, files in TRAINS.items() for file in files])
def test_a_change_of_what_trains_changes_the_digest(tree, detector, changed):
    """A change in the rooms that train, in `inspection`, or in the lock file changes the digest."""
    before = code_digest(detector, root=tree)
    (tree / changed).write_text("changed\n")
    assert code_digest(detector, root=tree) != before


@pytest.mark.parametrize("detector", TRAINS)
def test_what_does_not_train_has_no_part_in_it(tree, detector):
    """Other rooms, the other detector's packages, compiled files and times of files leave the digest as it is."""
    before = code_digest(detector, root=tree)
    for name in OTHERS[detector]:
        (tree / name).write_text("changed\n")
    (tree / "components/training/a.cpython-311.pyc").write_bytes(b"x")
    os.utime(tree / "components/training/c.py", (0, 0))
    assert code_digest(detector, root=tree) == before


@pytest.mark.parametrize("detector", TRAINS)
def test_an_image_with_what_it_needs_has_the_digest_of_the_checkout(tree, detector):
    """What was trained in an image is found again in a checkout, and the other way round."""
    before = code_digest(detector, root=tree)
    for name in OTHERS[detector]:
        (tree / name).unlink()
    assert code_digest(detector, root=tree) == before


def test_a_renamed_source_changes_the_digest(tree):
    """The digest depends on the names of files, not only on their contents."""
    before = code_digest("fcos", root=tree)
    (tree / "inspection/b.py").rename(tree / "inspection/c.py")
    assert code_digest("fcos", root=tree) != before


def test_an_image_digest_stands_for_all_sources(tmp_path):
    """With the digest of an image, no source and no lock file is read."""
    assert code_digest("yolov8", "sha256:abc", root=tmp_path) == "image:sha256:abc"


def test_missing_sources_are_said(tmp_path):
    """The error names what is missing and the setting that helps."""
    with pytest.raises(TrainingError, match="KIZU_TRAINING_IMAGE_DIGEST"):
        code_digest("yolov8", root=tmp_path)
