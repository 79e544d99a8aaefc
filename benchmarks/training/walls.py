"""The wall time of a training: ours beside `yolo detect train` with the same arguments, on the same folder of images.

Each is a process, timed from its start, the loading of its libraries with it, to the moment when the last epoch is
trained. The plain one gets its arguments from the file in which Ultralytics writes down those that ours was given.
"""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from benchmarks.edge.material import Material
from benchmarks.server import free_port, running
from components.manifest import Manifest, SplitName
from components.use_case import TrainingSettings
from deploy.local.identities import mlflow_account
from deploy.local.layout import REPOSITORY, Layout, Ports
from deploy.local.services import mlflow

_log = logging.getLogger(__name__)

PLAIN, OURS, SHIPPED = "plain", "ours", "shipped"


@dataclass(frozen=True, slots=True)
class Trained:
    """seconds: contender -> of each round; threads: contender -> of torch; export_s: ours, from trained to the end."""

    seconds: Mapping[str, Sequence[float]]
    threads: Mapping[str, int]
    export_s: Sequence[float]
    images: int
    settings: TrainingSettings

    def median(self, name: str) -> float:
        """Seconds."""
        return statistics.median(self.seconds[name])

    @property
    def more(self) -> float:
        """By which share ours takes more time than plain training with as many threads; below 0: less."""
        return self.median(OURS) / self.median(PLAIN) - 1


def some_of(manifest: Manifest, train: int) -> Manifest:
    """The first so many training images, and a quarter as many for validation; those with a defect first."""
    wanted = {SplitName.TRAIN: train, SplitName.VAL: max(1, train // 4)}
    chosen = [
        image
        for split, count in wanted.items()
        for image in sorted(manifest.of(split), key=lambda image: not image.boxes)[:count]
    ]
    return replace(manifest, images=tuple(sorted(chosen, key=lambda image: image.sha256)))


def measure(material: Material, settings: TrainingSettings, train: int, rounds: int, work: Path) -> Trained:
    """Train in turns, in an order drawn anew each round, after one of each that does not count."""
    from components.training.dataset_folder import write_dataset

    shutil.rmtree(work, ignore_errors=True)
    dataset = write_dataset(some_of(material.manifest, train), material.fetch, work / "dataset")
    order = {
        "folder": str(dataset.folder),
        "data_file": str(dataset.data_file),
        "classes": dataset.classes,
        "images": dict(dataset.images),
        "settings": settings.model_dump(mode="json"),
    }
    seconds: dict[str, list[float]] = {PLAIN: [], OURS: [], SHIPPED: []}
    exports: list[float] = []
    with _tracking_server(work / "servers") as account:
        environment = {**os.environ, **account, "PYTHONPATH": str(REPOSITORY)}

        def ours(name: str, threads: int | None) -> tuple[float, Mapping[str, Any]]:
            folder = _empty(work / name)
            given = json.dumps({**order, "workdir": str(folder), "threads": threads})
            return _timed(["benchmarks.training.ours", given], environment, folder)

        def plain() -> tuple[float, Mapping[str, Any]]:
            folder = _empty(work / PLAIN)
            recorded = yaml.safe_load((work / SHIPPED / "ultralytics" / "args.yaml").read_text(encoding="utf-8"))
            arguments = {name: value for name, value in recorded.items() if name != "save_dir"}
            file = folder / "arguments.yaml"
            file.write_text(yaml.safe_dump({**arguments, "project": str(folder)}), encoding="utf-8")
            return _timed(["components.training.ultralytics_train", str(file)], environment, folder)

        _, said = ours(SHIPPED, None)
        threads = {SHIPPED: said["threads"], PLAIN: plain()[1]["threads"]}
        threads[OURS] = threads[PLAIN]
        draw = random.Random(0)
        for turn in range(rounds):
            for name in draw.sample(sorted(seconds), len(seconds)):
                took, said = plain() if name == PLAIN else ours(name, threads[name])
                _log.info("round %d of %d, %s: %.1f s", turn + 1, rounds, name, took)
                seconds[name].append(took)
                if name != PLAIN:
                    exports.append(said["ended_at"] - said["trained_at"])
    return Trained(seconds, threads, exports, train, settings)


def _timed(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> tuple[float, Mapping[str, Any]]:
    log = folder / "log"
    with log.open("wb") as stream:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", *command],
            env=dict(environment), cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=stream, check=False,
        )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {log.read_text()[-2000:]}")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said["trained_at"] - began, said


@contextmanager
def _tracking_server(folder: Path) -> Iterator[Mapping[str, str]]:
    """MLflow as the product runs it, where ours writes its curves; yields the settings of the account that trains."""
    port = free_port()
    layout = Layout(folder, Ports(s3=port, mlflow=port + 4), REPOSITORY)
    layout.home.mkdir(parents=True)
    with running(mlflow(layout), layout):
        yield {"MLFLOW_TRACKING_URI": layout.mlflow_url, **mlflow_account(layout, "trainer")}


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
