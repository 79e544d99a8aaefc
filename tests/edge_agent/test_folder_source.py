"""A watched folder: only whole files, in order, each exactly once."""

from __future__ import annotations

import os
import time

import cv2
import numpy as np
import pytest

from edge_agent.camera_config import FolderCamera
from edge_agent.errors import SourceError
from edge_agent.sources.folder import FolderSource, subfolders_remark
from edge_agent.sources.resting import RestingFiles, Seen
from tests.edge_agent.models import picture


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "camera").mkdir()
    return tmp_path / "camera"


def make(folder, **changes):
    camera = FolderCamera(path=folder, **{"poll_interval_s": 0.02, "settle_s": 0.0} | changes)
    return FolderSource(camera, folder.parent / "done")


def names(source, wait=0.3):
    found = []
    while (frame := source.next(wait)) is not None:
        found.append(frame.name)
        source.done(frame, None)
    return found


def test_frames_come_in_the_order_of_their_names_and_are_put_away(folder):
    """Names with spaces and kanji work like any other."""
    for name in ("b.png", "a 1.png", "傷.png"):
        (folder / name).write_bytes(picture(1))
    assert names(make(folder)) == ["a 1.png", "b.png", "傷.png"]
    assert list(folder.iterdir()) == []
    assert len(list((folder.parent / "done").iterdir())) == 3


def test_a_growing_file_is_not_taken_before_it_rests(folder):
    """A file that is still being written is not a frame."""
    source = make(folder, poll_interval_s=0.1)
    data = picture(200)
    with (folder / "a.png").open("wb") as file:
        for at in range(0, len(data), 40):
            file.write(data[at : at + 40])
            file.flush()
            frame = source.next(0.03)
            assert frame is None
    frame = source.next(1.0)
    assert frame is not None
    assert frame.data == data


def test_unfinished_and_hidden_names_and_sidecars_are_left_alone(folder):
    """Such files are not frames: another program is still working on them."""
    for name in (".a.png", "a.png.tmp", "a.part", "a.png.json"):
        (folder / name).write_bytes(b"x")
    assert make(folder).next(0.2) is None
    assert len(list(folder.iterdir())) == 4


def test_the_part_is_named_by_the_sidecar(folder):
    """A broken sidecar does not cost the frame."""
    for name, text in (("a.png", '{"part_id": "T-1"}'), ("b.png", "{")):
        (folder / f"{name}.json").write_text(text)
        (folder / name).write_bytes(picture(1))
    source = make(folder)
    frames = [source.next(0.3)]
    source.done(frames[0], None)
    frames.append(source.next(0.3))
    source.done(frames[1], None)
    assert [frame.part_id for frame in frames] == ["T-1", None]
    assert list(folder.iterdir()) == []


def test_a_rejected_file_lies_aside_with_its_reason(folder):
    """Two rejected files of one name do not overwrite each other."""
    source = make(folder)
    for _ in range(2):
        (folder / "a.png").write_bytes(b"no picture")
        assert source.reject(source.next(0.3), "not-an-image", "expected a picture")
    aside = sorted(path.name for path in (folder / "rejected").iterdir())
    assert aside == ["2-a.png", "2-a.png.reason.txt", "a.png", "a.png.reason.txt"]
    assert (folder / "rejected" / "a.png.reason.txt").read_text() == "not-an-image: expected a picture\n"
    assert source.next(0.2) is None


def test_a_young_file_that_does_not_decode_is_looked_at_again(folder):
    """A slow writer that pauses longer than two scans does not lose its frame."""
    source = make(folder, settle_s=30.0)
    (folder / "a.png").write_bytes(picture(9)[:50])
    frame = source.next(0.3)
    assert source.reject(frame, "truncated", "…") is False
    assert source.next(0.1) is None
    (folder / "a.png").write_bytes(picture(9))
    frame = source.next(3.0)
    assert frame is not None
    assert frame.data == picture(9)
    old = time.time() - 60
    (folder / "b.png").write_bytes(b"half")
    os.utime(folder / "b.png", (old, old))
    source.done(frame, None)
    assert source.reject(source.next(1.0), "truncated", "…") is True


