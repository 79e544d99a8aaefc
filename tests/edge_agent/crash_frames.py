"""Scenarios between a camera, the outbox and its two ends, which are killed at every moment."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from edge_agent.agent import InspectionLoop
from edge_agent.camera_config import FolderCamera, HttpCamera
from edge_agent.config import OutboxLimits
from edge_agent.disk import Steps
from edge_agent.health import Health
from edge_agent.inference import load_release
from edge_agent.ota.active import Active
from edge_agent.outbox import Outbox, image_is_intact
from edge_agent.outbox_parts import PartRule
from edge_agent.outbox_recovery import Owner
from edge_agent.part_answers import PartAnswers
from edge_agent.recent_frames import RecentFrames
from edge_agent.sources.folder import FolderSource
from edge_agent.sources.http import HttpSource
from edge_agent.uploader import Uploader
from inspection import Reason, parse_raw_key
from tests.edge_agent import old_outbox
from tests.edge_agent.crash_updates import ONE_THREAD, Scenario, rubbish
from tests.edge_agent.models import BAD, DOUBTFUL, GOOD, build_release, picture
from tests.edge_agent.outbox_items import image, result
from tests.edge_agent.stores import FolderStore


class Frames(Scenario):
    """The inspection loop over a folder, with the senders at work between the frames."""

    pictures = (("1.png", GOOD, 1), ("2.png", BAD, 2), ("3.png", DOUBTFUL, 3), ("4.png", DOUBTFUL, 3),
                ("6.png", DOUBTFUL, 6))  # fmt: skip
    """3 and 4 are the same bytes: one file, two Captures. 5.png is no picture."""

    def __init__(self) -> None:
        self.built = build_release(1)

    def prepare(self, folder: Path, ports) -> None:
        for name in ("camera", "state", "s3"):
            (folder / name).mkdir()
        for name, kind, seed in self.pictures:
            (folder / "camera" / name).write_bytes(picture(*kind, seed=seed))
        (folder / "camera" / "5.png").write_bytes(b"no picture")
        (folder / "camera" / "6.png.json").write_text('{"part_id": "T-6"}')
        for path in (folder / "camera").iterdir():
            os.utime(path, (1_700_000_000, 1_700_000_000))
        self.built.write(folder / "release")

    def run(self, folder: Path, ports, said) -> None:
        state, camera = folder / "state", folder / "camera"
        outbox = Acknowledging(said, state / "outbox", OutboxLimits(min_free_bytes=0), ports)
        config = FolderCamera(path=camera, poll_interval_s=0.001, settle_s=0.0)
        source = FolderSource(config, state / "done", disk=ports.disk)
        active = Active()
        active.set(load_release(folder / "release", self.built.digest, self.built.release, ONE_THREAD))
        loop = InspectionLoop(
            [source], active, outbox, Health(), RecentFrames(), site="plant1", device="dev1", publish=True
        )
        uploader = Uploader(outbox, ports.store(CountingStore(folder / "s3", said)), "kizu-raw")

        turns = count(1)

        def send() -> bool:
            assert next(turns) < 200, "expected the camera's folder to empty itself, but it does not"
            uploader.send_next()
            for item in outbox.results(1):
                said(f"line {item.payload.decode()}")
                outbox.delivered(item)
            return not any(path.is_file() for path in camera.iterdir())

        loop.run(Until(send))
        while outbox.next_image() or outbox.results(1):
            send()
        outbox.close()

    def check(self, folder: Path, ports, said: list[str]) -> Iterator[str]:
        words = list(said)
        self.run(folder, ports, words.append)
        results = [json.loads(word.removeprefix("line ")) for word in words if word.startswith("line ")]
        by_id = {item["capture_id"]: item for item in results}
        names = Counter(item["original_name"] for item in by_id.values())
        if names != Counter(name for name, _, _ in self.pictures):
            yield f"expected one result for each picture, but got {names}"
        if len({json.dumps(item) for item in results}) != len(by_id):
            yield "expected a result that comes twice to be the same, but got two versions"
        if lost := {word.split()[1] for word in said if word.startswith("acknowledged ")} - by_id.keys():
            yield f"acknowledged results did not reach the line: {lost}"
        if [item["part_id"] for item in by_id.values() if item["original_name"] == "6.png"] != ["T-6"]:
            yield "the part of 6.png is lost"
        yield from self._store(folder, words, by_id)
        outbox = Outbox(folder / "state" / "outbox", OutboxLimits(min_free_bytes=0))
        counters = {name: n for name, n in outbox.counters().items() if not name.startswith(("day.", "verdict."))}
        days = sum(n for name, n in outbox.counters().items() if name.startswith("day."))
        verdicts = sum(n for name, n in outbox.counters().items() if name.startswith("verdict."))
        frames = len(self.pictures)
        if (counters, days, verdicts) != ({"frames": frames, "rejected.not-an-image": 1}, frames, frames):
            yield f"expected {frames} frames and one rejected file to be counted, but got {outbox.counters()}"
        if outbox.recorded_keys() or sum(outbox.depth().values()) or outbox.bytes_used():
            yield f"expected an empty outbox, but got {outbox.recorded_keys()}, {outbox.depth()}"
        outbox.close()
        yield from self._folders(folder)

    def _store(self, folder: Path, words: list[str], by_id: dict) -> Iterator[str]:
        made = Counter(word.removeprefix("made ") for word in words if word.startswith("made "))
        if twice := [key for key, n in made.items() if n > 1]:
            yield f"created twice in the store: {twice}"
        keys = [parse_raw_key(str(path.relative_to(folder / "s3"))) for path in (folder / "s3").rglob("*.*")]
        captures = sorted(key.capture_id for key in keys if key.capture_id)
        doubtful = {name: seed for name, kind, seed in self.pictures if kind == DOUBTFUL}
        wanted = sorted(key for key, item in by_id.items() if item["original_name"] in doubtful)
        if captures != wanted or sum(1 for key in keys if not key.capture_id) != len(set(doubtful.values())):
            yield f"expected Captures {wanted} and their images, each once, in the store, but got {keys}"

    def _folders(self, folder: Path) -> Iterator[str]:
        left = sorted(str(path.relative_to(folder / "camera")) for path in (folder / "camera").rglob("*"))
        if left != ["rejected", "rejected/5.png", "rejected/5.png.reason.txt"]:
            yield f"expected the rejected file alone with the camera, but got {left}"
        done = sorted(path.name.split("-", 1)[1] for path in (folder / "state" / "done").iterdir())
        if done != [name for name, _, _ in self.pictures]:
            yield f"expected all pictures to be kept, but got {done}"
        if images := list((folder / "state" / "outbox" / "images").iterdir()):
            yield f"expected no image to wait, but got {images}"
        yield from rubbish(folder)


class Posted(Scenario):
    """Images that are posted with idempotency keys. The sender posts each again until it has an answer, also after it.

    Once a result is acknowledged for a key, every later answer to the key is that result, and each image is judged and
    told to the line once.
    """

    orders = (("order-1", GOOD, 1), ("order-2", DOUBTFUL, 2))

    def __init__(self) -> None:
        self.built = build_release(1)

    def prepare(self, folder: Path, ports) -> None:
        for name in ("state", "s3"):
            (folder / name).mkdir()
        self.built.write(folder / "release")

    def run(self, folder: Path, ports, said) -> None:
        outbox = Acknowledging(said, folder / "state" / "outbox", OutboxLimits(min_free_bytes=0), ports)
        source = HttpSource(HttpCamera(source="http"), threading.Event(), answers=outbox.answer)
        active = Active()
        active.set(load_release(folder / "release", self.built.digest, self.built.release, ONE_THREAD))
        loop = InspectionLoop(
            [source], active, outbox, Health(), RecentFrames(), site="plant1", device="dev1", publish=True
        )
        loop._forget_what_is_gone()
        uploader = Uploader(outbox, ports.store(CountingStore(folder / "s3", said)), "kizu-raw")
        for key, kind, seed in self.orders:
            for _ in range(2):
                source.recall(key)
                posted = source.submit(
                    picture(*kind, seed=seed), name="a.png", part_id=None, tell=lambda: None, key=key
                )
                loop.step(active.get(), 0.0)
                said(f"answered {key} {posted.result.capture_id}")
            uploader.send_next()
        for item in outbox.results(10):
            said(f"line {item.payload.decode()}")
            outbox.delivered(item)
        outbox.close()

    def check(self, folder: Path, ports, said: list[str]) -> Iterator[str]:
        words = list(said)
        self.run(folder, ports, words.append)
        answers = {word.removeprefix("answered ") for word in words if word.startswith("answered ")}
        acknowledged = {word.split()[1] for word in words if word.startswith("acknowledged ")}
        told = {json.loads(word.removeprefix("line "))["capture_id"] for word in words if word.startswith("line ")}
        if len(answers) != len(self.orders):
            yield f"expected one answer for each key, but got {answers}"
        if {answer.split()[1] for answer in answers} != told or acknowledged - told:
            yield f"expected the line to be told what was answered, but got {told}, {answers}, {acknowledged}"
        outbox = Outbox(folder / "state" / "outbox", OutboxLimits(min_free_bytes=0))
        if outbox.total("frames") != len(self.orders):
            yield f"expected each image to be judged once, but got {outbox.counters()}"
        if outbox.recorded_keys():
            yield f"expected no frame in hand, but got {outbox.recorded_keys()}"
        outbox.close()
        yield from rubbish(folder)


class FramesApart(Frames):
    """The steps of `Frames`, with the camera's folder and the state folder on different file systems.

    Two pictures are enough: only how a file is moved is another matter, and each kind of move is among them.
    """

    pictures = (("1.png", GOOD, 1), ("6.png", DOUBTFUL, 6))

    def on(self, steps: Steps, folder: Path) -> Steps:
        return Apart(steps, folder)


class Apart(Steps):
    """Steps on a machine where the camera's folder and the state folder are on different file systems."""

    def __init__(self, steps: Steps, root: Path) -> None:
        self._steps, self._root = steps, root

    def __getattribute__(self, name: str):
        if name.startswith("_") or name == "rename":
            return super().__getattribute__(name)
        return getattr(self._steps, name)

    def rename(self, source: Path, target: Path) -> None:
        if source.relative_to(self._root).parts[0] != target.relative_to(self._root).parts[0]:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        self._steps.rename(source, target)


