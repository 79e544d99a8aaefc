"""Cameras that deliver pixels: a real stream through OpenCV, and every order of events with a driver of our own."""

from __future__ import annotations

import threading
import time
from collections import deque
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.camera_config import GenICamCamera, OpenCvCamera
from edge_agent.errors import ConfigError, SourceError
from edge_agent.sources.genicam_camera import GenICamGrabber, to_bgr
from edge_agent.sources.grabbed import GrabbedSource
from edge_agent.sources.opencv_camera import OpenCvGrabber, without_account
from edge_agent.sources.trigger import TriggerQueue
from inspection import decode_image
from tests.edge_agent.network_camera import Stream, grey
from tests.edge_agent.servers import wait_for


class Driver:
    """A camera that shows what the test puts into it. An exception is a failure; after `end` each read fails."""

    def __init__(self) -> None:
        self.shown: deque = deque()
        self.more = threading.Condition()
        self.opened = 0
        self.reads = 0
        self.ended = False

    def show(self, *pictures) -> None:
        with self.more:
            self.shown.extend(pictures)
            self.more.notify_all()

    def open(self) -> None:
        self.opened += 1

    def read(self) -> np.ndarray:
        with self.more:
            if not self.more.wait_for(lambda: self.ended or bool(self.shown), 10) or self.ended:
                raise SourceError("nothing was shown")
            self.reads += 1
            item = self.shown.popleft()
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        pass

    def end(self) -> None:
        with self.more:
            self.ended = True
            self.more.notify_all()


@pytest.fixture
def make():
    made: list[tuple[GrabbedSource, Driver]] = []

    def build(mode="every", **more):
        driver = Driver()
        source = GrabbedSource(
            "top", driver, mode=mode, wake=threading.Event(), encoding="png", reconnect_limit_s=0.05, **more
        )
        made.append((source, driver))
        return source, driver

    yield build
    for source, driver in made:
        driver.end()
        source.close()


def value_of(frame) -> int:
    return int(decode_image(frame.data)[0, 0, 0])


def test_every_picture_is_a_frame_and_the_camera_waits(make):
    """Pictures are read no faster than they are asked for, except for two in advance."""
    source, driver = make()
    driver.show(*(grey(number) for number in range(10)))
    wait_for(lambda: driver.reads >= 2)
    time.sleep(0.1)
    assert driver.reads <= 3
    frames = [source.next(5.0) for _ in range(10)]
    assert [value_of(frame) for frame in frames] == list(range(10))
    assert len({frame.source_key for frame in frames}) == 10
    assert source.take_skipped() == 0


def test_latest_keeps_the_newest_and_counts_the_stale(make):
    """A slow inspection gets the newest picture."""
    source, driver = make("latest")
    driver.show(*(grey(number) for number in range(10)))
    wait_for(lambda: driver.reads == 10)
    assert value_of(source.next(5.0)) == 9
    assert (source.take_skipped(), source.take_skipped()) == (9, 0)


def test_a_frame_that_could_not_be_recorded_comes_again(make):
    """A source returns a frame that was given back again, before all other frames."""
    source, driver = make()
    driver.show(grey(1), grey(2))
    first = source.next(5.0)
    source.give_back(first)
    assert source.next(5.0) is first
    assert value_of(source.next(5.0)) == 2


def test_a_frame_given_back_gives_way_to_a_newer_one_in_latest(make):
    """The frame that was given back is counted as skipped."""
    source, driver = make("latest")
    driver.show(grey(1))
    first = source.next(5.0)
    source.give_back(first)
    assert source.next(5.0) is first
    source.give_back(first)
    driver.show(grey(2))
    wait_for(lambda: driver.reads == 2)
    assert value_of(source.next(5.0)) == 2
    assert source.take_skipped() == 1


def test_a_camera_that_is_unplugged_is_opened_again(make):
    """Until it works again, `next` raises an error that says why no frame comes."""
    source, driver = make()
    driver.show(grey(1))
    assert value_of(source.next(5.0)) == 1
    driver.show(SourceError("the cable is out"))

    def says_why() -> bool:
        try:
            source.next(0.0)
        except SourceError as e:
            return "top: the cable is out" in str(e)
        return False

    wait_for(says_why)
    driver.show(grey(2))
    wait_for(lambda: driver.reads >= 3)
    assert value_of(source.next(5.0)) == 2
    assert driver.opened >= 2


def test_a_driver_that_fails_in_a_way_of_its_own_does_not_end_the_agent(make):
    """The libraries of vendors may raise any exception."""
    source, driver = make()
    driver.show(ZeroDivisionError("inside the driver"), grey(3))
    wait_for(lambda: driver.reads >= 2)
    assert value_of(source.next(5.0)) == 3


