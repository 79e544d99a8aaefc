"""Which code trained."""

import os

import pytest

from components.trainers.code_digest import code_digest
from components.trainers.trainer import TrainingError

TRAINS = (
    "components/trainers/c.py", "components/training/a.py", "inspection/b.py", "locks/training.txt",
    "locks/training-permissive.txt",
)  # fmt: skip


@pytest.fixture
def tree(tmp_path):
    """A tree with the sources that matter and some that do not."""
    for name in (*TRAINS, "components/other.py"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# {name}\n")
    return tmp_path


def test_this_checkout_has_a_digest():
    """The same twice."""
    assert code_digest().startswith("source:")
    assert code_digest() == code_digest()


@pytest.mark.parametrize("changed", TRAINS)
def test_a_change_of_what_trains_changes_the_digest(tree, changed):
    """Sources of both rooms, of the shared language, and the pinned libraries."""
    before = code_digest(root=tree)
    (tree / changed).write_text("changed\n")
    assert code_digest(root=tree) != before


def test_what_does_not_train_has_no_part_in_it(tree):
    """Other rooms, compiled files and times of files leave it as it is."""
    before = code_digest(root=tree)
    (tree / "components/other.py").write_text("changed\n")
    (tree / "components/training/a.cpython-311.pyc").write_bytes(b"x")
    os.utime(tree / "components/training/a.py", (0, 0))
    assert code_digest(root=tree) == before


def test_a_renamed_source_changes_the_digest(tree):
    """Names count, not only contents."""
    before = code_digest(root=tree)
    (tree / "inspection/b.py").rename(tree / "inspection/c.py")
    assert code_digest(root=tree) != before


def test_an_image_without_the_room_of_yolov8_has_a_digest_too(tree):
    """Of what is there."""
    before = code_digest(root=tree)
    (tree / "components/training/a.py").unlink()
    (tree / "locks/training.txt").unlink()
    without = code_digest(root=tree)
    assert without.startswith("source:")
    assert without != before


def test_an_image_digest_stands_for_all_sources(tmp_path):
    """On a cluster, where no lock file may be near."""
    assert code_digest("sha256:abc", root=tmp_path) == "image:sha256:abc"


def test_missing_sources_are_said(tmp_path):
    """With the setting that helps."""
    with pytest.raises(TrainingError, match="KIZU_TRAINING_IMAGE_DIGEST"):
        code_digest(root=tmp_path)
