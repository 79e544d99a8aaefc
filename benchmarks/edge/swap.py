"""Frames lost during swaps of releases: the agent's own loop and activation inspect frames at a steady pace."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

from benchmarks.edge.release import BuiltRelease
from edge_agent.agent import InspectionLoop
from edge_agent.camera_config import FolderCamera
from edge_agent.config import OutboxLimits
from edge_agent.health import Health
from edge_agent.inference import RuntimeChoice
from edge_agent.ota.activation import Phase
from edge_agent.ota.active import Active, Identity
from edge_agent.ota.driver import Updates
from edge_agent.ota.store import ReleaseStore
from edge_agent.outbox import Outbox
from edge_agent.recent_frames import RecentFrames
from edge_agent.sources.folder import FolderSource
from inspection import DesiredState, Release, Wave

FRAME_INTERVAL_S: Final = 0.1
_SWAPS: Final = 4
_WAIT_S: Final = 120.0
_LIMITS: Final = OutboxLimits(min_free_bytes=0)


@dataclass(frozen=True, slots=True)
class SwapOutcome:
    """The result for all frames.

    longest_pause_s: the longest time between two verdicts, with a trial and a load of a release beside the loop.
    """

    frames: int
    swaps: int
    lost: int
    doubled: int
    longest_pause_s: float


class _Shelf:
    """A `ReleaseSource` of releases in memory, because the benchmark measures the swap and not the signatures."""

    def __init__(self, releases: Sequence[BuiltRelease]) -> None:
        self._releases = {built.digest: built for built in releases}
        self._desired: DesiredState | None = None

    def publish(self, built: BuiltRelease, sequence: int) -> None:
        self._desired = DesiredState(
            sequence=sequence,
            use_case=built.release.use_case,
            waves=(Wave(release_digest=built.digest, percent=100.0),),
            probation_s=built.release.probation_s,
        )

    def refresh(self) -> None:
        return

    def desired_state(self, use_case: str, group: str) -> DesiredState | None:
        return self._desired

    def fetch_release(self, digest: str, folder: Path) -> Release:
        built = self._releases[digest]
        built.write(folder)
        return built.release


def measure_swaps(
    releases: Sequence[BuiltRelease], jpegs: Sequence[bytes], folder: Path, threads: int, frames: int = 200
) -> SwapOutcome:
    """Feed frames at a steady pace while releases take turns: each is fetched, tried, loaded, swapped in and proved.

    Raises:
        TimeoutError: a release was not activated, or the frames were not inspected, in time.
    """
    shutil.rmtree(folder, ignore_errors=True)
    camera = folder / "camera"
    camera.mkdir(parents=True)
    outbox = Outbox(folder / "outbox", _LIMITS)
    active, health, shelf = Active(), Health(), _Shelf(releases)
    updates = Updates(
        Identity("bench", "line", releases[0].release.use_case),
        ReleaseStore(folder / "state"),
        lambda: shelf,
        RuntimeChoice(threads),
        health,
        active=active,
    )
    source = FolderSource(FolderCamera(path=camera, poll_interval_s=0.02, settle_s=0.0), folder / "done")
    loop = InspectionLoop(
        [source], active, outbox, health, RecentFrames(), site="bench", device="bench", publish=True,
        on_probation=lambda: updates.state.phase is Phase.PROBATION,
    )  # fmt: skip
    stop = threading.Event()
    updates.boot()
    threads_running = [
        threading.Thread(target=loop.run, args=(stop,)),
        threading.Thread(target=updates.run, args=(stop, 0.2)),
    ]
    for thread in threads_running:
        thread.start()
    try:
        _take(shelf, updates, releases[0], 1)
        feeder = threading.Thread(target=_feed, args=(camera, jpegs, frames))
        feeder.start()
        for number in range(1, _SWAPS + 1):
            _take(shelf, updates, releases[number % len(releases)], number + 1)
        feeder.join()
        _until(lambda: not any(path.is_file() for path in camera.iterdir()), "the frames to be inspected")
        results = [json.loads(item.payload) for item in outbox.results(10 * frames)]
    finally:
        stop.set()
        for thread in threads_running:
            thread.join(30)
        outbox.close()
    judged = Counter(result["original_name"] for result in results)
    times = sorted(datetime.fromisoformat(result["decided_at"]) for result in results)
    pauses = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    return SwapOutcome(
        frames=frames,
        swaps=_SWAPS,
        lost=sum(judged[_name(number)] == 0 for number in range(frames)),
        doubled=sum(count - 1 for count in judged.values()),
        longest_pause_s=max(pauses, default=0.0),
    )


def _feed(camera: Path, jpegs: Sequence[bytes], frames: int) -> None:
    for number in range(frames):
        hidden = camera / f".{_name(number)}"
        hidden.write_bytes(jpegs[number % len(jpegs)])
        hidden.rename(camera / _name(number))
        time.sleep(FRAME_INTERVAL_S)


def _name(number: int) -> str:
    return f"{number:05d}.jpg"


def _take(shelf: _Shelf, updates: Updates, built: BuiltRelease, sequence: int) -> None:
    shelf.publish(built, sequence)
    _until(
        lambda: updates.state.phase is Phase.IDLE and updates.state.current == built.digest,
        f"release {built.digest[:12]} to prove itself ({updates.reason})",
    )


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {_WAIT_S:.0f} s for {what}")
        time.sleep(0.02)