def test_a_trigger_takes_one_fresh_frame_with_its_part(make):
    """A picture from before the trigger is no frame, and a message that comes twice takes one frame."""
    triggers = TriggerQueue(deadline_s=60.0)
    source, driver = make("every", triggers=triggers)
    driver.show(grey(1), grey(2))
    wait_for(lambda: driver.reads == 2)
    assert source.next(0.1) is None
    for _ in range(2):
        triggers.put(b'{"part_id": "T-7", "id": "42"}')
    # The driver waits in a read that began before the trigger: that picture is not the one that was asked for.
    driver.show(grey(3), grey(4), grey(5))
    frame = source.next(5.0)
    assert (value_of(frame), frame.part_id, frame.asked.trigger.id) == (4, "T-7", "42")
    wait_for(lambda: driver.reads == 5)
    assert source.next(0.1) is None


@pytest.mark.parametrize("payload", [b"", b"now", b"[1]", b'{"part_id": null}', b"\xff"])
def test_a_trigger_without_a_part_takes_a_frame_too(payload):
    """A PLC may send an empty message."""
    triggers = TriggerQueue()
    triggers.put(payload)
    assert triggers.take().part_id is None
    assert triggers.take() is None


def test_a_network_camera_is_seen_lost_and_seen_again():
    """A real stream goes through OpenCV's own decoder while its server is stopped and started."""
    stream = Stream()
    camera = OpenCvCamera(
        source="opencv", device=f"http://user:secret@127.0.0.1:{stream.port}/live.mjpg", timeout_s=3.0
    )
    source = GrabbedSource("hall", OpenCvGrabber(camera), mode="latest", wake=threading.Event(), reconnect_limit_s=0.2)
    problems: list[str] = []

    def value() -> int:
        try:
            frame = source.next(0.2)
        except SourceError as e:
            problems.append(str(e))
            return -1
        return value_of(frame) if frame else -1

    try:
        wait_for(lambda: abs(value() - 100) < 6, 30)
        stream.stop()
        wait_for(lambda: value() == -1 and problems, 30)
        assert "secret" not in problems[-1]
        assert "***@127.0.0.1" in problems[-1]
        stream = Stream(stream.port)
        stream.value = 200
        wait_for(lambda: abs(value() - 200) < 6, 30)
    finally:
        stream.stop()
        source.close()


