"""`make bench-fleet`: run campaigns and real update clients, and write both tables into docs/benchmarks.md."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.document import write_between
from benchmarks.fleet import clients, clients_table
from benchmarks.fleet.campaign import Ended
from benchmarks.fleet.table import BEGIN, END, KINDS, Row, one, render

_log = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Parse the arguments, run the campaigns and the clients, and write the tables."""
    parser = argparse.ArgumentParser(description="Roll releases out to simulated fleets, and to real update clients.")
    parser.add_argument("--campaigns", type=int, default=1000, help="in all, over the kinds of releases; 0: none")
    parser.add_argument("--devices", type=int, default=200, help="of each campaign")
    parser.add_argument(
        "--clients",
        type=int,
        nargs="*",
        default=list(clients.SIZES),
        help="sizes of fleets of real clients; or none",
    )
    parser.add_argument("--document", type=Path, default=_ROOT / "docs" / "benchmarks.md")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if given.clients:
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory(prefix="kizu-bench-") as work:
            taken = clients.measure(sorted(given.clients), Path(work))
        _write(
            given.document, clients_table.BEGIN, clients_table.END,
            clients_table.render(taken, {size: clients.listing_s(size) for size in clients.LISTED}, load),
        )  # fmt: skip
    if given.campaigns:
        _write(given.document, BEGIN, END, _campaigns(given.campaigns, given.devices))


def _campaigns(campaigns: int, devices: int) -> str:
    kinds = list(KINDS)
    jobs = [(kinds[number % len(kinds)], number, devices) for number in range(campaigns)]
    began, found = time.monotonic(), {kind: list[Ended]() for kind in kinds}
    with multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
        for done, (kind, ended) in enumerate(pool.imap_unordered(one, jobs), start=1):
            found[kind].append(ended)
            if done % 50 == 0:
                _log.info("%d of %d campaigns", done, len(jobs))
    return render([Row(kind, found[kind]) for kind in kinds if found[kind]], devices, time.monotonic() - began)


def _write(document: Path, begin: str, end: str, table: str) -> None:
    write_between(document, begin, end, table)
    sys.stdout.write(table + "\n")


if __name__ == "__main__":
    main()