class Parts(Scenario):
    """Two cameras look at parts. P-1 is complete, and of P-2 a picture never comes, so that its time runs out."""

    pictures = (("top", "P-1", GOOD, 1), ("top", "P-2", GOOD, 2), ("left", "P-1", BAD, 3))
    rule = PartRule("housing", ("top", "left"), timeout_s=3600.0, late_s=1e9)

    def __init__(self) -> None:
        self.built = build_release(1)

    def prepare(self, folder: Path, ports) -> None:
        (folder / "state").mkdir()
        for camera, part, kind, seed in self.pictures:
            (folder / camera).mkdir(exist_ok=True)
            (folder / camera / f"{part}.png").write_bytes(picture(*kind, seed=seed))
            (folder / camera / f"{part}.png.json").write_text(json.dumps({"part_id": part}))
        self.built.write(folder / "release")

    def run(self, folder: Path, ports, said) -> None:
        state, passed = folder / "state", [0.0]
        outbox = Outbox(
            state / "outbox", OutboxLimits(min_free_bytes=0), disk=ports.disk, connect=ports.connect,
            parts=[self.rule], monotonic=lambda: time.monotonic() + passed[0],
        )  # fmt: skip
        sources = [
            FolderSource(
                FolderCamera(name=name, path=folder / name, poll_interval_s=0.001, settle_s=0.0),
                state / "done" / name, disk=ports.disk,
            )
            for name in self.rule.cameras
        ]  # fmt: skip
        active = Active()
        active.set(load_release(folder / "release", self.built.digest, self.built.release, ONE_THREAD))
        loop = InspectionLoop(
            sources, active, outbox, Health(), RecentFrames(), site="plant1", device="dev1", publish=True
        )
        answers = PartAnswers(outbox, device="dev1", publish=True)
        turns = count(1)

        def send() -> bool:
            assert next(turns) < 200, "expected the cameras' folders to empty themselves, but they do not"
            answers.answer()
            for item in outbox.results(1):
                said(f"{item.topic} {item.payload.decode()}")
                outbox.delivered(item)
            return not any(path.is_file() for name in self.rule.cameras for path in (folder / name).iterdir())

        loop.run(Until(send))
        passed[0] = 4000.0
        while outbox.open_parts() or outbox.results(1):
            send()
        outbox.close()

    def check(self, folder: Path, ports, said: list[str]) -> Iterator[str]:
        words = list(said)
        self.run(folder, ports, words.append)
        answers = {word for word in words if word.startswith("parts ")}
        told = [json.loads(word.removeprefix("parts ")) for word in answers]
        found = sorted((item["part_id"], item["verdict"], tuple(item["missing"])) for item in told)
        if found != [("P-1", "fail", ()), ("P-2", "uncertain", ("left",))]:
            yield f"expected one answer for each part, but got {found}"
        if ends := {item["end"] for item in told if item["part_id"] == "P-1"} - {"complete"}:
            yield f"expected P-1 to be complete, but got {ends}"
        results = {word for word in words if word.startswith("results ")}
        if len(results) != len(self.pictures):
            yield f"expected one result for each picture, but got {len(results)}"
        yield from rubbish(folder)