def film(path, frames=4) -> Path:
    """A film of 64 x 48 pixels, each picture a little brighter than the one before."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(frames):
        writer.write(grey(50 * number))
    writer.release()
    return path


def test_a_film_that_has_ended_has_ended(tmp_path):
    """Each of its pictures is one frame, and it is not shown again: no part is counted twice."""
    camera = OpenCvCamera(source="opencv", device=str(film(tmp_path / "film.avi")), mode="every")
    source = GrabbedSource("film", OpenCvGrabber(camera), mode="every", wake=threading.Event(), reconnect_limit_s=0.01)
    try:
        frames = [source.next(5.0) for _ in range(4)]
        assert [round(value_of(frame), -1) for frame in frames] == [0, 50, 100, 150]
        with pytest.raises(SourceError, match=r"film: .*film\.avi has ended"):
            source.next(5.0)
        source._thread.join(5.0)
        assert not source._thread.is_alive()
        with pytest.raises(SourceError, match="has ended"):
            source.next(0.0)
    finally:
        source.close()


def test_a_picture_of_another_size_than_was_asked_for_is_said_once(tmp_path, caplog):
    """The camera decides; the frames are inspected all the same."""
    camera = OpenCvCamera(source="opencv", device=str(film(tmp_path / "film.avi")), width=1280, height=960)
    grabber = OpenCvGrabber(camera)
    grabber.open()
    for _ in range(2):
        assert grabber.read().shape == (48, 64, 3)
    grabber.close()
    said = [record.getMessage() for record in caplog.records if "1280 x 960" in record.getMessage()]
    assert len(said) == 1
    assert "but it gives 64 x 48" in said[0]
    assert grabber.remark == said[0]


def test_a_video_device_that_is_not_there_is_named():
    """A missing video device raises an error that names the configured device."""
    with pytest.raises(SourceError, match="video device 93"):
        OpenCvGrabber(OpenCvCamera(source="opencv", device=93)).open()


@pytest.mark.parametrize(
    ("url", "shown"),
    [("rtsp://a:b@h:554/s", "rtsp://***@h:554/s"), ("rtsp://h/s@2", "rtsp://h/s@2"), ("/dev/video0", "/dev/video0")],
)
def test_an_account_is_never_shown(url, shown):
    """Many people read logs, so messages hold no user and no password."""
    assert without_account(url) == shown


@pytest.mark.parametrize(
    ("pixel_format", "data", "wanted"),
    [
        ("Mono8", [7] * 4, (7, 7, 7)),
        ("Mono12", np.full(4, 0x0A0F, dtype=np.uint16), (0xA0, 0xA0, 0xA0)),
        ("RGB8", [1, 2, 3] * 4, (3, 2, 1)),
        ("BGR8", [1, 2, 3] * 4, (1, 2, 3)),
    ],
)
def test_pixels_of_a_genicam_camera_become_bgr(pixel_format, data, wanted):
    """The values are worked out by hand."""
    image = to_bgr(np.asarray(data, dtype=np.uint8 if isinstance(data, list) else data.dtype), 2, 2, pixel_format)
    assert image.shape == (2, 2, 3)
    assert tuple(int(value) for value in image[0, 0]) == wanted


def test_a_bayer_mosaic_of_red_alone_is_red():
    """The name of a Bayer format gives the first two pixels of the first row."""
    mosaic = np.zeros((8, 8), dtype=np.uint8)
    mosaic[0::2, 0::2] = 200
    assert tuple(to_bgr(mosaic.ravel(), 8, 8, "BayerRG8")[4, 4] > 100) == (False, False, True)
    assert tuple(to_bgr(mosaic.ravel(), 8, 8, "BayerBG8")[4, 4] > 100) == (True, False, False)


@pytest.mark.parametrize(
    ("data", "pixel_format", "message"),
    [
        (np.zeros(3, np.uint8), "Mono8", "got 3 values; set `Width`"),
        (np.zeros(4, np.uint8), "YUV", "PixelFormat"),
        (np.zeros(6, np.uint8), "Mono8", "got 6 values; set `Width`"),
        (np.zeros(6, np.uint8), "Mono12Packed", "set `PixelFormat: Mono8`"),
        (np.zeros(4, np.uint8), "BayerRG12p", "set `PixelFormat: BayerRG8`"),
    ],
    ids=["too few", "unknown", "padding that may be anywhere", "packed", "packed mosaic"],
)
def test_a_buffer_that_is_not_understood_is_refused_with_the_way_out(data, pixel_format, message):
    """Pixels are not guessed: a wrong guess is a picture that is sheared, or of noise."""
    with pytest.raises(SourceError, match=message):
        to_bgr(data, 2, 2, pixel_format)


def test_what_a_camera_sends_beside_the_pixels_is_left_out():
    """After the last pixel, or after each line where the camera says so."""
    pixels = [[1, 2], [3, 4], [5, 6]]
    after = np.array([1, 2, 3, 4, 5, 6, 99, 99], dtype=np.uint8)
    assert to_bgr(after, 2, 3, "Mono8")[..., 0].tolist() == pixels
    lines = np.array([1, 2, 99, 3, 4, 99, 5, 6, 99, 99], dtype=np.uint8)
    assert to_bgr(lines, 2, 3, "Mono8", line_padding=1)[..., 0].tolist() == pixels


@pytest.mark.parametrize("pixel_format", ["Mono12", "Mono12Packed", "Mono12p"])
def test_a_packed_format_that_the_library_has_unpacked_is_taken(pixel_format):
    """It comes as 16 bits a value then."""
    assert to_bgr(np.full(4, 0x0A0F, np.uint16), 2, 2, pixel_format)[0, 0].tolist() == [0xA0] * 3


def test_a_deep_bayer_mosaic_keeps_its_colours():
    """The highest 8 of 12 bits are kept, then the mosaic is resolved."""
    mosaic = np.zeros((8, 8), dtype=np.uint16)
    mosaic[0::2, 0::2] = 200 << 4
    assert tuple(to_bgr(mosaic.ravel(), 8, 8, "BayerRG12")[4, 4] > 100) == (False, False, True)


class Harvester:
    """A stand-in for `harvesters`, with the calls that the agent makes, which can be counted."""

    def __init__(self) -> None:
        self.set: dict[str, object] = {}
        self.calls: list[str] = []

    def __call__(self) -> Harvester:
        return self

    def add_file(self, path, check_existence, check_validity) -> None:
        self.calls.append(f"add {path.rsplit('/', 1)[-1]}")

    def update(self) -> None:
        self.calls.append("update")

    def create(self, key):
        if key == {"serial_number": "gone"}:
            raise ValueError("no device found")
        self.calls.append(f"create {key}")
        return self

    @property
    def remote_device(self):
        return self

    @property
    def node_map(self):
        outer = self

        class Nodes:
            def __getattr__(self, name):
                class Node:
                    def __setattr__(self, _, value) -> None:
                        outer.set[name] = value

                return Node()

        return Nodes()

    def start(self) -> None:
        self.calls.append("start")

    def try_fetch(self, timeout):
        self.calls.append("fetch")
        return self if self.calls.count("fetch") == 1 else None

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.calls.append("queue")

    @property
    def payload(self):
        return self

    @property
    def components(self):
        return [self]

    width, height, data_format = 2, 2, "Mono8"
    data = np.array([9, 9, 9, 9], dtype=np.uint8)

    def stop(self) -> None:
        self.calls.append("stop")

    def destroy(self) -> None:
        self.calls.append("destroy")

    def reset(self) -> None:
        self.calls.append("reset")


@pytest.fixture
def producer(tmp_path):
    (tmp_path / "vendor.cti").touch()
    return tmp_path / "vendor.cti"


def test_a_genicam_camera_is_opened_set_read_and_let_go(producer):
    """Features are set before the first picture, and each buffer is returned to the producer."""
    harvester = Harvester()
    camera = GenICamCamera(source="genicam", producer=producer, serial_number="12", features={"ExposureTime": 5000.0})
    grabber = GenICamGrabber(camera, harvester=harvester)
    grabber.open()
    assert grabber.read().tolist() == [[[9] * 3] * 2] * 2
    with pytest.raises(SourceError, match="no picture within 10 s"):
        grabber.read()
    grabber.close()
    assert harvester.set == {"ExposureTime": 5000.0}
    assert harvester.calls == [
        "add vendor.cti", "update", "create {'serial_number': '12'}", "start", "fetch", "queue", "fetch",
        "stop", "destroy", "reset",
    ]  # fmt: skip


def test_a_buffer_without_a_picture_is_said(producer):
    """Some cameras send depth or metadata alone."""

    class Empty(Harvester):
        components = (None,)

    grabber = GenICamGrabber(GenICamCamera(source="genicam", producer=producer), harvester=Empty())
    grabber.open()
    with pytest.raises(SourceError, match="a buffer without a picture"):
        grabber.read()


def test_a_genicam_camera_that_is_not_there_is_named(producer, tmp_path):
    """A missing producer is an error of the configuration."""
    camera = GenICamCamera(source="genicam", producer=producer, serial_number="gone")
    with pytest.raises(SourceError, match="GenICam camera gone: ValueError: no device found"):
        GenICamGrabber(camera, harvester=Harvester()).open()
    with pytest.raises(ConfigError, match=r"none\.cti"):
        GenICamGrabber(camera.model_copy(update={"producer": tmp_path / "none.cti"}), harvester=Harvester())


def simulated_producer() -> Path:
    """The GenTL producer that the genicam package brings: cameras that show a bouncing ball, each in its colour."""
    genicam = pytest.importorskip("genicam", reason="harvesters is not installed: it comes with the extra edge-genicam")
    return Path(genicam.__file__).parent / "viky.cti"


@pytest.mark.parametrize(
    ("serial_number", "colour"), [("0", (False, False, True)), ("1", (False, True, False)), ("2", (True, False, False))]
)
def test_a_real_producer_shows_the_camera_that_was_asked_for_in_its_colours(serial_number, colour):
    """The camera is found by its serial number, a feature is set, it is opened twice, and pixels come as BGR."""
    camera = GenICamCamera(
        source="genicam", producer=simulated_producer(), serial_number=serial_number,
        features={"BouncingBallSize": 40, "PixelFormat": "RGBa8"},
    )  # fmt: skip
    grabber = GenICamGrabber(camera)
    for _ in range(2):
        grabber.open()
        first, second = grabber.read(), grabber.read()
        grabber.close()
        assert first.shape == second.shape == (400, 400, 3)
        ball = first.reshape(-1, 3)[first.reshape(-1, 3).min(axis=1) < 50]
        assert len(ball) > 1000
        assert tuple(np.median(ball, axis=0) > 128) == colour
        assert (first != second).any()


def test_a_real_producer_says_which_camera_or_feature_it_does_not_have():
    """The error holds the message of the vendor and what was asked for."""
    producer = simulated_producer()
    wrong = [
        ({"serial_number": "77"}, "cannot open GenICam camera 77"),
        ({"features": {"NoSuchFeature": 1}}, "it has no feature NoSuchFeature"),
        ({"features": {"BouncingBallSize": 100}}, "BouncingBallSize cannot be 100: .*Max = 40"),
    ]
    for changes, message in wrong:
        grabber = GenICamGrabber(GenICamCamera(source="genicam", producer=producer, **changes))
        with pytest.raises(SourceError, match=message):
            grabber.open()
        grabber.close()
