"""`make bench-labels`: measure, and write the tables into docs/benchmarks.md."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.apart import apart
from benchmarks.document import write_between
from benchmarks.edge.neighbours import Neighbours
from benchmarks.labels.comparison import compare
from benchmarks.labels.material import approved_of
from benchmarks.labels.readings import COMMANDS, read_events, read_for_command
from benchmarks.labels.scans import Scan, Size, add_new, compact_table, fill, full_page_s, scan
from benchmarks.labels.table import BEGIN, END, Measured, Report, render
from benchmarks.server import object_store
from components.settings import Settings

_log = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parents[2]
_CORES = 2  # the goals are stated for two cores


def main() -> None:
    """Parse the arguments, measure, and write the tables."""
    parser = argparse.ArgumentParser(description="Measure how images without an approved label are found.")
    parser.add_argument(
        "--images", type=int, default=1_000_000, help="with as many label events; the listing is served"
    )
    parser.add_argument("--real", type=int, default=50_000, help="images of the size at which everything is real")
    parser.add_argument("--new", type=int, default=1_000, help="images and events between two scans")
    parser.add_argument(
        "--reference", type=int, nargs="+", default=[5_000, 10_000, 20_000], help="beside the sample's way"
    )
    parser.add_argument("--work", type=Path, default=Path(os.environ.get("KIZU_HOME", _ROOT / ".kizu")) / "bench")
    parser.add_argument("--document", type=Path, default=_ROOT / "docs" / "benchmarks.md")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:_CORES])  # child processes inherit this
    sizes = [
        Size(given.images, given.images, given.new, real=False),
        Size(given.real, given.real, given.new, real=True),
    ]
    report = measure(sizes, given.reference, given.work, command_of(sys.argv[1:]))
    write_between(given.document, BEGIN, END, render(report))
    sys.stdout.write(render(report) + "\n")


def command_of(arguments: Sequence[str]) -> str:
    """The command that repeats this run."""
    options = " ".join(arguments)
    return f"make bench-labels OPTIONS='{options}'" if options else "make bench-labels"


def measure(sizes: Sequence[Size], reference: Sequence[int], work: Path, command: str) -> Report:
    """Measure everything, on a server that is removed afterwards."""
    neighbours = Neighbours()
    measured = []
    with object_store(work) as server:
        for size in sizes:
            _log.info("%d images and %d events are made", size.images, size.events)
            measured.append(_measure(server.model_copy(update={"bucket_prefix": size.prefix}), size))
    compared = []
    for images in reference:
        _log.info("beside the reference sample's way: %d images", images)
        compared.append(apart(compare, images))
    return Report(command, measured, compared, neighbours.share())


def _measure(settings: Settings, size: Size) -> Measured:
    append_s = apart(fill, settings, size)
    first = _scan(settings, size, with_new=False)
    apart(add_new, settings, size)
    new = _scan(settings, size, with_new=True)
    apart(compact_table, settings)
    compacted = _scan(settings, size, with_new=True)
    full = _scan(settings, size, with_new=True, full=True)
    events = apart(read_events, settings, size, size.events + size.new)
    _log.info("%s", events)
    commands = [apart(read_for_command, settings, size, command) for command in COMMANDS]
    _log.info("%s", commands)
    page_s = apart(full_page_s, settings) if size.real else None
    return Measured(size, append_s, first, new, compacted, full, events, commands, page_s)


def _scan(settings: Settings, size: Size, *, with_new: bool, full: bool = False) -> Scan:
    """Run one scan, and check that it found every image without an approved label.

    Raises:
        RuntimeError: the scan found another number of images.
    """
    found = apart(scan, settings, size, with_new, full)
    _log.info("%s", found)
    new = size.new if with_new else 0
    expected = size.images + new - approved_of(size.events + new)
    if found.found != expected:
        raise RuntimeError(f"expected {expected} images without an approved label, but the scan found {found.found}")
    return found


if __name__ == "__main__":
    main()
