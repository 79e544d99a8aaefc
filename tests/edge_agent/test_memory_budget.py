"""One budget of bytes for images: what is over it is refused by name, and never decoded or read."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest

from edge_agent.agent import InspectionLoop
from edge_agent.camera_config import FolderCamera, HttpCamera
from edge_agent.health import Health
from edge_agent.memory_budget import MemoryBudget
from edge_agent.ota.active import Active
from edge_agent.outbox import Outbox
from edge_agent.recent_frames import RecentFrames
from edge_agent.sources.folder import FolderSource
from edge_agent.sources.http import HttpSource
from edge_agent.web.access import Access
from edge_agent.web.inspect import InspectEndpoint
from inspection.image import MAX_PIXELS
from tests.edge_agent.bench import loaded
from tests.edge_agent.outbox_items import LIMITS
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
