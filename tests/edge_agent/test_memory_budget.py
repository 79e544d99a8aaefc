"""One budget of bytes for images: what is over it is refused by name, and never decoded or read."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime

import cv2
import numpy as np
import pytest

from edge_agent.agent import InspectionLoop
from edge_agent.camera_config import FolderCamera, HttpCamera
from edge_agent.health import Health
from edge_agent.memory_budget import MemoryBudget
from edge_agent.ota.active import Active
from edge_agent.outbox import Outbox
from edge_agent.recent_frames import RecentFrame, RecentFrames
from edge_agent.result import Result
from edge_agent.sources.folder import FolderSource
from edge_agent.sources.grabbed import GrabbedSource
from edge_agent.sources.http import HttpSource
from edge_agent.sources.trigger import TriggerQueue
from edge_agent.web.access import Access
from edge_agent.web.inspect import InspectEndpoint
from edge_agent.web.picture import NoRoom, draw
from inspection import Box, Detection, Verdict, decode_image
from inspection.anomaly import AnomalyMap
from inspection.image import MAX_PIXELS, image_size
from inspection.preprocess import Letterbox
from tests.edge_agent.bench import loaded
from tests.edge_agent.outbox_items import LIMITS
from tests.edge_agent.servers import wait_for
from tests.edge_agent.test_grabbed_source import Driver
from tests.edge_agent.test_web_under_load import post


def test_two_thirds_are_for_decoding_and_one_third_for_what_waits():
    """A large budget gives no more pixels than any part of the product takes."""
    budget = MemoryBudget(300_000_000)
    assert (budget.max_pixels, budget.waiting_bytes) == (33_333_333, 100_000_000)
    assert MemoryBudget(10**12).max_pixels == MAX_PIXELS


def test_room_is_held_until_it_is_given_back():
    """Also where the work in between fails."""
    budget = MemoryBudget(300)
    with budget.holding(60) as first, budget.holding(60) as second, budget.holding(40) as third:
        assert (first, second, third) == (True, False, True)
        assert budget.free_bytes() == 0

    def fail() -> None:
        with budget.holding(100):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert budget.free_bytes() == 100


def test_posted_images_share_the_room_and_one_more_is_refused_unread(tmp_path):
    """The announced size counts before a byte is read; without one, the largest that may come counts."""
    budget = MemoryBudget(3000)
    camera = HttpSource(HttpCamera(source="http", max_bytes=5000, timeout_s=0.05), threading.Event(), budget)
    endpoint = InspectEndpoint(camera, Access("t" * 32))
    assert camera.max_bytes == 1000
    with budget.holding(600):
        answer, read = post(endpoint, [b"x" * 500], {"Content-Length": "500"})
        assert (answer.status_code, read) == (429, 0)
        assert b"memory.image_bytes" in answer.body
        assert post(endpoint, [b"x" * 400])[0].status_code == 429
        assert post(endpoint, [b"x" * 400], {"Content-Length": "400"})[0].status_code == 422  # read, and no image
    assert budget.free_bytes() == 1000


def test_an_image_over_the_budget_is_set_aside_by_name_before_it_is_decoded(tmp_path):
    """An honest picture of 99 million pixels is a small file, and takes more than the limit of the container."""
    camera = tmp_path / "camera"
    camera.mkdir()
    for name, side in (("large.png", 200), ("small.png", 60)):
        data = np.random.default_rng(1).integers(0, 255, (side, side, 3), dtype=np.uint8)
        (camera / name).write_bytes(cv2.imencode(".png", data)[1].tobytes())
    outbox = Outbox(tmp_path / "outbox", LIMITS)
    source = FolderSource(FolderCamera(path=camera, poll_interval_s=0.01, settle_s=0.0), tmp_path / "done")
    loop = InspectionLoop(
        [source], Active(), outbox, Health(), RecentFrames(), site="s", device="d", publish=True, max_pixels=100 * 100
    )
    release = loaded(tmp_path)
    while any(path.is_file() for path in camera.iterdir()):
        loop.step(release, 0.5)
    reason = (camera / "rejected" / "large.png.reason.txt").read_text()
    assert reason == "too-large: expected at most 10000 pixels, got 200 x 200\n"
    assert outbox.counters()["frames"] == 1
    outbox.close()


def test_a_file_over_the_budget_is_not_read(tmp_path):
    """It is set aside with the size that was expected."""
    (tmp_path / "camera").mkdir()
    (tmp_path / "camera" / "a.png").write_bytes(bytes(2000))
    camera = FolderCamera(path=tmp_path / "camera", poll_interval_s=0.01, settle_s=0.0)
    source = FolderSource(camera, tmp_path / "done", max_file_bytes=MemoryBudget(3000).waiting_bytes)
    frame = source.next(1.0)
    assert (frame.data, frame.problem) == (b"", ("too-large", "expected at most 1000 bytes, but got 2000"))


# -- the pictures of cameras ------------------------------------------------------------------------------------------

SIDE = 10
PICTURE_BYTES = SIDE * SIDE * 3


def shown(value: int, side: int = SIDE) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)


@pytest.fixture
def camera():
    made = []

    def build(budget, mode="every", triggers=None):
        driver = Driver()
        source = GrabbedSource(
            "top", driver, mode=mode, wake=threading.Event(), encoding="png", reconnect_limit_s=0.05, budget=budget,
            triggers=triggers,
        )  # fmt: skip
        made.append((source, driver))
        return source, driver

    yield build
    for source, driver in made:
        driver.end()
        source.close()


class Signal(Driver):
    """A camera that takes a picture at a signal of its own, so that each picture belongs to the oldest trigger."""

    waits_for_signal = True


def test_a_trigger_whose_picture_finds_no_room_is_missed_with_the_reason_and_the_next_one_is_inspected():
    """Each trigger still ends in one way: two have a frame, and one is missed with a reason of its own."""
    budget = MemoryBudget(3 * 2 * PICTURE_BYTES)
    queue, driver = TriggerQueue(deadline_s=60.0, max_waiting=8), Signal()
    source = GrabbedSource(
        "top", driver, mode="every", wake=threading.Event(), triggers=queue, encoding="png", budget=budget
    )
    try:
        for part in "ABC":
            queue.put(b'{"part_id": "%s"}' % part.encode())
        driver.show(*(shown(value) for value in (1, 2, 3)))
        missed = []
        wait_for(lambda: missed.extend(queue.take_missed()) or missed)
        assert [(item.trigger.part_id, str(item.reason)) for item in missed] == [("C", "memory-full")]
        assert budget.free_bytes() == 0
        for part in "AB":
            frame = source.next(5.0)
            assert frame.part_id == part
            source.done(frame, None)
        assert budget.free_bytes() == 2 * PICTURE_BYTES
        queue.put(b'{"part_id": "D"}')
        driver.show(shown(4))
        assert source.next(5.0).part_id == "D"
        assert queue.take_missed() == ()
    finally:
        driver.end()
        source.close()


def test_pictures_of_triggers_that_are_over_hold_no_room():
    """A picture that nobody took by its deadline is dropped when the next one comes, and its room is free."""
    now = [0.0]
    budget = MemoryBudget(3 * PICTURE_BYTES)
    queue, driver = TriggerQueue(deadline_s=1.0, max_waiting=8, clock=lambda: now[0]), Signal()
    source = GrabbedSource(
        "top", driver, mode="every", wake=threading.Event(), triggers=queue, encoding="png", budget=budget
    )
    try:
        queue.put(b'{"part_id": "A"}')
        driver.show(shown(1))
        wait_for(lambda: budget.free_bytes() == 0)
        now[0] = 2.0
        queue.put(b'{"part_id": "B"}')
        driver.show(shown(2))
        frames = []
        wait_for(lambda: frames.append(source.next(0.0)) or frames[-1])
        assert frames[-1].part_id == "B"
        assert [str(item.reason) for item in queue.take_missed()] == ["deadline"]
    finally:
        driver.end()
        source.close()


def test_a_camera_without_triggers_waits_for_room_or_skips(camera):
    """In the mode `every` no picture is lost; in the mode `latest` what found no room is counted."""
    budget = MemoryBudget(3 * PICTURE_BYTES)
    source, driver = camera(budget)
    with budget.holding(PICTURE_BYTES):
        driver.show(shown(7))
        wait_for(lambda: driver.reads == 1)
        assert source.next(0.0) is None
    frame = source.next(5.0)
    assert decode_image(frame.data)[0, 0, 0] == 7
    source.done(frame, None)
    latest, other = camera(budget, "latest")
    with budget.holding(PICTURE_BYTES):
        other.show(shown(8))
        skipped = []
        wait_for(lambda: skipped.append(latest.take_skipped()) or sum(skipped) == 1)
        assert latest.next(0.0) is None
    other.show(shown(9))
    assert decode_image(latest.next(5.0).data)[0, 0, 0] == 9


def test_a_frame_that_is_given_back_keeps_its_room(camera):
    """It still waits. Once it is put away, all the room is free."""
    budget = MemoryBudget(3 * 2 * PICTURE_BYTES)
    source, driver = camera(budget)
    driver.show(shown(1))
    frame = source.next(5.0)
    held = budget.waiting_bytes - budget.free_bytes()
    source.give_back(frame)
    assert source.next(0.0) is frame
    assert budget.waiting_bytes - budget.free_bytes() == held == len(frame.data)
    source.done(frame, None)
    assert budget.free_bytes() == budget.waiting_bytes


def test_a_picture_of_a_camera_that_is_too_large_is_named_and_holds_nothing(camera):
    """It is set aside as the same picture from a folder would be."""
    budget = MemoryBudget(3 * PICTURE_BYTES)
    source, driver = camera(budget)
    driver.show(shown(1, side=2 * SIDE))
    frame = source.next(5.0)
    assert frame.problem == ("too-large", "expected at most 100 pixels, got 20 x 20")
    assert budget.free_bytes() == budget.waiting_bytes


# -- the page ---------------------------------------------------------------------------------------------------------


def recent(data: bytes, box: Box | None = None) -> RecentFrame:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    found = (Detection("scratch", 0.9, box),) if box is not None else ()
    return RecentFrame(
        Result(
            capture_id="0" * 32, sha256="1" * 64, captured_at=at, decided_at=at, device="d", camera="top",
            release_digest="2" * 64, model_sha256="3" * 64, detections=found, verdict=Verdict.FAIL, infer_ms=1.0,
        ),
        data,
    )  # fmt: skip


def test_the_page_draws_in_free_memory_only_and_says_busy_otherwise():
    """The room is free again afterwards, also where the frame cannot be decoded."""
    budget = MemoryBudget(3 * 6 * PICTURE_BYTES)
    frame = recent(cv2.imencode(".png", shown(5))[1].tobytes())
    with budget.holding(budget.waiting_bytes - 2 * PICTURE_BYTES + 1), pytest.raises(NoRoom, match="busy"):
        draw(frame, budget)
    with budget.holding(budget.waiting_bytes - 2 * PICTURE_BYTES):
        assert image_size(draw(frame, budget)) == (SIDE, SIDE)
    assert (budget.free_bytes(), budget.is_drawing()) == (budget.waiting_bytes, False)
    large = recent(cv2.imencode(".png", shown(5, side=4 * SIDE))[1].tobytes())
    with pytest.raises(NoRoom, match=r"40 x 40 is too large to be shown; raise memory.image_bytes"):
        draw(large, budget)


def test_a_drawing_costs_a_camera_no_picture():
    """The camera waits until the drawing has ended, and then has its room."""
    budget = MemoryBudget(300)
    ended = threading.Event()

    def end() -> None:
        ended.wait(5.0)
        drawing.__exit__(None, None, None)

    drawing = budget.drawing(60)
    assert drawing.__enter__()
    with budget.drawing(10) as second:
        assert not second
    thread = threading.Thread(target=end)
    thread.start()
    threading.Timer(0.05, ended.set).start()
    assert budget.take(80)
    thread.join()
    assert budget.free_bytes() == 20


def test_a_posted_image_waits_for_a_drawing_and_is_not_refused():
    """The page gives its room back in a moment, so the sender is not told to come again."""
    budget = MemoryBudget(3000)
    source = HttpSource(HttpCamera(source="http", max_bytes=5000, timeout_s=0.05), threading.Event(), budget)
    drawing = budget.drawing(600)
    assert drawing.__enter__()
    threading.Timer(0.1, lambda: drawing.__exit__(None, None, None)).start()
    answer, read = post(InspectEndpoint(source, Access("t" * 32)), [b"x" * 500], {"Content-Length": "500"})
    assert (answer.status_code, read) == (422, 1)  # it was read, and is no image


def test_a_large_jpeg_is_drawn_small_in_a_sixteenth_of_the_memory_with_its_boxes_in_place():
    """A frame of 12 million pixels needs 4.5 MB instead of 72 MB, upright too."""
    pixels = np.full((3000, 4000, 3), 255, np.uint8)
    data = cv2.imencode(".jpg", pixels)[1].tobytes()
    budget = MemoryBudget(3 * 40_000_000)
    with budget.holding(budget.waiting_bytes - 4_500_000):
        drawn = decode_image(draw(recent(data, Box(2000, 1500, 1000, 750)), budget))
    assert drawn.shape == (720, 960, 3)
    red = np.argwhere((drawn[:, :, 2] > 150) & (drawn[:, :, 0] < 120))
    top, left = red[red[:, 0] > 350].min(axis=0)
    assert abs(int(left) - 480) <= 3
    assert abs(int(red[:, 0].max()) - 540) <= 3
    assert abs(int(top) - 360) <= 10


def test_the_page_lays_the_heat_map_over_what_looks_unlike_a_good_part():
    """Red lies where the map is hot; where it is cold the picture stays as it is. A release of boxes has no map."""
    grey = np.full((64, 64, 3), 120, np.uint8)
    frame = recent(cv2.imencode(".png", grey)[1].tobytes())
    values = np.zeros((8, 8), np.uint8)
    values[6, 1] = 255
    budget = MemoryBudget(3_000_000)
    anomaly_map = AnomalyMap(values, Letterbox(1.0, 1.0, 0, 0, 64, 64), 64, 64)
    plain, heated = (decode_image(draw(one, budget)) for one in (frame, replace(frame, anomaly_map=anomaly_map)))
    assert np.abs(plain.astype(int) - 120).max() <= 2
    hot = heated[52, 12].astype(int)
    assert hot[2] > hot[0] + 60
    assert np.abs(heated[10:30, 30:].astype(int) - 120).max() <= 6