def test_the_same_name_again_is_another_frame(folder):
    """Some cameras count to 999 and start again."""
    source = make(folder)
    (folder / "a.png").write_bytes(picture(1))
    first = source.next(0.3)
    source.done(first, None)
    (folder / "a.png").write_bytes(picture(1))
    second = source.next(0.3)
    assert first.source_key != second.source_key
    assert source.holds(second.source_key)
    assert not source.holds(first.source_key)


def test_a_frame_that_was_not_put_away_comes_again(folder):
    """A frame is not lost between two attempts."""
    source = make(folder)
    (folder / "a.png").write_bytes(picture(1))
    first, second = source.next(0.3), source.next(0.3)
    assert first.source_key == second.source_key


def test_only_so_many_processed_files_are_kept(folder):
    """No file is kept where processed files are deleted."""
    for number in range(30):
        (folder / f"{number:02}.png").write_bytes(picture(1, seed=number))
    assert len(names(make(folder, processed_keep=5))) == 30
    assert len(list((folder.parent / "done").iterdir())) <= 16
    before = len(list((folder.parent / "done").iterdir()))
    (folder / "z.png").write_bytes(picture(1))
    assert names(make(folder, processed="delete")) == ["z.png"]
    assert len(list((folder.parent / "done").iterdir())) == before


def test_a_folder_that_is_gone_is_an_error_and_one_that_returns_is_not(folder):
    """A network drive may disappear and return."""
    source = make(folder)
    folder.rename(folder.with_name("away"))
    with pytest.raises(SourceError, match="camera's folder"):
        source.next(0.1)
    folder.with_name("away").rename(folder)
    (folder / "a.png").write_bytes(picture(1))
    assert names(source) == ["a.png"]


def test_a_name_that_is_no_utf8_is_a_name(folder):
    """Old cameras write names in old encodings."""
    with open(os.fsencode(folder) + b"/\x8f\x9d.png", "wb") as file:
        file.write(picture(1))
    source = make(folder)
    frame = source.next(0.3)
    frame.source_key.encode()
    assert source.holds(frame.source_key)
    source.done(frame, None)


def test_an_enormous_file_is_never_read(folder):
    """The file would take all memory of the device."""
    with (folder / "a.png").open("wb") as file:
        file.truncate(300_000_000)
    frame = make(folder).next(0.3)
    assert frame.problem[0] == "too-large"
    assert frame.data == b""


def test_latest_shows_the_newest_alone_and_counts_the_others(folder):
    """The older files are put away without inspection, and counted."""
    source = make(folder, mode="latest")
    for number, name in enumerate(("c.png", "a.png", "b.png")):
        (folder / name).write_bytes(picture(1))
        os.utime(folder / name, (1000 + number, 1000 + number))
    assert names(source) == ["b.png"]
    assert (source.take_skipped(), source.take_skipped()) == (2, 0)
    assert len(list((folder.parent / "done").iterdir())) == 3


def test_a_frame_that_somebody_took_away_meanwhile_is_put_away(folder):
    """The file cannot come again, so there is no error."""
    (folder / "a.png").write_bytes(picture(1))
    source = make(folder)
    frame = source.next(1.0)
    (folder / "a.png").unlink()
    source.done(frame, None)
    assert source.next(0.1) is None


def test_a_frame_that_was_not_put_away_comes_before_those_after_it(folder):
    """A disk that was full for a while does not change the order."""
    for name in ("a.png", "b.png", "c.png"):
        (folder / name).write_bytes(picture(1))
    source = make(folder)
    frame = source.next(0.3)
    assert frame.name == "a.png"
    source.give_back(frame)
    assert names(source) == ["a.png", "b.png", "c.png"]


def test_a_camera_that_writes_into_folders_of_its_own_is_said(folder, caplog):
    """Such files are not inspected: the log and the self-test name one, and what to do."""
    assert subfolders_remark(folder) == ""
    for below in ("rejected", ".hidden"):
        (folder / below).mkdir()
        (folder / below / "a.png").write_bytes(picture(1))
    assert subfolders_remark(folder) == ""
    deep = folder / "2024-05-01" / "001" / "jpg"
    deep.mkdir(parents=True)
    (deep / "14.03.22.jpg").write_bytes(picture(1))
    source = make(folder)
    assert "2024-05-01/001/jpg/14.03.22.jpg lies in a folder below" in caplog.text
    assert "have the camera write there" in caplog.text
    assert source.next(0.05) is None


