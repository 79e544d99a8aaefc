"""Ten thousand frames on one agent, with all that goes on beside them: memory stays flat and no descriptor leaks.

Not part of `make test`; `make bench-soak` runs it. KIZU_SOAK_FRAMES asks for another number of frames.
"""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from inspection import Sampling
from tests.edge_agent.listener import Listener
from tests.edge_agent.models import build_release
from tests.edge_agent.running_agent import Browser, Device, request, take, token_of
from tests.edge_agent.servers import wait_for

pytestmark = pytest.mark.soak

FRAMES = int(os.environ.get("KIZU_SOAK_FRAMES", "10000"))
WARM_UP = FRAMES // 5
"""Caches fill, thread pools start and the heap finds its size in the first fifth."""
LOOK_EVERY = FRAMES // 100
SWAP_EVERY = FRAMES // 8
MAX_GROWTH = 0.05


@dataclass(frozen=True)
class Look:
    """The agent's process at one moment: memory and descriptors."""

    frames: int
    resident_mb: float
    descriptors: int
    threads: int


@pytest.fixture
def device(tmp_path, seaweed, publisher, broker):
    """A device with a folder and an endpoint for images."""
    cameras = [
        {"name": "top", "source": "folder", "path": "camera", "poll_interval_s": 0.05, "settle_s": 0.0},
        {"name": "mes", "source": "http"},
    ]
    made = Device(tmp_path / "device", seaweed, publisher.root_bytes, broker, cameras=cameras)
    yield made
    made.stop(signal.SIGKILL)


def look(pid: int, frames: int) -> Look:
    status = Path(f"/proc/{pid}/status").read_text()
    resident, threads = (int(status.split(f"{name}:")[1].split()[0]) for name in ("VmRSS", "Threads"))
    return Look(frames, resident / 1024, len(list(Path(f"/proc/{pid}/fd").iterdir())), threads)


def photographs() -> list[bytes]:
    """Good, bad and doubtful JPEGs of 640 x 480 pixels with noise."""
    random = np.random.default_rng(3)
    found = []
    for number in range(40):
        image = random.integers(0, 30, (480, 640, 3), dtype=np.uint8)
        if number % 4:
            image[:240, :320] = np.minimum(255, image[:240, :320].astype(int) + (0, 225, 110, 120)[number % 4])
        found.append(cv2.imencode(".jpg", image)[1].tobytes())
    return found


class Neighbours:
    """What else happens while the line runs: a MES posts images, and somebody reads the page and the metrics."""

    def __init__(self, device, jpegs: list[bytes]) -> None:
        self.device, self.jpegs = device, jpegs
        self.stop = threading.Event()
        self.answered = self.objected = 0
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            browser = Browser(self.device)
            browser.sign_in(token_of(self.device))
            number = 0
            while not self.stop.wait(0.1):
                number += 1
                jpeg = self.jpegs[number % len(self.jpegs)]
                status, _, _ = request(self.device, "POST", "/inspect?part_id=P-1", jpeg)
                assert status in (200, 429, 503), status
                self.answered += status == 200
                for path in ("/", "/metrics", "/status.json", "/readyz"):
                    request(self.device, "GET", path, Cookie=browser.cookie)
        except Exception as e:
            self.error = e

    def __enter__(self) -> Neighbours:
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop.set()
        self.thread.join(30)


def test_ten_thousand_frames_leave_memory_flat_and_no_descriptor_open(
    device,
    publisher,
    broker,
    capsys,
    record_property,
):
    """Beside the frames, results go to a broker, images to a store, and releases take turns."""
    jpegs = photographs()
    device.start()
    sampling = Sampling(uncertain_low=0.3, uncertain_high=0.7, control_rate=0.02, disagreement_rate=0.1)
    releases = [build_release(version, gain=1 - version / 100, sampling=sampling) for version in range(4)]
    take(device, publisher, releases[0])
    line, looks, sequence = Listener(broker.port), [], 1
    pid, began = device.process.pid, time.monotonic()
    with Neighbours(device, jpegs) as others:
        for number in range(FRAMES):
            device.feed(f"{number:06}.jpg", jpegs[number % len(jpegs)] + number.to_bytes(4, "big"))
            if number % SWAP_EVERY == 0 and number:
                publisher.add_release(releases[sequence % 4])
                publisher.desire(releases[sequence % 4].digest, sequence=sequence + 1)
                sequence += 1
            if number % LOOK_EVERY == 0:
                wait_for(lambda: sum(1 for path in device.camera.iterdir() if path.is_file()) < LOOK_EVERY // 2, 120)
                looks.append(look(pid, number))
                with capsys.disabled():
                    print(f"\r{looks[-1]}", end="", flush=True)
        wait_for(lambda: not any(path.is_file() for path in device.camera.iterdir()), 120)
    assert others.error is None, others.error
    wait_for(lambda: sum(device.status()["outbox"]["waiting"].values()) == 0, 300)
    took = time.monotonic() - began
    wait_for(lambda: device.status()["release"]["phase"] == "idle", 60)
    fed = [item for item in line.results if item["camera"] == "top"]
    assert sorted(item["original_name"] for item in fed) == [f"{number:06}.jpg" for number in range(FRAMES)]
    assert len(line.results) == FRAMES + others.answered == device.status()["frames"]["inspected"]

    warm = [item for item in looks if item.frames >= WARM_UP]
    early = statistics.median(item.resident_mb for item in warm[: len(warm) // 4])
    late = statistics.median(item.resident_mb for item in warm[-len(warm) // 4 :])
    open_early, open_late = (statistics.median(item.descriptors for item in part) for part in (
        warm[: len(warm) // 4], warm[-len(warm) // 4 :]))  # fmt: skip
    said = (
        f"{FRAMES:,} frames and {others.answered:,} posted in {took:.0f} s over {sequence - 1} swaps: "
        f"{early:.0f} MB resident early, {late:.0f} MB late ({late / early - 1:+.1%}), at most "
        f"{max(item.resident_mb for item in looks):.0f}; {open_early:.0f} descriptors early, {open_late:.0f} late"
    )
    record_property("soak", said)
    with capsys.disabled():
        print(f"\n{said}")
    assert late <= early * (1 + MAX_GROWTH), looks
    assert open_late <= open_early + 1, looks
    assert warm[-1].threads <= warm[0].threads + 1, looks
    line.close()
    assert device.stop() == 0