class Caps(Scenario):
    """An outbox over its caps, on a disk that fills up: each dropped item is counted once, and the others are there."""

    frames = 8

    def prepare(self, folder: Path, ports) -> None:
        for name in ("state", "s3"):
            (folder / name).mkdir()

    def run(self, folder: Path, ports, said) -> None:
        size = len(image(0).data)
        limits = OutboxLimits(max_bytes=4 * (size + 900), min_free_bytes=100_000)
        disk = Filling(ports.disk)
        outbox = Acknowledging(said, folder / "state" / "outbox", limits, ports, disk)
        uploader = Uploader(outbox, ports.store(CountingStore(folder / "s3", said)), "kizu-raw")
        for number in range(self.frames):
            disk.full = number >= 6  # one of little worth, and one for which others go first
            reason = Reason.CONTROL if number % 3 == 0 else Reason.UNCERTAIN
            outbox.record(f"f{number}", result(number), image(number, reason), publish=True)
            if number == 2:
                uploader.send_next()
            if number % 4 == 3:
                for item in outbox.results(1):
                    said(f"line {item.payload.decode()}")
                    outbox.delivered(item)
        outbox.close()

    def check(self, folder: Path, ports, said: list[str]) -> Iterator[str]:
        words = list(said)
        self.run(folder, ports, words.append)
        outbox = Outbox(folder / "state" / "outbox", OutboxLimits(min_free_bytes=0))
        counters, depth = outbox.counters(), outbox.depth()
        if counters["frames"] != self.frames or len(outbox.recorded_keys()) != self.frames:
            yield f"expected {self.frames} frames, each counted once, but got {counters}"
        line = {json.loads(word.removeprefix("line "))["capture_id"] for word in words if word.startswith("line ")}
        line |= {item.capture_id for item in outbox.results(100)}
        keys = [parse_raw_key(str(path.relative_to(folder / "s3"))) for path in (folder / "s3").rglob("*.*")]
        images = {key.capture_id for key in keys if key.capture_id}
        given_up = {name: counters.get(f"dropped.{name}", 0) for name in depth}
        while (item := outbox.next_image()) is not None:
            if not item.image_file.exists():
                yield f"an image waits without its file: {item.capture_id}"
            images.add(item.capture_id)
            outbox.delivered(item)
        # What had reached the other side when its row was dropped, after a kill, counts as dropped too: at most one.
        for what, kept, dropped in (
            ("results", len(line), given_up["result"]),
            ("images", len(images), sum(given_up.values()) - given_up["result"]),
        ):
            if not self.frames <= kept + dropped <= self.frames + 1:
                yield f"expected {self.frames} {what}, but {kept} are there and {dropped} were counted as dropped"
        if twice := [word for word, n in Counter(words).items() if word.startswith("made ") and n > 1]:
            yield f"created twice in the store: {twice}"
        outbox.close()
        yield from rubbish(folder)


