"""The benchmark of the scans measures what it says, at sizes small enough for a test."""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

import pytest

from benchmarks.document import write_between
from benchmarks.labels.__main__ import measure
from benchmarks.labels.comparison import compare
from benchmarks.labels.listing import PAGE, PagedListing
from benchmarks.labels.material import approved_of, label_events, make_factory
from benchmarks.labels.scans import Size
from benchmarks.labels.table import BEGIN, END, goals, render
from components.stores.labels.store import LabelStatus

FACTORY = make_factory(20_000)
KEYS = sorted(name for key in FACTORY.image_keys() for name in (key, FACTORY.capture_of(key)))


def all_pages(**asked):
    listing, token = PagedListing(FACTORY), None
    while True:
        page = listing.list_page("raw", token=token, **(asked if token is None else {"prefix": asked["prefix"]}))
        assert len(page.keys) <= PAGE
        yield from page.keys
        token = page.token
        if token is None:
            return


@pytest.mark.parametrize("prefix", ["", "plant1/", "plant2/line03/", "plant1/line01/2025/07/", "plant3/"])
def test_the_stand_in_lists_as_s3_does(prefix):
    """The stand-in lists every key below a prefix once and in order, also from a day on, and folders by delimiter."""
    below = [key for key in KEYS if key.startswith(prefix)]
    assert list(all_pages(prefix=prefix)) == below
    for day in ("2025/01/01", "2025/07/01", "2026/05/31", "2026/06/01"):
        after = f"{prefix}{day}/"
        assert list(all_pages(prefix=prefix, start_after=after)) == below[bisect_right(below, after) :]
    folders = {key[: key.index("/", len(prefix)) + 1] for key in below}
    assert PagedListing(FACTORY).list_page("raw", prefix=prefix, delimiter="/").prefixes == sorted(folders)


def test_events_are_of_the_factory_s_images_and_go_on_where_they_stopped():
    """Each image has two events; as many are approved as `approved_of` says; a later batch continues the numbering."""
    keys = set(FACTORY.image_keys())
    events = [*label_events(FACTORY, 400), *label_events(FACTORY, 200, first=200)]
    assert len({event.event_id for event in events}) == 600
    assert len({event.sha256 for event in events}) == 300
    assert all(event.image_uri.removeprefix("s3://kizu-raw/") in keys for event in events)
    assert sum(event.status is LabelStatus.APPROVED for event in events) == approved_of(600)


def test_both_ways_find_the_same_images():
    """Both ways find every image without an approved label; otherwise the benchmark would end with an error."""
    found = compare(500)
    assert found.found == 500 - approved_of(500)
    assert found.reference_s > 0
    assert found.ours_s > 0


def test_a_small_run_measures_looks_that_find_what_there_is(tmp_path):
    """A small run uses a server of its own and leaves no file behind; its tables show every goal."""
    sizes = [Size(1000, 1000, 40, real=False), Size(60, 60, 20, real=True)]
    report = measure(sizes, [100, 200], tmp_path, "make bench-labels")
    served, real = report.sizes
    assert [look.full for look in (served.first, served.new, served.full)] == [True, False, True]
    assert (served.new.rows, real.new.rows) == (40, 20)
    assert served.full.keys == 2 * 1040
    assert real.full.keys == 2 * 80
    assert served.first.resident_bytes > 50_000_000
    assert (served.events.first_rows, served.events.later_rows) == (1040, 40)
    assert served.events.resident_bytes > 50_000_000
    reopen, page, imported, exported = served.commands
    assert reopen.found <= 3
    assert page.found == approved_of(1080)
    assert imported.found == exported.found == 1080
    said = render(report)
    assert all(command.command in said for command in served.commands)
    assert all(goal.said in said for goal in goals(report))
    assert list(tmp_path.iterdir()) == []


def test_the_document_has_the_marks_that_the_tables_go_between(tmp_path):
    """A run replaces the text that the last run wrote between the marks; without the marks it raises an error."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert 0 < text.index(BEGIN) < text.index(END)
    document = tmp_path / "benchmarks.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    write_between(document, BEGIN, END, "new")
    assert document.read_text(encoding="utf-8") == f"before\n{BEGIN}\n\nnew\n{END}\nafter\n"
    document.write_text("nothing", encoding="utf-8")
    with pytest.raises(ValueError, match="expected the lines"):
        write_between(document, BEGIN, END, "new")
