"""Locks between processes: who holds one, and who only asks."""

from __future__ import annotations

import fcntl
import stat

from deploy.access.layout import make_private
from deploy.access.locks import is_locked, locked


def test_a_lock_is_held_or_free_and_a_missing_file_is_free(tmp_path):
    """The answer is that of the kernel, and asking makes no file."""
    path = tmp_path / "lock"
    assert not is_locked(path)
    assert not path.exists()
    with locked(path):
        assert is_locked(path)
    assert not is_locked(path)


def test_two_who_ask_at_once_are_not_taken_for_a_holder(tmp_path):
    """An asker takes a shared lock for a moment; another asker is told that nobody holds the lock."""
    path = tmp_path / "lock"
    path.touch()
    with path.open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        assert not is_locked(path)


def test_the_folder_of_keys_and_passwords_is_closed_to_others(tmp_path):
    """A new folder, and one that was made open before, can be entered by its owner only."""
    new, old = tmp_path / "new", tmp_path / "old"
    old.mkdir(mode=0o755)
    for folder in (new, old):
        make_private(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_file_of_a_lock_is_private_also_one_that_an_earlier_version_made(tmp_path):
    """The lock of the identities lies beside keys and passwords, and has the mode of those."""
    new, old = tmp_path / "new", tmp_path / "old"
    old.touch()
    old.chmod(0o644)
    for path in (new, old):
        with locked(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
