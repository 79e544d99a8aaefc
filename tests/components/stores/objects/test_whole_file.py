"""Files that are whole or not there."""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from components.stores.objects.whole_file import PRIVATE, write_whole


def test_of_many_who_write_at_once_one_stays_whole(tmp_path):
    """One file stays, complete, with no part and no temporary file beside it."""
    file = tmp_path / "folder" / "傷 report.html"
    texts = [bytes([65 + n]) * 100_000 for n in range(8)]
    start = threading.Barrier(len(texts))

    def write(text):
        start.wait()
        write_whole(file, text)

    with ThreadPoolExecutor(len(texts)) as pool:
        list(pool.map(write, texts))
    assert file.read_bytes() in texts
    assert list(file.parent.iterdir()) == [file]


def test_its_mode_is_given_where_it_is_private(tmp_path):
    """A private write sets mode 0600, even on a file that others could read before."""
    file = tmp_path / "key.pem"
    write_whole(file, b"one", 0o644)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    write_whole(file, b"two", PRIVATE)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_cannot_be_replaced_is_still_there(tmp_path):
    """After a failed write the old file is there, and no temporary file."""
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "page").write_text("kept")
    with pytest.raises(OSError, match="report"):
        write_whole(tmp_path / "report", b"new")
    assert (tmp_path / "report" / "page").read_text() == "kept"
    assert list(tmp_path.iterdir()) == [tmp_path / "report"]
