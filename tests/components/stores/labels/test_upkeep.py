"""The label store over time: killed writers, compaction, vacuum, and readings as of a version or a time."""

import multiprocessing
import os
import random
import signal
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from components.dataset.freeze import freeze
from components.settings import Settings
from components.stores.labels import upkeep
from components.stores.labels.store import LabelStore, LabelStoreError, Mark
from components.stores.labels.upkeep import compact, vacuum
from components.stores.labels.versions import label_versions, record_label_version
from tests.components.stores.labels.label_events import event

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def options(s3, installation):
    """A table of its own, so that whole versions can be compared."""
    prefix = f"t{uuid.uuid4().hex[:8]}-"
    client = s3.store("admin")._client
    client.create_bucket(Bucket=f"{prefix}labels")
    return {
        "s3_endpoint": installation.s3_endpoint,
        "access_key_id": installation.access_key_id,
        "secret_access_key": installation.secret_access_key.get_secret_value(),
        "bucket_prefix": prefix,
    }


@pytest.fixture
def labels(options):
    return LabelStore.open(Settings(**options))


def sha(number):
    return f"{number:064x}"


def append_each(options, first, count, batch):
    """Append events as a writer does: in batches, with one commit per batch."""
    labels = LabelStore.open(Settings(**options))
    for start in range(first, first + count, batch):
        labels.append([event("u", str(n), sha256=sha(n)) for n in range(start, min(start + batch, first + count))])


def ids(labels, **more):
    return [e.event_id for e in labels.events(**more)]


def files(s3, options):
    listed = s3.store("admin").list(f"{options['bucket_prefix']}labels", "events/")
    return {i.key.removeprefix("events/") for i in listed if i.key.endswith(".parquet") and "_delta_log" not in i.key}


def test_a_writer_killed_anywhere_leaves_the_table_whole_and_its_rerun_doubles_nothing(options, labels):
    """After ten SIGKILLs at random moments every version of the table is whole, and a last run adds the rest."""
    chance = random.Random(7)
    for _ in range(10):
        writer = SPAWN.Process(target=append_each, args=(options, 0, 60, 3))
        writer.start()
        time.sleep(chance.uniform(0.5, 3.0))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        assert len(ids(labels)) == len(set(ids(labels)))
    append_each(options, 0, 60, 3)
    assert sorted(ids(labels)) == sorted(f"u-{n}" for n in range(60))
    rows = labels.columns(["event_id"]).rows.num_rows
    assert rows == 60, "a writer alone does not even write twice"
    for version in range(labels.version() + 1):
        assert len(ids(labels, version=version)) % 3 == 0, "a batch is there whole or not at all"


def test_writers_at_once_and_a_compaction_lose_and_double_nothing(options, labels):
    """Each event is stored once, although three processes append during compactions, two of them the same events."""
    spans = [(0, 20), (0, 20), (20, 20)]
    writers = [SPAWN.Process(target=append_each, args=(options, first, count, 2)) for first, count in spans]
    for writer in writers:
        writer.start()
    compactions = 0
    while any(writer.is_alive() for writer in writers):
        try:
            compactions += compact(labels).files_removed > 0
        except LabelStoreError:
            time.sleep(0.05)  # no table yet
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert compactions
    assert sorted(ids(labels)) == sorted(f"u-{n}" for n in range(40))
    assert len(labels.latest_approved("u")) == 40


def test_a_view_as_of_a_time_is_that_of_the_version_then(labels):
    """As of a time before the first event nothing is found; between two commits, the earlier one counts."""
    moments = [datetime.now(UTC)]
    for number in range(4):
        time.sleep(0.02)
        labels.append([event("u", str(number), sha256=sha(number))])
        time.sleep(0.02)
        moments.append(datetime.now(UTC))
    first = labels.version_at(moments[1])
    assert [labels.version_at(moment) for moment in moments] == [-1, first, first + 1, first + 2, first + 3]
    assert labels.version_at(datetime.now(UTC) + timedelta(days=1)) == labels.version()
    assert [len(labels.latest_approved("u", version=labels.version_at(moment))) for moment in moments] == [
        0,
        1,
        2,
        3,
        4,
    ]
    with pytest.raises(ValueError, match="zone"):
        labels.version_at(datetime.now())


