"""`make bench-fleet`: campaigns, real update clients, and the fleet page; the tables go into docs/benchmarks.md."""

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
from benchmarks.fleet import clients, clients_table, page
from benchmarks.fleet.kept import note_ended, read_ended
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
    parser.add_argument("--page", type=int, default=10_000, help="devices on the fleet page; 0: none")
    parser.add_argument(
        "--results", type=Path, help="keeps each campaign's end; a run that was stopped goes on from it"
    )
    parser.add_argument("--document", type=Path, default=_ROOT / "docs" / "benchmarks.md")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if given.clients:
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory(prefix="kizu-bench-") as work:
            taken = clients.measure(sorted(given.clients), Path(work))
        _write(
            given.document, clients_table.BEGIN, clients_table.END,
            clients_table.render(taken, {size: clients.listing_s(size) for size in clients.LISTED}, load),
        )  # fmt: skip
    if given.page:
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory(prefix="kizu-bench-") as work:
            shown = page.render(page.measure(given.page, 10, Path(work)), load)
        _write(given.document, page.BEGIN, page.END, shown)
    if given.campaigns:
        _write(given.document, BEGIN, END, _campaigns(given.campaigns, given.devices, given.results))


def _campaigns(campaigns: int, devices: int, results: Path | None) -> str:
    kinds = list(KINDS)
    jobs = [(kinds[number % len(kinds)], number, devices) for number in range(campaigns)]
    known = read_ended(results, devices) if results is not None else {}
    left = [job for job in jobs if job[:2] not in known]
    found = {kind: [known[job[:2]][0] for job in jobs if job[:2] in known and job[0] == kind] for kind in kinds}
    took_s = max((seconds for _, seconds in known.values()), default=0.0)
    began = time.monotonic() - took_s
    with multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
        for done, (kind, number, ended) in enumerate(pool.imap_unordered(one, left), start=len(known) + 1):
            found[kind].append(ended)
            took_s = time.monotonic() - began
            if results is not None:
                note_ended(results, devices, kind, number, ended, took_s)
            if done % 50 == 0:
                _log.info("%d of %d campaigns", done, len(jobs))
    return render([Row(kind, found[kind]) for kind in kinds if found[kind]], devices, took_s)


def _write(document: Path, begin: str, end: str, table: str) -> None:
    write_between(document, begin, end, table)
    sys.stdout.write(table + "\n")


if __name__ == "__main__":
    main()