def test_processed_files_have_a_limit_in_bytes(folder):
    """Large images would otherwise fill the disk long before there are too many of them. The oldest go first."""
    for number in range(12):
        (folder / f"{number:02}.png").write_bytes(bytes(1000))
        os.utime(folder / f"{number:02}.png", (1_700_000_000 + number,) * 2)
    (folder.parent / "done" / "of-somebody").mkdir(parents=True)
    source = make(folder, processed_max_bytes=5000)
    names(source)
    kept = sorted(path.name[-6:] for path in (folder.parent / "done").iterdir() if path.is_file())
    assert kept[-1] == "11.png"
    assert 3 <= len(kept) <= 5
    again = make(folder, processed_max_bytes=2000)  # the limit holds for what lies there from before
    (folder / "12.png").write_bytes(b"x" * 1000)
    names(again)
    assert len([path for path in (folder.parent / "done").iterdir() if path.is_file()]) <= 2


def test_files_that_were_set_aside_have_a_limit_and_the_oldest_go_with_their_reasons(folder):
    """A camera that writes broken files for weeks does not fill the disk. What was removed is counted.

    The age is that of the reason, which this agent wrote: the camera may date its files as it likes.
    """
    forgotten = []
    camera = FolderCamera(path=folder, poll_interval_s=0.001, settle_s=0.0, rejected_max_bytes=5000)
    source = FolderSource(camera, folder.parent / "done", forgot=forgotten.append)
    (folder / "rejected" / "of-somebody").mkdir(parents=True)
    for number in range(12):
        path = folder / f"{number:02}.png"
        path.write_bytes(bytes(1000))
        os.utime(path, (1_700_000_000 - number,) * 2)
        assert source.reject(source.next(1.0), "not-an-image", "expected a picture")
        note = folder / "rejected" / f"{number:02}.png.reason.txt"
        os.utime(note, (1_700_000_000 + number,) * 2)
    kept = {path.name for path in (folder / "rejected").iterdir() if path.is_file()}
    images = sorted(name for name in kept if name.endswith(".png"))
    assert images[-1] == "11.png"
    assert 3 <= len(images) <= 4
    assert kept == {*images, *(f"{name}.reason.txt" for name in images)}
    assert sum(forgotten) == 12 - len(images)


def test_files_that_were_set_aside_have_a_limit_in_number_and_a_note_alone_goes_too(folder):
    """A kill between note and file leaves a note, which counts as a file. Files of an earlier start count."""
    (folder / "rejected").mkdir()
    for number in range(20):
        (folder / "rejected" / f"old-{number}.png.reason.txt").write_text("why")
        os.utime(folder / "rejected" / f"old-{number}.png.reason.txt", (1_700_000_000 + number,) * 2)
    source = make(folder, rejected_keep=3)
    (folder / "a.png").write_bytes(b"no picture")
    assert source.reject(source.next(1.0), "not-an-image", "expected a picture")
    kept = sorted(path.name for path in (folder / "rejected").iterdir())
    assert kept == ["a.png", "a.png.reason.txt", "old-18.png.reason.txt", "old-19.png.reason.txt"]


# -- files that have their size before they have their content -------------------------------------------------------


NOISE = np.random.default_rng(1).integers(1, 255, (200, 300, 3), dtype=np.uint8)
ENDINGS = ("jpg", "png", "bmp", "webp", "tif")


