"""The benchmark of fetching and training measures what it says, at sizes small enough for a test."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from benchmarks.training.__main__ import command_of
from benchmarks.training.delay_proxy import Traffic, delayed
from benchmarks.training.downloads import FIRST, GETS, SAMPLE, SECOND, Fetched, Stored, fill, measure
from benchmarks.training.table import BEGIN, END, Report, goals, render
from benchmarks.training.walls import OURS, PLAIN, SHIPPED, Run, Trained, Trainings, some_of
from components.stores.datasets.manifest import SplitName
from components.stores.objects.s3 import S3ObjectStore
from components.use_case import TrainingSettings
from tests.components.training.generated_dataset import generated_line

SETTINGS = TrainingSettings(width_multiple=0.0625, image_width=64, image_height=64, epochs=1, batch=4)

NOTHING = Traffic()


def settings(s3):
    return s3.settings("admin").model_copy(update={"bucket_prefix": f"b{uuid.uuid4().hex[:8]}-"})


def test_all_ways_bring_the_same_images_and_the_second_fetch_asks_for_nothing(s3, tmp_path):
    """On a real store behind a proxy, our first fetch sends one request per image, and our second fetch sends none."""
    own = settings(s3)
    stored = fill(own, [b"photograph", b"another one"], 12)
    assert len(stored.uris) == 12
    found = measure(own, stored, 1.0, 1, tmp_path)
    assert {way: len(seconds) for way, seconds in found.seconds.items()} == {SAMPLE: 1, GETS: 1, FIRST: 1, SECOND: 1}
    assert found.first.requests == 12
    assert found.first.received_bytes > stored.size_bytes
    assert found.second == Traffic(0, 0, 0)
    # Two requests an image and one after the other, a round trip of a millisecond each.
    assert found.seconds[SAMPLE][0] > 0.024
    assert list(tmp_path.iterdir()) == []


def test_images_that_did_not_arrive_end_the_benchmark(s3, tmp_path):
    """The benchmark ends with an error where an image is missing on the disk, and reports no time for a part."""
    own = settings(s3)
    stored = fill(own, [b"photograph"], 2)
    more = Stored({**stored.uris, "ab" * 32: next(iter(stored.uris.values()))}, stored.size_bytes)
    with pytest.raises(RuntimeError, match="expected 3 images on the disk, but found 2 files"):
        measure(own, more, None, 1, tmp_path)


def test_a_proxy_waits_a_round_trip_and_counts(s3):
    """At 100 ms, a handshake and an answer take two round trips or more, and the next answer takes one or more."""
    from time import monotonic

    own = settings(s3)
    store = S3ObjectStore.from_settings(own)
    with delayed(own.s3_endpoint, 100) as proxy:
        away = S3ObjectStore.from_settings(own.model_copy(update={"s3_endpoint": proxy.url}))
        began = monotonic()
        assert not away.exists("kizu-raw", "nothing")
        assert monotonic() - began >= 0.2
        began = monotonic()
        assert not away.exists("kizu-raw", "nothing")
        assert monotonic() - began >= 0.1
        assert proxy.traffic().requests == 2
    assert not store.exists("kizu-raw", "nothing")


def test_plain_training_has_our_arguments_and_both_say_when_they_were_done(tmp_path):
    """Ultralytics' own record of both runs differs in nothing but where the results went."""
    line = generated_line(train=4, val=2)
    trainings = Trainings(line.manifest, line.fetch, SETTINGS, tmp_path, {"MLFLOW_TRACKING_URI": ""})
    ours, plain = trainings.ours(1), trainings.plain()
    assert (ours.threads, plain.export_s) == (1, 0.0)
    assert plain.threads >= 1
    assert all(0 < run.loaded_s < run.trained_s for run in (ours, plain))
    assert ours.export_s > 0
    recorded = [
        yaml.safe_load(file.read_text())
        for file in (tmp_path / OURS / "ultralytics" / "args.yaml", tmp_path / PLAIN / "ultralytics" / "args.yaml")
    ]
    assert {name for name in recorded[0] if recorded[0][name] != recorded[1][name]} == {"project", "save_dir"}
    assert recorded[0]["epochs"] == 1