class OldIndex(Scenario):
    """An agent starts on the outbox of an earlier version: the tables change, and the items stay."""

    def prepare(self, folder: Path, ports) -> None:
        (folder / "state").mkdir()
        old_outbox.write(folder / "state" / "outbox")

    def run(self, folder: Path, ports, said) -> None:
        outbox = Acknowledging(said, folder / "state" / "outbox", OutboxLimits(min_free_bytes=0), ports)
        outbox.forget("top/9")
        outbox.record("top/20", result(20), image(20), publish=True)
        outbox.close()

    def check(self, folder: Path, ports, said: list[str]) -> Iterator[str]:
        self.run(folder, ports, lambda word: None)
        outbox = Outbox(folder / "state" / "outbox", OutboxLimits(min_free_bytes=0))
        wanted = old_outbox.COUNTERS | {"rejected.not-an-image": 1, "frames": 5, "verdict.pass": 4}
        counters = {name: n for name, n in outbox.counters().items() if name in wanted}
        if counters != wanted:
            yield f"expected the counters {wanted}, but got {outbox.counters()}"
        if sorted(outbox.recorded_keys()) != ["top/20", "top/3"] or not outbox.is_recorded("top/3"):
            yield f"expected two frames in hand, but got {outbox.recorded_keys()}"
        numbers = [int(item.capture_id, 16) for item in outbox.results(100)]
        if numbers != [0, 1, 2, 3, 20]:
            yield f"expected the results in order, but got {numbers}"
        images = []
        while (item := outbox.next_image()) is not None:
            if image_is_intact(item) is None:
                yield f"an image waits without its file: {item.capture_id}"
            images.append((item.priority.name, int(item.capture_id, 16)))
            outbox.delivered(item)
        if images != [("OBJECTION", 1), ("UNCERTAIN", 20), ("CONTROL", 2)]:
            yield f"expected three images by importance, but got {images}"
        outbox.close()
        yield from rubbish(folder)