def reserve(path, data: bytes, how: str) -> None:
    """Create a file at its full size, as some programs of cameras do, and write its first half."""
    with path.open("wb") as file:
        if how == "zeros":
            file.write(bytes(len(data)))
        elif how == "hole":
            file.truncate(len(data))
        else:
            os.posix_fallocate(file.fileno(), 0, len(data))
        file.seek(0)
        file.write(data[: len(data) // 2])


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("how", ["zeros", "hole", "reserved"])
def test_a_file_that_has_its_size_before_its_content_is_waited_for(folder, ending, how):
    """Half a BMP would decode as a picture that is half black. Other files are inspected in the meantime."""
    data = cv2.imencode(f".{ending}", NOISE)[1].tobytes()
    source = make(folder)
    path = folder / f"a.{ending}"
    reserve(path, data, how)
    assert source.next(0.1) is None
    (folder / "b.png").write_bytes(picture(1))
    other = source.next(1.0)
    assert other.name == "b.png"
    source.done(other, None)
    path.write_bytes(data)
    frame = source.next(1.5)
    assert (frame.name, frame.data, frame.problem) == (path.name, data, None)


def test_a_file_that_never_gets_its_content_is_set_aside_by_name_after_the_deadline(folder):
    """A program that ended in the middle does not leave a file that waits for ever."""
    data = cv2.imencode(".bmp", NOISE)[1].tobytes()
    reserve(folder / "a.bmp", data, "zeros")
    source = make(folder, unfinished_s=300.0, settle_s=30.0)
    assert source.next(0.1) is None
    old = time.time() - 301
    os.utime(folder / "a.bmp", (old, old))
    frame = source.next(1.0)
    assert frame.problem == ("unfinished", "its last 4096 bytes are zeros, 300 s after the last change")
    assert source.reject(frame, *frame.problem)
    assert (folder / "rejected" / "a.bmp").exists()


def test_a_picture_may_end_in_black_where_the_configuration_says_so(folder):
    """A BMP with a black edge looks like one that is half written."""
    black = NOISE.copy()
    black[:20] = 0  # a BMP begins with its last row
    (folder / "a.bmp").write_bytes(cv2.imencode(".bmp", black)[1].tobytes())
    assert make(folder).next(0.1) is None
    assert make(folder, may_end_black=True).next(1.0).problem is None


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_room_behind_the_end_of_a_picture_is_no_sign_of_an_unfinished_one(folder, ending):
    """Some programs reserve more than they need. The format tells where the picture ends."""
    data = cv2.imencode(f".{ending}", NOISE)[1].tobytes()
    with (folder / f"a.{ending}").open("wb") as file:
        file.truncate(len(data) + 100_000)
        file.write(data)
    frame = make(folder).next(1.0)
    assert frame.problem is None
    assert frame.data.startswith(data)


def test_in_the_mode_latest_an_unfinished_file_pushes_out_no_finished_one(folder):
    """The newest complete file is the frame."""
    (folder / "a.png").write_bytes(picture(1))
    reserve(folder / "b.bmp", cv2.imencode(".bmp", NOISE)[1].tobytes(), "zeros")
    later = time.time() + 1
    os.utime(folder / "b.bmp", (later, later))
    source = make(folder, mode="latest")
    frame = source.next(1.0)
    assert (frame.name, source.take_skipped()) == ("a.png", 0)
    assert (folder / "b.bmp").exists()


def test_a_file_that_never_rests_is_looked_into_after_the_deadline_and_one_that_rests_begins_anew():
    """The time counts from the first change after a rest; a file that is gone is forgotten."""
    now = [0.0]
    files = RestingFiles(1.0, 10.0, monotonic=lambda: now[0])
    for tick in range(20):
        now[0] = tick * 0.5
        assert files.see({"a": Seen(tick, tick)}) == []
        assert files.changes("a")
    now[0] = 10.0
    assert files.see({"a": Seen(99, 99)}) == [("a", Seen(99, 99))]
    assert files.never_rests("a")
    now[0] = 11.0
    assert files.see({"a": Seen(99, 99)}) == [("a", Seen(99, 99))]
    assert not files.never_rests("a")
    now[0] = 30.0
    assert files.see({"a": Seen(100, 100)}) == []
    assert files.see({}) == []
    now[0] = 41.0
    assert files.see({"a": Seen(100, 100)}) == []


def test_a_file_that_never_rests_is_set_aside_by_name(folder):
    """The camera's program writes one endless file; the log and the folder `rejected` name it."""
    source = make(folder, unfinished_s=0.2, poll_interval_s=0.1, settle_s=30.0)
    with (folder / "a.avi").open("ab", buffering=0) as file:
        frame, end = None, time.monotonic() + 10
        while frame is None and time.monotonic() < end:
            file.write(b"more")
            frame = source.next(0.02)
        assert frame.problem == ("unfinished", "it was still changing after 0.2 s")
        file.write(b"more")
        assert source.reject(frame, *frame.problem)
    assert (folder / "rejected" / "a.avi").exists()
