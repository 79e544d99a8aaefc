"""`make bench-fleet`: run campaigns, and write the table into docs/benchmarks.md."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
from pathlib import Path

from benchmarks.document import write_between
from benchmarks.fleet.campaign import Ended
from benchmarks.fleet.table import BEGIN, END, KINDS, Row, one, render

_log = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Parse the arguments, run the campaigns, and write the table."""
    parser = argparse.ArgumentParser(description="Roll releases out to simulated fleets.")
    parser.add_argument("--campaigns", type=int, default=1000, help="in all, spread over the kinds of releases")
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--document", type=Path, default=_ROOT / "docs" / "benchmarks.md")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    kinds = list(KINDS)
    jobs = [(kinds[number % len(kinds)], number, given.devices) for number in range(given.campaigns)]
    began, found = time.monotonic(), {kind: list[Ended]() for kind in kinds}
    with multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
        for done, (kind, ended) in enumerate(pool.imap_unordered(one, jobs), start=1):
            found[kind].append(ended)
            if done % 50 == 0:
                _log.info("%d of %d campaigns", done, len(jobs))
    table = render([Row(kind, found[kind]) for kind in kinds if found[kind]], given.devices, time.monotonic() - began)
    write_between(given.document, BEGIN, END, table)
    sys.stdout.write(table + "\n")


if __name__ == "__main__":
    main()
