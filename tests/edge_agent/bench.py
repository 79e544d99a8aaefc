"""An inspection loop in this process, with all its parts."""

from __future__ import annotations

import json
import threading

from edge_agent.agent import InspectionLoop
from edge_agent.camera_config import FolderCamera
from edge_agent.health import Health
from edge_agent.inference import LoadedRelease, RuntimeChoice, load_release
from edge_agent.ota.active import Active
from edge_agent.outbox import Outbox
from edge_agent.recent_frames import RecentFrames
from edge_agent.sources.folder import FolderSource
from tests.edge_agent.models import build_release
from tests.edge_agent.outbox_items import LIMITS


def loaded(folder, **changes) -> LoadedRelease:
    built = build_release(**changes)
    built.write(folder / built.digest)
    return load_release(folder / built.digest, built.digest, built.release, RuntimeChoice(threads=1))


class Bench:
    """An inspection loop with all its parts."""

    def __init__(self, folder, **loop) -> None:
        self.camera = folder / "camera"
        self.camera.mkdir(exist_ok=True)
        self.outbox = Outbox(folder / "outbox", LIMITS)
        self.active, self.health, self.recent = Active(), Health(), RecentFrames()
        camera = FolderCamera(path=self.camera, poll_interval_s=0.02, settle_s=0.0)
        self.source = FolderSource(camera, folder / "done")
        self.loop = InspectionLoop(
            [self.source], self.active, self.outbox, self.health, self.recent,
            **{"site": "plant1", "device": "dev1", "publish": True} | loop,
        )  # fmt: skip
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.loop.run, args=(self.stop,))

    def feed(self, name, data) -> None:
        (self.camera / f".{name}").write_bytes(data)
        (self.camera / f".{name}").rename(self.camera / name)

    def results(self) -> list[dict]:
        return [json.loads(item.payload) for item in self.outbox.results(100_000)]

    def waiting(self) -> list[str]:
        return sorted(path.name for path in self.camera.iterdir() if path.is_file())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(20)
        self.outbox.close()
