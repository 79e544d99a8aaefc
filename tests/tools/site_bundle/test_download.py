"""A file from the network, by its SHA-256."""

from __future__ import annotations

import hashlib
import io

import pytest

from tools.site_bundle.checksums import BundleError
from tools.site_bundle.download import fetch

DATA = bytes(range(256)) * 40
SHA256 = hashlib.sha256(DATA).hexdigest()
URL = "https://index.example/numpy.whl"


class Answer(io.BytesIO):
    def __init__(self, data, status):
        super().__init__(data)
        self.status = status


class Server:
    """Breaks off after `breaks` bytes, once. ranges: whether it sends a part of a file."""

    def __init__(self, data=DATA, breaks=None, ranges=True):
        self.data, self.breaks, self.ranges, self.begins = data, breaks, ranges, []

    def __call__(self, request):
        begin = int(request.get_header("Range", "bytes=0-")[6:-1]) if self.ranges else 0
        self.begins.append(begin)
        if self.breaks is not None:
            sent, self.breaks = self.breaks, None
            answer = Answer(self.data[:sent], 200)
            answer.read = self._broken(answer.read)
            return answer
        return Answer(self.data[begin:], 206 if begin else 200)

    @staticmethod
    def _broken(read):
        def broken(size):
            data = read(size)
            if not data:
                raise ConnectionResetError("gone")
            return data

        return broken


def test_a_fetch_that_broke_off_goes_on_where_it_ended(tmp_path):
    """Not from the beginning: wheels are large and networks of plants slow."""
    server = Server(breaks=3000)
    assert fetch(URL, SHA256, tmp_path / "numpy.whl", server, lambda _: None)
    assert server.begins == [0, 3000]
    assert (tmp_path / "numpy.whl").read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["numpy.whl"]


def test_a_server_that_sends_whole_files_only_is_read_from_the_beginning(tmp_path):
    """It answers 200, so what was there already counts for nothing."""
    assert fetch(URL, SHA256, tmp_path / "numpy.whl", Server(breaks=3000, ranges=False), lambda _: None)
    assert (tmp_path / "numpy.whl").read_bytes() == DATA


def test_a_file_that_is_there_is_not_fetched_again(tmp_path):
    """A second run asks the network for nothing."""
    (tmp_path / "numpy.whl").write_bytes(DATA)
    server = Server()
    assert not fetch(URL, SHA256, tmp_path / "numpy.whl", server)
    assert server.begins == []


def test_other_bytes_are_refused_and_never_get_the_name(tmp_path):
    """A changed file of the index, or of a proxy between."""
    with pytest.raises(BundleError, match="expected a file with the SHA-256"):
        fetch(URL, SHA256, tmp_path / "numpy.whl", Server(b"something else"), lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_is_no_web_address_is_refused(tmp_path):
    """An index cannot make this machine read its own files."""
    with pytest.raises(BundleError, match="expected an address"):
        fetch("file:///etc/passwd", SHA256, tmp_path / "numpy.whl")
