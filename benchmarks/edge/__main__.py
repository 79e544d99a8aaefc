"""`make bench-edge`: measure, and write the tables into docs/benchmarks.md."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import shutil
import statistics
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from benchmarks.edge.accuracy import map50
from benchmarks.edge.contenders import SGEMM_SIDE, Spec
from benchmarks.edge.flops import count_flops
from benchmarks.edge.footprint import disk_bytes, edge_packages, measure_agent
from benchmarks.edge.goals import BEST, FP32, INT8, OPENVINO, REFERENCE, SGEMM, Run
from benchmarks.edge.interleave import Worker, run_interleaved, start_up_s
from benchmarks.edge.large import measure_large, sahi_folder
from benchmarks.edge.large import render as render_large
from benchmarks.edge.large import write as write_large
from benchmarks.edge.material import Material, load_material
from benchmarks.edge.models import Models, prepare
from benchmarks.edge.neighbours import Neighbours
from benchmarks.edge.outbox_rate import writes_per_second
from benchmarks.edge.release import build_release
from benchmarks.edge.swap import measure_swaps
from benchmarks.edge.table import Report, render, write
from components.stores.datasets.manifest import SplitName
from edge_agent.inference import RuntimeChoice

_log = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parents[2]
_EDGE_PYTHON = _ROOT / ".venv-edge" / "bin" / "python"
_ULTRALYTICS = ("ultralytics-opencv-headless", "onnx", "onnxruntime")
_START_UPS = 5


def main() -> None:
    """Parse the arguments, measure, and write the tables."""
    parser = argparse.ArgumentParser(description="Measure the device's inference beside Ultralytics'.")
    public = os.environ.get("KIZU_PUBLIC_TAGS")
    parser.add_argument("--data", type=Path, default=Path(public) if public else None, help="folder of photographs")
    parser.add_argument("--weights", type=Path, help="an Ultralytics checkpoint, instead of training one")
    parser.add_argument("--work", type=Path, default=Path(os.environ.get("KIZU_HOME", _ROOT / ".kizu")) / "bench")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--document", type=Path, default=_ROOT / "docs" / "benchmarks.md")
    parser.add_argument("--large-rounds", type=int, default=15, help="of pictures of twelve megapixels")
    parser.add_argument("--large-only", action="store_true", help="measure pictures of twelve megapixels alone")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if not _EDGE_PYTHON.exists():
        parser.error("the device's environment .venv-edge is not there; run: make setup")
    material = load_material(given.data)
    _log.info("%s", material.said)
    # In a process of its own, because the libraries that train and export would stay in memory during the measurement.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        models = pool.submit(prepare, material, given.work.resolve(), given.weights).result()
        scores = {
            letter: pool.submit(map50, material, model, choice).result()
            for letter, model, choice in (
                (FP32, models.fp32, RuntimeChoice()),
                (INT8, models.int8, RuntimeChoice()),
                (OPENVINO, models.int8, RuntimeChoice(backend="openvino")),
            )
            if not given.large_only
        }
    _log.info("pictures of twelve megapixels")
    large = measure_large(
        material, models, build_release(material, models), given.work.resolve(), given.large_rounds, sahi_folder(),
        str(_EDGE_PYTHON),
    )  # fmt: skip
    write_large(large, material, given.document)
    sys.stdout.write(render_large(large, material) + "\n")
    if given.large_only:
        return
    _log.info("mAP50: %s", scores)
    report = _measure(material, models, scores, given.work.resolve(), given.rounds, given.data is not None)
    write(report, given.document)
    sys.stdout.write(render(report) + "\n")


def _measure(
    material: Material, models: Models, scores: Mapping[str, float], work: Path, rounds: int, public: bool
) -> Report:
    built = build_release(material, models)
    release = built.write(work / "release")
    frames = _write_frames(material, work / "frames")
    jpegs = [path.read_bytes() for path in sorted(frames.iterdir())]
    runs = []
    for threads in (1, 2):
        _log.info("%d rounds with %d thread(s)", rounds, threads)
        neighbours = Neighbours()
        with ExitStack() as stack:
            workers = {
                name: stack.enter_context(Worker(spec, frames, _python_of(name)))
                for name, spec in _specs(material, models, release, threads).items()
            }
            timings = run_interleaved(workers, rounds, len(jpegs))
        runs.append(Run(threads, timings, count_flops(models.fp32), 2 * SGEMM_SIDE**3, neighbours.share()))
    specs = _specs(material, models, release, 2)
    specs.pop(SGEMM)
    _log.info("starts")
    starts: dict[str, list[float]] = {name: [] for name in specs}
    for _ in range(_START_UPS):
        for name, spec in specs.items():
            starts[name].append(start_up_s(spec, frames, _python_of(name)))
    _log.info("swaps")
    swap = measure_swaps([built, build_release(material, models, version=2)], jpegs, work / "swap", 2)
    _log.info("the whole agent, the outbox, the disk")
    entries = [entry for entry, _ in material.of(SplitName.VAL, SplitName.TEST)]
    return Report(
        command="KIZU_PUBLIC_TAGS=<folder> make bench-edge" if public else "make bench-edge",
        material=material.said,
        model=models.said,
        rounds=rounds,
        runs=runs,
        start_s={name: statistics.median(values) for name, values in starts.items()},
        disk_bytes={
            REFERENCE: disk_bytes(_ULTRALYTICS),
            FP32: disk_bytes(edge_packages()),
            OPENVINO: disk_bytes([*edge_packages(), "openvino"]),
        },
        map50=scores,
        held_out=f"{len(entries)} photographs of {len({entry.group for entry in entries})} parts kept apart",
        agent=measure_agent(built, jpegs[0], work / "agent", str(_EDGE_PYTHON), 2),
        swap=swap,
        writes_per_s=writes_per_second(jpegs[0], work / "outbox", with_image=False),
        image_writes_per_s=writes_per_second(jpegs[0], work / "outbox", with_image=True),
    )


def _specs(material: Material, models: Models, release: Path, threads: int) -> dict[str, Spec]:
    size = (material.preprocess.height, material.preprocess.width)
    return {
        REFERENCE: Spec("ultralytics", threads, str(models.dynamic)),
        BEST: Spec("ultralytics", threads, str(models.static), size),
        FP32: Spec("agent", threads, str(release), precision="fp32"),
        INT8: Spec("agent", threads, str(release), precision="int8"),
        OPENVINO: Spec("agent", threads, str(release), precision="int8", backend="openvino"),
        SGEMM: Spec("sgemm", threads),
    }


def _python_of(name: str) -> str:
    """The interpreter of a contender: the device's for (c) and (d). The device's environment has no OpenVINO."""
    return str(_EDGE_PYTHON) if name in (FP32, INT8) else sys.executable


def _write_frames(material: Material, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, (_, data) in enumerate(material.of(SplitName.VAL, SplitName.TEST)):
        (folder / f"{number:04d}.jpg").write_bytes(data)
    return folder


if __name__ == "__main__":
    main()
