"""`make bench-accuracy`: train, score, and write the table into docs/benchmarks.md.

A run takes hours. A run that was interrupted continues where it was.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.accuracy import boards
from benchmarks.accuracy.contenders import TRIED, contenders
from benchmarks.accuracy.splits import part_splits
from benchmarks.accuracy.table import BEGIN, END, Report, render
from benchmarks.accuracy.trials import Trial, log_to_stderr, trial
from benchmarks.document import write_between
from benchmarks.edge.material import BOARDS, TAGS, load_material

_log = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Parse the arguments, train and score, and write the table."""
    parser = argparse.ArgumentParser(description="Score trainings on parts that they never saw.")
    parser.add_argument("--pcb", action="store_true", help="circuit boards (KIZU_PUBLIC_PCB) instead of metal tags")
    parser.add_argument("--data", type=Path, help="folder of photographs")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--tried", nargs="*", help="also what was tried besides; all of it, or by name")
    parser.add_argument("--only", nargs="+", help="contenders by name; the document stays as it is")
    parser.add_argument("--work", type=Path, default=Path(os.environ.get("KIZU_HOME", _ROOT / ".kizu")) / "bench")
    parser.add_argument("--document", type=Path, default=_ROOT / "docs" / "benchmarks.md")
    given = parser.parse_args()
    log_to_stderr()
    variable = "KIZU_PUBLIC_PCB" if given.pcb else "KIZU_PUBLIC_TAGS"
    folder = given.data or (Path(os.environ[variable]) if os.environ.get(variable) else None)
    if folder is None:
        parser.error(f"this is about real photographs; name their folder with {variable}")
    material = load_material(folder, BOARDS if given.pcb else TAGS)
    work = given.work.resolve() / "accuracy"
    work.mkdir(parents=True, exist_ok=True)
    splits = part_splits(material.manifest, material.use_case.split, given.splits, material.use_case.grouping.unit_of)
    choices = boards.TRIED if given.pcb else TRIED
    tried = list(choices) if given.tried == [] else given.tried or []
    try:
        wanted = (boards.contenders if given.pcb else contenders)(material.use_case, tried)
    except ValueError as e:
        parser.error(str(e))
    trials: dict[str, list[Trial]] = {}
    for manifest in splits:
        for name, (_, settings) in wanted.items():
            if given.only and name not in given.only:
                continue
            # Each trial has a process of its own, because a training does not free all of its memory.
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), log_to_stderr) as pool:
                found = pool.submit(
                    trial, material, manifest, settings, work,
                    with_rates=given.pcb, tiles=boards.TILES.get(name) if given.pcb else None,
                ).result()  # fmt: skip
            _log.info("%s, split seed %d: mAP50 %.3f, mAP50-95 %.3f; %s", name, *_numbers(found), found.rates or "")
            trials.setdefault(name, []).append(found)
    if given.only:
        return
    options = " ".join((*(("--pcb",) if given.pcb else ()), *(("--tried", *tried) if tried else ())))
    command = f"{variable}=<folder> make bench-accuracy" + (f" OPTIONS='{options}'" if options else "")
    report = Report(command, material.said, {name: said for name, (said, _) in wanted.items()}, trials)
    begin, end, text = (boards.BEGIN, boards.END, boards.render(report)) if given.pcb else (BEGIN, END, render(report))
    write_between(given.document, begin, end, text)
    sys.stdout.write(text + "\n")


def _numbers(found: Trial) -> tuple[int, float, float]:
    return found.split_seed, found.map50, found.map50_95


if __name__ == "__main__":
    main()
