"""The file operations on a real disk; `test_crash_points` tests what survives a crash."""

from __future__ import annotations

import errno

import pytest

from edge_agent.disk import RealDisk, Steps


class Noted(Steps):
    """Real steps, which note the folders that were synced."""

    def __init__(self, refuse: int = 0) -> None:
        self.synced: list[str] = []
        self.refuse = refuse

    def sync_folder(self, path):
        super().sync_folder(path)
        self.synced.append(path.name)

    def rename(self, source, target):
        if self.refuse and source.parent != target.parent:
            raise OSError(self.refuse, "refused")
        super().rename(source, target)


def test_a_folder_is_durable_up_to_the_first_that_was_there(tmp_path):
    """Each new name is synced in the folder that holds it."""
    steps = Noted()
    RealDisk(steps).make_folder(tmp_path / "a" / "b" / "c")
    assert steps.synced == [tmp_path.name, "a", "b"]
    steps.synced.clear()
    RealDisk(steps).make_folder(tmp_path / "a" / "b" / "c")
    assert steps.synced == ["b"]  # killed before it was synced, it would be found here


def test_a_move_over_file_systems_copies(tmp_path, fast_folder):
    """The kernel refuses the rename; `fast_folder` is on a file system in memory where the machine has one."""
    (tmp_path / "a.png").write_bytes(b"picture")
    RealDisk().move(tmp_path / "a.png", fast_folder / "b.png")
    assert (fast_folder / "b.png").read_bytes() == b"picture"
    assert not (tmp_path / "a.png").exists()
    (tmp_path / "c").mkdir()
    (tmp_path / "a.png").write_bytes(b"again")
    RealDisk(Noted(errno.EXDEV)).move(tmp_path / "a.png", tmp_path / "c" / "a.png")
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["a.png"]
    assert not (tmp_path / "a.png").exists()


def test_a_move_that_is_refused_for_another_reason_leaves_the_file(tmp_path):
    """A move that is refused, for example for missing rights, raises an error, and the file is not copied instead."""
    (tmp_path / "c").mkdir()
    (tmp_path / "a.png").write_bytes(b"picture")
    with pytest.raises(OSError, match="refused"):
        RealDisk(Noted(errno.EACCES)).move(tmp_path / "a.png", tmp_path / "c" / "a.png")
    assert list((tmp_path / "c").iterdir()) == []


def test_a_file_of_which_a_power_cut_left_both_names_is_moved(tmp_path):
    """A rename of a file to itself would change nothing and report success."""
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    RealDisk().move(tmp_path / "a", tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_what_an_interrupted_write_left_is_written_over(tmp_path):
    """The next write replaces the temporary file, so no start has to look for it."""
    (tmp_path / ".state.json.tmp").write_bytes(b"half of something longer")
    RealDisk().write(tmp_path / "state.json", b"new", mode=0o640)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("state.json", b"new")]
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o640


def test_removing_what_is_not_there_is_no_error(tmp_path):
    """A missing file is no error, and a whole folder is removed with everything in it."""
    RealDisk().remove(tmp_path / "a")
    RealDisk().remove(tmp_path / "nowhere" / "a")
    RealDisk().remove_tree(tmp_path / "tree")
    (tmp_path / "tree" / "leaf").mkdir(parents=True)
    (tmp_path / "tree" / "leaf" / "file").write_bytes(b"x")
    (tmp_path / "tree" / "link").symlink_to(tmp_path)
    RealDisk().remove_tree(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []
