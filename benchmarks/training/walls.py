"""The wall time of our training beside `yolo detect train` with the same arguments, on the same folder of images.

Each training is a process. It is timed from its start, with the loading of its libraries, to the end of the last
epoch. Plain training gets its arguments from the file in which Ultralytics records those of our training.
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

import yaml

from benchmarks.edge.material import Material
from benchmarks.server import free_port, running
from components.stores.datasets.manifest import Manifest, SplitName
from components.stores.objects.image_cache import Fetch
from components.use_case import TrainingSettings
from deploy.access.identities import mlflow_account
from deploy.access.layout import REPOSITORY, Layout, Ports
from deploy.local.services import mlflow

_log = logging.getLogger(__name__)

PLAIN, OURS, SHIPPED = "plain", "ours", "shipped"


@dataclass(frozen=True, slots=True)
class Run:
    """One training. threads: the number of torch's threads.

    trained_s: seconds from the start of its process to the end of the last epoch. loaded_s: the part of trained_s
    before the training was called, for the libraries and, for ours, a run in MLflow. export_s: seconds after
    the last epoch.
    """

    loaded_s: float
    trained_s: float
    export_s: float
    threads: int


@dataclass(frozen=True, slots=True)
class Trained:
    """The trainings of all contenders.

    runs: contender -> the run of each round. images, settings: the number of training images, and how was trained.
    """

    runs: Mapping[str, Sequence[Run]]
    images: int
    settings: TrainingSettings

    def seconds(self, name: str) -> list[float]:
        """The seconds of a contender's training in each round."""
        return [run.trained_s for run in self.runs[name]]

    def more(self, name: str = OURS) -> float:
        """The share by which a contender takes longer than plain training, by medians; below 0 it is faster."""
        return statistics.median(self.seconds(name)) / statistics.median(self.seconds(PLAIN)) - 1

    @property
    def export_s(self) -> float:
        """The median seconds between the last epoch and the end of our trainings."""
        return statistics.median(run.export_s for name in (OURS, SHIPPED) for run in self.runs[name])


def some_of(manifest: Manifest, train: int) -> Manifest:
    """Take `train` training images, and a quarter as many for validation; images with a defect come first."""
    wanted = {SplitName.TRAIN: train, SplitName.VAL: max(1, train // 4)}
    chosen = [
        image
        for split, count in wanted.items()
        for image in sorted(manifest.of(split), key=lambda image: not image.boxes)[:count]
    ]
    return replace(manifest, images=tuple(sorted(chosen, key=lambda image: image.sha256)))


class Trainings:
    """Runs both contenders on one folder of images. environment: added to the environment of their processes."""

    def __init__(
        self, manifest: Manifest, fetch: Fetch, settings: TrainingSettings, work: Path, environment: Mapping[str, str]
    ) -> None:
        from components.training.dataset_folder import write_dataset

        dataset = write_dataset(manifest, fetch, work / "dataset")
        self._order = {
            "folder": str(dataset.folder),
            "data_file": str(dataset.data_file),
            "classes": dataset.classes,
            "images": dict(dataset.images),
            "settings": settings.model_dump(mode="json"),
        }
        self._work = work
        self._environment = {**os.environ, **environment, "PYTHONPATH": str(REPOSITORY)}

    def ours(self, threads: int | None) -> Run:
        """Run our training once, with all cores where `threads` is None."""
        folder = _empty(self._work / OURS)
        order = json.dumps({**self._order, "workdir": str(folder), "threads": threads})
        run = self._timed(["benchmarks.training.ours", order], folder)
        shutil.copyfile(folder / "ultralytics" / "args.yaml", self._work / "args.yaml")
        return run

    def plain(self) -> Run:
        """Run Ultralytics' own training once, with the arguments of our last run except for the result folder."""
        folder = _empty(self._work / PLAIN)
        arguments = yaml.safe_load((self._work / "args.yaml").read_text(encoding="utf-8"))
        del arguments["save_dir"]
        file = folder / "arguments.yaml"
        file.write_text(yaml.safe_dump({**arguments, "project": str(folder)}), encoding="utf-8")
        return self._timed(["components.yolov8.ultralytics_train", str(file)], folder)

    def _timed(self, command: Sequence[str], folder: Path) -> Run:
        log = folder.with_suffix(".log")
        with log.open("wb") as stream:
            began = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", *command],
                env=self._environment, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=stream, check=False,
            )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} ended with {done.returncode}: {log.read_text()[-2000:]}")
        said = json.loads(done.stdout.splitlines()[-1])
        ended_at = said.get("ended_at", said["trained_at"])
        return Run(said["began_at"] - began, said["trained_at"] - began, ended_at - said["trained_at"], said["threads"])


def measure(material: Material, settings: TrainingSettings, train: int, rounds: int, work: Path) -> Trained:
    """Train in turns, in a random order in each round, after one warm-up run of each that does not count."""
    shutil.rmtree(work, ignore_errors=True)
    runs: dict[str, list[Run]] = {PLAIN: [], OURS: [], SHIPPED: []}
    with _tracking_server(work / "servers") as account:
        trainings = Trainings(some_of(material.manifest, train), material.fetch, settings, work, account)
        trainings.ours(None)
        threads = trainings.plain().threads
        draw = random.Random(0)
        for turn in range(rounds):
            for name in draw.sample(sorted(runs), len(runs)):
                run = trainings.plain() if name == PLAIN else trainings.ours(threads if name == OURS else None)
                _log.info("round %d of %d, %s: %.1f s", turn + 1, rounds, name, run.trained_s)
                runs[name].append(run)
    return Trained(runs, train, settings)


@contextmanager
def _tracking_server(folder: Path) -> Iterator[Mapping[str, str]]:
    """Run MLflow as the product does, for the curves of our training; yield the settings of the account that trains."""
    port = free_port()
    layout = Layout(folder, Ports(s3=port, mlflow=port + 4), REPOSITORY)
    layout.home.mkdir(parents=True)
    with running(mlflow(layout), layout):
        yield {"MLFLOW_TRACKING_URI": layout.mlflow_url, **mlflow_account(layout, "trainer")}


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
