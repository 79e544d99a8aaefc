"""`make bench-reconcile`: measure passes of the reconciler, and write the table into docs/benchmarks.md."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.apart import apart
from benchmarks.document import write_between
from benchmarks.reconcile.passes import Passes, measure, serve

BEGIN: Final = "<!-- bench-reconcile: written by make bench-reconcile; edit nothing below -->"
END: Final = "<!-- bench-reconcile: end -->"
_ROOT: Final = Path(__file__).resolve().parents[2]
_CORES: Final = 2


def main() -> None:
    """Parse the arguments, measure, and write the table."""
    parser = argparse.ArgumentParser(description="Measure passes of the reconciler.")
    parser.add_argument("--products", type=int, default=10)
    parser.add_argument("--versions", type=int, default=10_000)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--changed", type=int, default=500, help="devices that report between two passes")
    parser.add_argument("--document", type=Path, default=_ROOT / "docs" / "benchmarks.md")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:_CORES])  # child processes inherit this
    here, there = multiprocessing.get_context("spawn").Pipe()
    serving = multiprocessing.get_context("spawn").Process(
        target=serve, args=(there, given.products, given.versions, given.devices, given.changed), daemon=True
    )
    serving.start()
    try:
        if not here.poll(120):
            raise RuntimeError("expected the fakes to start within two minutes, but they did not")
        url = here.recv()
        found = apart(measure, url, given.products)
    finally:
        here.send("end")
        serving.join(10)
        serving.kill()
    text = _table(found, given, load)
    write_between(given.document, BEGIN, END, text)
    sys.stdout.write(text + "\n")


def _table(found: Passes, given: argparse.Namespace, load: float) -> str:
    quiet = sorted(found.quiet)[len(found.quiet) // 2]
    rows = [
        ("the first pass of a process: every report is read", found.first, found.first_requests),
        ("a pass in which nothing changed (median)", quiet, found.quiet_requests),
        (f"a pass after {given.changed} devices reported", found.changed, found.changed_requests),
    ]
    lines = "\n".join(
        f"| {what} | {took:.2f} s | {worked:.2f} s | {_requests(requests)} |" for what, (took, worked), requests in rows
    )
    return (
        f"`make bench-reconcile` on {datetime.now(UTC):%Y-%m-%d}; {_CORES} cores, shared with the servers that are "
        f"measured against. Load of the machine before: {load:.1f} (other programs).\n"
        f"{given.products} use cases, {given.versions:,} versions, {given.devices:,} devices. "
        f"Highest resident memory of the reconciler: {found.memory_mb:.0f} MB.\n\n"
        f"| | Time | Processor time of the reconciler | Requests |\n|---|---:|---:|---|\n{lines}\n"
    )


def _requests(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} to {name}" for name, count in counts.items() if count)


if __name__ == "__main__":
    main()
