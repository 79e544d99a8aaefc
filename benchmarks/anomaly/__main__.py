"""`make bench-anomaly`: learn from good parts alone, score, and write the table into docs/benchmarks.md."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.anomaly.material import Material, boards, tags
from benchmarks.anomaly.table import BEGIN, END, render
from benchmarks.anomaly.trials import Trial, trial
from benchmarks.apart import apart
from benchmarks.document import write_between

_log = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Parse the arguments, learn and score, and write the table."""
    parser = argparse.ArgumentParser(description="Tell good and defective parts apart, learned from good parts alone.")
    public = os.environ.get("KIZU_PUBLIC_PCB")
    parser.add_argument(
        "--boards", type=Path, default=Path(public) if public else None, help="folder of circuit boards"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--document", type=Path, default=_ROOT / "docs" / "benchmarks.md")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    found: list[Trial] = []
    for seed in given.seeds:
        for material in _materials(seed, given.boards):
            result = apart(trial, material, seed)
            _log.info("%s", result)
            found.append(result)
    command = ("KIZU_PUBLIC_PCB=<folder> " if given.boards else "") + "make bench-anomaly"
    content = render(command, found)
    write_between(given.document, BEGIN, END, content)
    sys.stdout.write(content + "\n")


def _materials(seed: int, folder: Path | None) -> Iterator[Material]:
    for learned in (10, 30):
        yield tags(seed, learned)
    if folder is None:
        _log.warning("the circuit boards are left out; name their folder with KIZU_PUBLIC_PCB")
    else:
        yield boards(folder, seed)


if __name__ == "__main__":
    main()
