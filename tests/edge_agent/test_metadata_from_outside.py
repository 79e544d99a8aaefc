"""Part ids and names from outside are checked at every source, and one frame that fails ends nothing."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from datetime import UTC, datetime

import pytest
from starlette.requests import Request

from edge_agent.agent import InspectionLoop
from edge_agent.camera_config import FolderCamera, HttpCamera
from edge_agent.disk import shortened
from edge_agent.sources.folder import FolderSource
from edge_agent.sources.http import HttpSource
from edge_agent.sources.metadata import MAX_TEXT, MetadataError, checked_text, read_metadata
from edge_agent.sources.port import Frame
from edge_agent.sources.trigger import TriggerQueue
from edge_agent.web.access import Access
from edge_agent.web.inspect import InspectEndpoint
from inspection import Capture
from tests.edge_agent.bench import Bench, loaded
from tests.edge_agent.models import BAD, DOUBTFUL, picture
from tests.edge_agent.servers import wait_for

HOSTILE = {
    "half a surrogate pair": b'{"part_id": "\\ud800"}',
    "nested a thousand deep": b'{"part_id": ' + b"[" * 1000 + b"]" * 1000 + b"}",
    "nested a hundred thousand deep": b"[" * 100_000,
    "a control character": b'{"part_id": "T\\u0000"}',
    "too long": b'{"part_id": "' + b"x" * 201 + b'"}',
    "too many bytes": b'{"part_id": "T", "more": "' + b"x" * 20_000 + b'"}',
    "not a number": b'{"part_id": "T", "size": NaN}',
    "an infinite number": b'{"part_id": "T", "size": 1e999}',
    "an enormous number": b'{"part_id": ' + b"9" * 5000 + b"}",
    "a list": b'{"part_id": ["T"]}',
    "no object": b'"T"',
    "no UTF-8": b'{"part_id": "\xff"}',
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_metadata_that_could_stop_a_line_is_refused_in_ascii(data):
    """The message can be written to any log, and the parser never runs out of its stack."""
    with pytest.raises(MetadataError) as caught:
        checked_text(read_metadata(data).get("part_id"), "part_id")
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b'{"part_id": "T-1"}', "T-1"),
        ('{"part_id": "部品 7 傷"}'.encode(), "部品 7 傷"),
        (b'{"part_id": 4711, "lot": {"a": [1, 2.5]}}', "4711"),
        (b'{"part_id": null}', None),
        (b'{"part_id": ""}', None),
        (b" ", None),
        (b'{"part_id": "[[[[[[[[[[ \\" {{{{"}', '[[[[[[[[[[ " {{{{'),
        (b'{"part_id": "' + b"x" * MAX_TEXT + b'"}', "x" * MAX_TEXT),
    ],
)
def test_metadata_of_a_line_is_read(data, part):
    """Any script, numbers, and brackets inside of a text are fine."""
    assert checked_text(read_metadata(data).get("part_id"), "part_id") == part


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_sidecar_costs_its_part_id_and_nothing_else(tmp_path, data):
    """The frame gets its verdict, and so does the next one."""
    bench = Bench(tmp_path)
    (bench.camera / "a.png.json").write_bytes(data)
    for name in ("a.png", "b.png"):
        bench.feed(name, picture(*BAD))
    release = loaded(tmp_path)
    assert [bench.loop.step(release, 2.0) for _ in range(2)] == [True, True]
    assert [(item["original_name"], item["part_id"]) for item in bench.results()] == [("a.png", None), ("b.png", None)]
    assert list(bench.camera.iterdir()) == []
    bench.outbox.close()


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_trigger_takes_a_frame_without_a_part(data):
    """There is a part at the camera, although nobody can say which."""
    triggers = TriggerQueue()
    triggers.put(data)
    trigger = triggers.take()
    assert (trigger.part_id, triggers.take()) == (None, None)


class Shelf:
    """A camera with frames that a test makes."""

    def __init__(self, *frames: Frame) -> None:
        self.name = "shelf"
        self.frames = list(frames)
        self.rejected: list[tuple[str, str, str]] = []
        self.given_back = 0

    def next(self, timeout_s):
        return self.frames.pop(0) if self.frames else None

    def done(self, frame, result):
        pass

    def reject(self, frame, reason, message):
        self.rejected.append((frame.name, reason, message))
        return True

    def give_back(self, frame):
        self.given_back += 1
        self.frames.insert(0, frame)

    def holds(self, source_key):
        return False

    def take_skipped(self):
        return 0

    def close(self):
        pass


def frame(name: str, data: bytes, part_id: str | None = None) -> Frame:
    return Frame(name, name, data, datetime(2026, 1, 2, tzinfo=UTC), part_id)


def over(bench: Bench, source) -> InspectionLoop:
    return InspectionLoop(
        [source], bench.active, bench.outbox, bench.health, bench.recent, site="plant1", device="dev1", publish=True
    )


def test_an_error_that_nobody_foresaw_sets_aside_that_frame_alone(tmp_path, caplog):
    """A text that a source let through cannot be written as JSON: it is counted, its trace is in the log."""
    bench = Bench(tmp_path)
    source = Shelf(frame("a", picture(*BAD), "\ud800"), frame("b", picture(*BAD)))
    loop, release = over(bench, source), loaded(tmp_path)
    assert [loop.step(release, 0.0) for _ in range(2)] == [True, True]
    assert [item["original_name"] for item in bench.results()] == ["b"]
    assert [(name, reason) for name, reason, _ in source.rejected] == [("a", "unexpected")]
    assert bench.outbox.counters()["rejected.unexpected"] == 1
    assert "UnicodeEncodeError" in caplog.text
    assert "Traceback" in caplog.text
    bench.outbox.close()


def test_an_error_after_the_result_was_recorded_does_not_set_the_frame_aside(tmp_path):
    """The frame has its verdict; it is put away and counted once."""

    def measure(_):
        raise ZeroDivisionError

    bench = Bench(tmp_path, measure=measure)
    bench.feed("a.png", picture(*BAD))
    assert bench.loop.step(loaded(tmp_path), 2.0)
    assert (len(bench.results()), bench.waiting()) == (1, [])
    assert not (bench.camera / "rejected").exists()
    assert bench.outbox.counters()["frames"] == 1
    bench.outbox.close()


def test_a_camera_whose_driver_fails_in_a_way_of_its_own_holds_up_no_other(tmp_path):
    """The loop names the camera and goes on with the next one."""
    bench = Bench(tmp_path)
    broken = Shelf()
    broken.next = lambda timeout_s: 1 // 0
    good = Shelf(frame("b", picture(*BAD)))
    good.name = "good"
    loop = InspectionLoop(
        [broken, good], bench.active, bench.outbox, bench.health, bench.recent,
        site="plant1", device="dev1", publish=True,
    )  # fmt: skip
    bench.active.set(loaded(tmp_path))
    stop = threading.Event()
    thread = threading.Thread(target=loop.run, args=(stop,))
    thread.start()
    try:
        assert bench.outbox.result_waits.wait(10)
        for _ in range(200):
            if "ZeroDivisionError" in bench.health.problem:
                break
            stop.wait(0.02)
        assert "shelf: ZeroDivisionError" in bench.health.problem
    finally:
        stop.set()
        thread.join(10)
    assert [item["original_name"] for item in bench.results()] == ["b"]
    bench.outbox.close()


def test_a_disk_that_fails_sets_no_frame_aside(tmp_path):
    """The frame goes back to its camera until the disk works again."""
    bench = Bench(tmp_path)
    source = Shelf(frame("a", picture(*BAD)))
    loop, release = over(bench, source), loaded(tmp_path)
    is_recorded = bench.outbox.is_recorded
    bench.outbox.is_recorded = lambda key: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    for _ in range(5):
        with pytest.raises(OSError, match="No space left"):
            loop.step(release, 0.0)
    bench.outbox.is_recorded = is_recorded
    assert loop.step(release, 0.0)
    assert (len(bench.results()), source.rejected) == (1, [])
    bench.outbox.close()


@pytest.mark.parametrize("name", ["検" * 80 + ".png", "x" * 246 + ".png", "🔩" * 60 + ".png"])
@pytest.mark.parametrize("good", [True, False], ids=["good", "unreadable"])
def test_a_name_as_long_as_a_file_system_takes_stops_nothing(tmp_path, name, good):
    """The name that a processed or rejected file gets is no longer than that, and keeps its ending."""
    bench = Bench(tmp_path)
    (bench.camera / name).write_bytes(picture(*BAD) if good else b"no picture")
    bench.feed("鿿.png", picture(*BAD))
    release = loaded(tmp_path)
    for _ in range(2):
        bench.loop.step(release, 2.0)
    assert len(bench.results()) == 1 + good
    assert bench.waiting() == []
    aside = tmp_path / "done" if good else bench.camera / "rejected"
    assert any(path.name.endswith(".png") for path in aside.iterdir())
    bench.outbox.close()


def test_what_else_lies_in_a_cameras_folder_stops_nothing(tmp_path):
    """A folder or a pipe in the place of a sidecar, a folder among processed files, a time that no calendar has."""
    camera = tmp_path / "camera"
    camera.mkdir()
    source = FolderSource(
        FolderCamera(path=camera, poll_interval_s=0.001, settle_s=0.0, processed_keep=0), tmp_path / "done"
    )
    keeping = FolderSource(
        FolderCamera(path=camera, poll_interval_s=0.001, settle_s=0.0, processed_keep=1), tmp_path / "done"
    )
    (tmp_path / "done" / "00-folder").mkdir()
    (camera / "a.png.json").mkdir()
    os.mkfifo(camera / "b.png.json")
    for name in ("a.png", "b.png", "c.png"):
        (camera / name).write_bytes(picture(*BAD))
    os.utime(camera / "c.png", (253_402_300_900, 253_402_300_900))
    for _ in range(3):
        taken = source.next(1.0)
        assert taken.part_id is None
        source.done(taken, None)
    for number in range(14):
        (camera / f"{number:02}.png").write_bytes(picture(*BAD, seed=number))
    for _ in range(14):
        keeping.done(keeping.next(1.0), None)
    assert (tmp_path / "done" / "00-folder").is_dir()


def test_a_shortened_name_keeps_its_ending():
    """Only the end of the stem goes; an ending that is none is part of the stem."""
    assert shortened("a.png", 5) == "a.png"
    assert shortened("傷傷.png", 8) == "傷.png"
    assert shortened("a." + "b" * 20, 5) == "a.bbb"


@pytest.mark.parametrize("query", ["part_id=T%00", "part_id=" + "x" * 201, "name=a%0Ab.png", "name=" + "x" * 201])
def test_a_posted_image_with_a_hostile_part_or_name_is_refused(tmp_path, query):
    """The sender learns what was expected; nothing waits for inspection."""
    source = HttpSource(HttpCamera(source="http"), threading.Event())
    body = picture(*BAD)

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {
        "type": "http", "method": "POST", "path": "/inspect", "query_string": query.encode(), "headers": [],
        "client": ("127.0.0.1", 1),
    }  # fmt: skip
    endpoint = InspectEndpoint(source, Access("t" * 32))
    answer = asyncio.run(endpoint.answer(Request(scope, receive)))
    assert answer.status_code == 400
    assert answer.body.startswith(b"bad-metadata: expected ")
    assert source.next(0.0) is None


def fit(stem: str, ending: str, most: int) -> str:
    """The longest name of at most `most` bytes; each kanji takes three."""
    while len(os.fsencode(stem + ending)) > most:
        stem = stem[:-1]
    return stem + ending


def test_long_japanese_names_go_the_whole_way(tmp_path, caplog):
    """From the camera's folder to the line, `done`, `rejected`, the labelers' Capture and the operator's page."""
    names = [
        fit(number + "傷のある部品" * 30, ".png", most) for number, most in (("一", 255), ("二", 254), ("三", 250))
    ]
    broken = fit("壊" * 100, ".png", 255)
    bench = Bench(tmp_path)
    bench.active.set(loaded(tmp_path / "release"))
    for number, name in enumerate([*names, broken]):
        data = b"no picture" if name == broken else picture(*DOUBTFUL, seed=number)
        (tmp_path / "camera" / name).write_bytes(data)
    (tmp_path / "camera" / f"{names[2]}.json").write_text(json.dumps({"part_id": "部" * 200}))
    with bench:
        wait_for(lambda: len(bench.results()) == 3 and bench.waiting() == [])
        told = {item["original_name"]: item["part_id"] for item in bench.results()}
        assert told == {names[0]: None, names[1]: None, names[2]: "部" * 200}
        captures = {Capture.from_json(item.payload).original_name for item in bench.outbox.images(10)}
        assert captures == set(names)
        recent = {frame.result.original_name for frame in bench.recent.all()}
    assert recent == set(names)
    assert len(list((tmp_path / "done").iterdir())) == 3
    assert all(path.suffix == ".png" for path in (tmp_path / "done").iterdir())
    assert len(list((tmp_path / "camera" / "rejected").iterdir())) == 2
    assert "File name too long" not in caplog.text


def test_long_names_that_differ_at_their_end_alone_are_both_kept(tmp_path):
    """A camera that numbers its files at the end, and dates them by the second, overwrites none in `done`."""
    (tmp_path / "camera").mkdir()
    stem = "傷のある部品" * 13
    for number in ("1", "2"):
        path = tmp_path / "camera" / f"{stem}{number}.png"
        path.write_bytes(picture(1))
        os.utime(path, (1_700_000_000, 1_700_000_000))
    camera = FolderCamera(path=tmp_path / "camera", poll_interval_s=0.01, settle_s=0.0)
    source = FolderSource(camera, tmp_path / "done")
    for _ in range(2):
        source.done(source.next(1.0), None)
    assert len(list((tmp_path / "done").iterdir())) == 2