def test_compaction_changes_no_view_of_any_version(labels):
    """A compaction joins the small files into one and changes no version's events; a second one removes no file."""
    for number in range(6):
        labels.append([event("u", str(number), minutes=number, sha256=sha(number % 4))])
    before = {version: labels.events(version=version) for version in range(labels.version() + 1)}
    done = compact(labels)
    assert (done.files_removed, done.files_added, done.version) == (6, 1, labels.version())
    assert labels.events() == before[done.version - 1]
    assert {version: labels.events(version=version) for version in before} == before
    assert compact(labels).files_removed == 0


def test_rows_since_a_mark_are_those_of_new_files_and_all_after_a_compaction(labels):
    """After a mark only rows of new files are read; all rows are read after a compaction or with an unknown mark."""
    labels.append([event("u", "1"), event("v", "1")])
    mark = labels.mark()
    assert labels.columns(["event_id"], after=mark).rows.num_rows == 0
    labels.append([event("u", "2"), event("v", "2")])
    since = labels.columns(["event_id"], use_case="u", after=mark)
    assert (since.rows["event_id"].to_pylist(), since.whole, since.mark) == (["u-2"], False, labels.mark())
    for strange in (Mark("another", 0), Mark(mark.table_id, 99), Mark()):
        found = labels.columns(["event_id"], use_case="u", after=strange)
        assert (found.whole, found.rows.num_rows) == (True, 2)
    compact(labels)
    found = labels.columns(["event_id"], after=mark)
    assert (found.whole, found.rows.num_rows) == (True, 4)


def test_a_vacuum_keeps_the_versions_of_datasets_and_removes_what_nobody_needs(s3, options, labels):
    """Files of compacted versions and killed writers go; a kept version reads as before, and others raise an error."""
    for number in range(4):
        labels.append([event("u", str(number), sha256=sha(number))])
    first = labels.version() - 3
    compact(labels)
    for number in range(4, 6):
        labels.append([event("u", str(number), sha256=sha(number))])
    compact(labels)
    store, bucket = s3.store("admin"), f"{options['bucket_prefix']}labels"
    store.put(bucket, "events/part-00000-of-a-killed-writer.snappy.parquet", b"half a file")
    kept = labels.events(version=first + 1)
    before = files(s3, options)
    assert vacuum(labels, [first + 1]).files == (), "all of it was in use within the retention"
    assert set(vacuum(labels, [first + 1], dry_run=True).files) == set()
    told = upkeep._vacuum(labels, [first + 1], timedelta(0), True)
    assert files(s3, options) == before
    done = upkeep._vacuum(labels, [first + 1], timedelta(0), False)
    assert set(done.files) == set(told.files)
    assert files(s3, options) == before - set(done.files)
    assert not any("killed-writer" in name for name in files(s3, options))
    assert labels.events(version=first + 1) == kept
    assert len(labels.events()) == 6
    with pytest.raises(LabelStoreError, match="no longer whole"):
        labels.events(version=first + 3)
    assert labels.version_at(datetime.now(UTC)) == labels.version(), "the log is there for good"


def test_a_vacuum_refuses_what_would_harm(labels):
    """A vacuum is refused without a table, with a retention that harms writers at work, and for an unknown version."""
    with pytest.raises(LabelStoreError, match="no table yet"):
        vacuum(labels, [])
    labels.append([event("u", "1")])
    with pytest.raises(ValueError, match="at least 1:00:00"):
        vacuum(labels, [], retention=timedelta(minutes=1))
    with pytest.raises(LabelStoreError, match="cannot open"):
        vacuum(labels, [99])


def test_a_dataset_names_the_version_that_it_was_made_from(store, installation):
    """The label version of a dataset is recorded beside its manifest, and versions of another table are not listed."""
    from tests.components.dataset.approved_labels import USE_CASE
    from tests.components.dataset.approved_labels import event as labelled

    labels, bucket = LabelStore.open(installation), installation.bucket("datasets")
    labels.append([labelled(number) for number in range(40)])
    frozen = freeze(installation, USE_CASE)
    mark = labels.mark()
    assert frozen.label_version in label_versions(store, bucket, mark.table_id)
    record_label_version(store, bucket, "u", frozen.digest, Mark("another", 3))
    assert 3 not in label_versions(store, bucket, f"{mark.table_id}x")
    assert label_versions(store, bucket, "another") == [3]


def test_the_log_is_kept_for_good(labels):
    """The table is set to keep its log for 36500 days, so that no checkpoint removes old versions."""
    labels.append([event("u", "1")])
    assert labels.table().metadata().configuration["delta.logRetentionDuration"] == "interval 36500 days"