class DamagedIndex(Scenario):
    """An agent starts on an index that a power cut has damaged: what can be read and every image begin a new one."""

    def prepare(self, folder: Path, ports) -> None:
        (folder / "state").mkdir()
        outbox = Outbox(folder / "state" / "outbox", OutboxLimits(min_free_bytes=0))
        for number in range(3):
            outbox.record(f"top/{number}", result(number), image(number), publish=True)
        outbox.close()
        index = folder / "state" / "outbox" / "outbox.sqlite"
        with sqlite3.connect(index) as db:
            db.execute("PRAGMA writable_schema=ON")
            # The table of items is whole; an index over it is not.
            db.execute("UPDATE sqlite_schema SET sql = 'damaged' WHERE name = 'item_by_age'")
        db.close()

    def run(self, folder: Path, ports, said) -> None:
        outbox = Outbox(
            folder / "state" / "outbox", OutboxLimits(min_free_bytes=0), disk=ports.disk, connect=ports.connect,
            owner=Owner("plant", "dev1"),
        )  # fmt: skip
        outbox.close()

    def check(self, folder: Path, ports, said: list[str]) -> Iterator[str]:
        self.run(folder, ports, said)
        outbox = Outbox(folder / "state" / "outbox", OutboxLimits(min_free_bytes=0), owner=Owner("plant", "dev1"))
        shas = set()
        while (item := outbox.next_image()) is not None:
            if image_is_intact(item) is None:
                yield f"an image waits without its file: {item.capture_id}"
            shas.add(item.image_sha256)
            outbox.delivered(item)
        if shas != {image(number).capture.sha256 for number in range(3)}:
            yield f"expected three images to be sent, but got {sorted(shas)}"
        outbox.record("top/9", result(9), None, publish=True)
        if not outbox.is_recorded("top/9"):
            yield "expected the new index to record a frame"
        outbox.close()
        if not list((folder / "state" / "outbox" / "damaged").glob("*.outbox.sqlite")):
            yield "expected the damaged index to be set aside"
        if (folder / "state" / "outbox" / "outbox.sqlite.new").exists():
            yield "left behind: outbox.sqlite.new"
        yield from rubbish(folder)


class Acknowledging(Outbox):
    """An outbox that tells of each frame that it has recorded."""

    def __init__(self, said, folder: Path, limits: OutboxLimits, ports, disk=None) -> None:
        super().__init__(folder, limits, disk=disk or ports.disk, connect=ports.connect)
        self._said = said

    def record(self, source_key, result, image, **rest) -> bool:
        new = super().record(source_key, result, image, **rest)
        self._said(f"acknowledged {result.capture_id}")
        return new


class CountingStore(FolderStore):
    """A store that tells of each object that it has created."""

    def __init__(self, folder: Path, said) -> None:
        super().__init__(folder)
        self._said = said

    def put(self, bucket, key, data, **rest):
        created = super().put(bucket, key, data, **rest)
        if created:
            self._said(f"made {key}")
        return created


class Filling:
    """A disk that another program fills from time to time."""

    def __init__(self, disk) -> None:
        self._disk = disk
        self.full = False

    def __getattr__(self, name: str):
        return getattr(self._disk, name)

    def free_bytes(self, path: Path) -> int:
        return 1000 if self.full else self._disk.free_bytes(path)


class Until(threading.Event):
    """An event that is set when the work between two frames says that all is done."""

    def __init__(self, work) -> None:
        super().__init__()
        self._work = work

    def is_set(self) -> bool:
        return self._work()
