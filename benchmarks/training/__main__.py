"""`make bench-training`: measure, and write the tables into docs/benchmarks.md."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.apart import apart
from benchmarks.document import write_between
from benchmarks.edge.material import Material, load_material
from benchmarks.edge.neighbours import Neighbours
from benchmarks.server import object_store
from benchmarks.training import downloads, walls
from benchmarks.training.table import BEGIN, END, Report, render
from components.use_case import TrainingSettings

_log = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Parse the arguments, measure, and write the tables."""
    parser = argparse.ArgumentParser(description="Measure the fetching of a dataset, and a training's wall time.")
    public = os.environ.get("KIZU_PUBLIC_TAGS")
    parser.add_argument("--data", type=Path, default=Path(public) if public else None, help="folder of photographs")
    parser.add_argument("--images", type=int, default=400, help="that are fetched")
    parser.add_argument("--round-trips", type=float, nargs="*", default=[5.0, 20.0], help="ms, beside loopback")
    parser.add_argument("--fetches", type=int, default=5, help="rounds of fetching")
    parser.add_argument("--train", type=int, default=96, help="images that are trained on")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--size", type=int, nargs=2, default=[256, 160], help="width and height of the network's input")
    parser.add_argument("--trainings", type=int, default=5, help="rounds of training")
    parser.add_argument("--work", type=Path, default=Path(os.environ.get("KIZU_HOME", _ROOT / ".kizu")) / "bench")
    parser.add_argument("--document", type=Path, default=_ROOT / "docs" / "benchmarks.md")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    material = load_material(given.data)
    settings = material.use_case.training.model_copy(
        update={
            "width_multiple": 0.125,
            "image_width": given.size[0],
            "image_height": given.size[1],
            "epochs": given.epochs,
        }
    )
    report = measure(
        material,
        settings,
        images=given.images,
        round_trips_ms=given.round_trips,
        fetches=given.fetches,
        train=given.train,
        trainings=given.trainings,
        work=given.work.resolve() / "training",
        command=command_of(sys.argv[1:], public is not None and given.data == Path(public)),
    )
    write_between(given.document, BEGIN, END, render(report))
    sys.stdout.write(render(report) + "\n")


def command_of(arguments: Sequence[str], public: bool) -> str:
    """The command that repeats this run."""
    options = f" OPTIONS='{' '.join(arguments)}'" if arguments else ""
    return f"{'KIZU_PUBLIC_TAGS=<folder> ' if public else ''}make bench-training{options}"


def measure(
    material: Material,
    settings: TrainingSettings,
    *,
    images: int,
    round_trips_ms: Sequence[float],
    fetches: int,
    train: int,
    trainings: int,
    work: Path,
    command: str,
) -> Report:
    """Measure everything, on servers that are removed afterwards."""
    work.mkdir(parents=True, exist_ok=True)
    neighbours = Neighbours()
    fetched = []
    with object_store(work) as server:
        photographs = [material.images[sha256] for sha256 in sorted(material.images)]
        stored = apart(downloads.fill, server, photographs, images)
        for round_trip_ms in (None, *round_trips_ms):
            fetched.append(downloads.measure(server, stored, round_trip_ms, fetches, work))
            _log.info("%s", fetched[-1])
    while_fetching = neighbours.share()
    neighbours = Neighbours()
    trained = walls.measure(material, settings, train, trainings, work / "trained")
    return Report(command, material.said, stored, fetched, trained, (while_fetching, neighbours.share()))


if __name__ == "__main__":
    main()