def test_images_with_a_defect_are_trained_on_first():
    """Images with a defect are taken first: as many as asked for training, a quarter for validation, none for test."""
    manifest = generated_line(train=6, val=2, test=1).manifest
    mixed = replace(
        manifest, images=tuple(replace(i, boxes=i.boxes if n % 2 else ()) for n, i in enumerate(manifest.images))
    )
    defective = sum(1 for image in mixed.of(SplitName.TRAIN) if image.boxes)
    some = some_of(mixed, 4)
    assert [len(some.of(split)) for split in (SplitName.TRAIN, SplitName.VAL, SplitName.TEST)] == [4, 1, 0]
    assert sum(1 for image in some.of(SplitName.TRAIN) if image.boxes) == min(4, defective)


def report(*, sample=50.0, ours=10.0, second=NOTHING, plain=100.0, trained=104.0):
    near = Fetched(None, {SAMPLE: [sample, 1, 99], GETS: [20], FIRST: [ours, 1, 99], SECOND: [0.5]}, None, None)
    far = Fetched(5.0, {SAMPLE: [80], GETS: [40], FIRST: [8], SECOND: [0.25]}, Traffic(12, 1, 5_000_000), second)
    runs = {
        PLAIN: [Run(2.0, plain, 0, 1)] * 3,
        OURS: [Run(3.0, value, 4.0, 1) for value in (trained, 1.0, 999.0)],
        SHIPPED: [Run(3.0, 60.0, 4.0, 2)],
    }
    stored = Stored({"a": "s3://raw/a"}, 12_300_000)
    return Report(
        "make bench-training", "20 photographs", stored, [near, far], Trained(runs, 96, SETTINGS), (0.25, 0.5)
    )


def test_goals_are_judged_on_medians_of_what_was_measured():
    """The goals take medians: 50 s against 10 s is 5 x, and 104 s against 100 s is 4 % more."""
    assert [(goal.said, goal.verdict) for goal in goals(report())] == [
        ("5.0 ×", "met"),
        ("10.0 ×", "met"),
        ("0 requests, 0 bytes", "met"),
        ("+4.0%", "met"),
    ]
    missed = report(sample=49.0, second=Traffic(1, 2, 3), trained=106.0)
    assert [(goal.said, goal.verdict) for goal in goals(missed)] == [
        ("4.9 ×", "**missed**"),
        ("10.0 ×", "met"),
        ("1 requests, 5 bytes", "**missed**"),
        ("+6.0%", "**missed**"),
    ]


def test_the_table_says_what_was_measured_and_each_goal():
    """The table has a row for each distance to the store, for each contender, and for each goal."""
    found = report()
    said = render(found)
    assert "| the store on this machine, loopback | 50.00 s | 20.00 s | 10.00 s | 5.0 × | 2.0 × | 0.50 s |" in said
    assert "| behind a round trip of 5 ms | 80.00 s | 40.00 s | 8.00 s | 10.0 × | 5.0 × | 0.25 s |" in said
    assert "| ours, with as many threads | 1 | 104.0 s | 1.0 … 999.0 s | +4.0% | 3.0 s |" in said
    assert "| ours as it is shipped, with all cores | 2 | 60.0 s | 60.0 … 60.0 s | -40.0% | 3.0 s |" in said
    assert all(f"| {goal.what} | {goal.said} | {goal.verdict} |" in said for goal in goals(found))


def test_the_command_can_be_given_again_and_the_document_has_its_marks():
    """The recorded command names no path of this machine, and the document has both marks in order."""
    assert command_of([], public=False) == "make bench-training"
    assert command_of(["--images", "9"], public=True) == (
        "KIZU_PUBLIC_TAGS=<folder> make bench-training OPTIONS='--images 9'"
    )
    text = (Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert 0 < text.index(BEGIN) < text.index(END)
