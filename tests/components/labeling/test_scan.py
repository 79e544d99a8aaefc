"""An incremental scan finds what a full scan finds, whatever became of its memory.

The listing is a fake at its port, which says what was listed; memory and label store are real.
"""

import dataclasses
import random
import uuid
from bisect import bisect_right
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from components.labeling.candidates import find_candidates, memories
from components.labeling.known_images import images_memory, scan_images
from components.labeling.known_labels import labels_memory, scan_labels
from components.labeling.scan_memory import MAX_SEGMENTS, ScanDocument, ScanMemory
from components.stores.labels.store import LabelEvent, LabelStatus, LabelStore
from components.stores.labels.upkeep import compact
from components.stores.objects.list_page import ListPage
from components.stores.raw_images.columns import IMAGES, keys_of, parse_image_keys
from components.stores.raw_images.images import RawImages, capture_id_for
from components.stores.raw_images.listing import RawListing
from inspection.documents import Capture, Reason
from inspection.image import sha256_of
from inspection.paths import raw_image_key
from tests.components.stores.raw_images.photographs import jpeg

NOW = datetime(2026, 5, 20, 8, tzinfo=UTC)
WEEK = timedelta(days=7)


class Bucket:
    """Keys in pages of two, as S3 has them in pages of a thousand; `listed`: what was asked for and given."""

    def __init__(self, *keys):
        self.keys = set(keys)
        self.listed = []

    def list_page(self, bucket, *, prefix="", delimiter="", start_after="", token=None):
        after = token or start_after
        below = sorted(key for key in self.keys if key.startswith(prefix))
        if delimiter:
            cut = {key[: key.index("/", len(prefix)) + 1] for key in below if "/" in key[len(prefix) :]}
            return ListPage([], sorted(cut), None)
        rest = below[bisect_right(below, after) :] if after else below
        self.listed += rest[:2]
        return ListPage(rest[:2], (), rest[1] if len(rest) > 2 else None)


def key(name, *, days_ago=0, device="line-1", site="nagoya"):
    return raw_image_key(site, device, NOW - timedelta(days=days_ago), sha256_of(str(name).encode()), "jpg")


@pytest.fixture
def memory(store, installation):
    """A memory of images that no other test has."""
    return ScanMemory(store, installation.bucket("state"), f"images-{uuid.uuid4().hex}", ScanDocument, IMAGES)


def scan(bucket, memory, now=NOW, **more):
    return scan_images(RawListing(bucket, "raw", threads=2), memory, now, **more)


def found(images):
    return set(keys_of(images.rows).to_pylist())


def test_the_second_scan_lists_only_the_days_from_which_a_device_may_still_send(memory):
    """The scan finds an image that a device kept for 29 days, and lists nothing older again."""
    old, recent = key("old", days_ago=60), key("recent", days_ago=3)
    bucket = Bucket(old, recent)
    assert scan(bucket, memory).full
    late, new = key("late", days_ago=29), key("new")
    bucket.keys |= {late, new}
    bucket.listed.clear()
    second = scan(bucket, memory, NOW + timedelta(hours=1))
    assert (second.full, second.fresh, found(second)) == (False, 2, {old, recent, late, new})
    assert sorted(bucket.listed) == sorted([late, recent, new])
    assert scan(bucket, memory, NOW + timedelta(hours=2)).fresh == 0


def test_new_devices_and_importers_are_listed_whole(memory):
    """Old images of a device or site that no scan has seen, and of importers, whose days are those of their files."""
    bucket = Bucket(key("a"), key("i", device="import-old"))
    scan(bucket, memory)
    more = {
        key("b", days_ago=400, device="line-2"),
        key("c", days_ago=400, site="oita"),
        key("d", days_ago=4000, device="import-old"),
    }
    bucket.keys |= more
    assert found(scan(bucket, memory)) == bucket.keys


def test_what_an_incremental_scan_cannot_see_a_full_one_finds_on_demand_and_every_week(memory):
    """Such as the images of a device whose clock is a year behind."""
    bucket = Bucket(key("a"))
    scan(bucket, memory)
    bucket.keys.add(key("behind", days_ago=365))
    assert found(scan(bucket, memory, NOW + timedelta(days=6))) == {key("a")}
    assert found(scan(bucket, memory, NOW + timedelta(days=6), full=True)) == bucket.keys
    bucket.keys.add(key("behind again", days_ago=365))
    assert not scan(bucket, memory, NOW + timedelta(days=12)).full
    weekly = scan(bucket, memory, NOW + timedelta(days=13))
    assert (weekly.full, found(weekly)) == (True, bucket.keys)


def test_a_clock_that_was_ahead_hides_nothing_for_long(memory):
    """After a scan whose clock was a year ahead, the next scan is a full one."""
    bucket = Bucket(key("a"))
    scan(bucket, memory, NOW + timedelta(days=400))
    bucket.keys.add(key("b"))
    again = scan(bucket, memory)
    assert (again.full, found(again)) == (True, bucket.keys)
    assert not scan(bucket, memory).full


def _damage(how, memory, store, bucket):
    segments = [info.key for info in store.list(bucket, memory._prefix) if info.key.endswith(".parquet")]
    if how == "document lost":
        store.delete(bucket, memory._document_key)
    elif how == "document cut short":
        store.put(bucket, memory._document_key, store.get(bucket, memory._document_key)[:40])
    elif how == "document of another form":
        store.put(bucket, memory._document_key, b'{"schema_version":1,"looked_at":"today"}')
    elif how == "segment lost":
        store.delete(bucket, segments[-1])
    elif how == "segment changed":
        data = bytearray(store.get(bucket, segments[0]))
        data[len(data) // 2] ^= 1
        store.put(bucket, segments[0], bytes(data))
    elif how == "killed before the document":
        memory.save(parse_image_keys([key("never seen by anybody")]))
    else:
        raise AssertionError(how)


@pytest.mark.parametrize(
    ("how", "full"),
    [
        ("document lost", True),
        ("document cut short", True),
        ("document of another form", True),
        ("segment lost", True),
        ("segment changed", True),
        ("killed before the document", False),
    ],
)
def test_a_lost_or_damaged_memory_is_a_full_scan_and_never_a_wrong_answer(memory, store, installation, how, full):
    """A lost or damaged memory never changes the answer; the scan after the repair is incremental again."""
    bucket = Bucket(key("a"), key("b", days_ago=200))
    scan(bucket, memory)
    bucket.keys |= {key("c"), key("d")}
    scan(bucket, memory)
    _damage(how, memory, store, installation.bucket("state"))
    bucket.keys.add(key("e"))
    after = scan(bucket, memory)
    assert (after.full, found(after)) == (full, bucket.keys)
    after = scan(bucket, memory)
    assert (after.full, found(after)) == (False, bucket.keys)


def test_of_two_scans_at_once_both_see_everything_and_the_memory_stays_whole(memory):
    """Each reads before the other writes; the second one writes nothing, and the next scan misses nothing."""
    bucket = Bucket(key("a"))
    scan(bucket, memory)
    bucket.keys.add(key("b"))

    class Meanwhile:
        """The other run's whole scan happens while this one lists."""

        done = False

        def list_page(self, name, **more):
            if not self.done:
                self.done = True
                bucket.keys.add(key("c"))
                assert found(scan(bucket, memory, NOW + timedelta(hours=2))) == bucket.keys
            return bucket.list_page(name, **more)

    assert found(scan(Meanwhile(), memory, NOW + timedelta(hours=1))) == bucket.keys
    kept = memory.read().memory
    assert kept.document.looked_at == NOW + timedelta(hours=2)
    assert set(keys_of(kept.rows).to_pylist()) == bucket.keys


def test_a_memory_stays_few_segments_and_unused_ones_go_after_a_day(store, installation):
    """A scan that still reads old segments is not disturbed."""
    days = [0.0]
    memory = ScanMemory(
        store, installation.bucket("state"), f"images-{uuid.uuid4().hex}", ScanDocument, IMAGES,
        clock=lambda: datetime.now(UTC) + timedelta(days=days[0]),
    )  # fmt: skip

    def segments():
        return [i for i in store.list(installation.bucket("state"), memory._prefix) if i.key.endswith(".parquet")]

    bucket = Bucket(key("a"))
    scan(bucket, memory)
    for number in range(MAX_SEGMENTS):
        bucket.keys.add(key(number))
        scan(bucket, memory)
    assert len(memory.read().memory.document.segments) == 1
    assert len(segments()) == MAX_SEGMENTS + 1
    days[0] = 1.5
    scan(bucket, memory, full=True)
    bucket.keys.add(key("z"))
    assert found(scan(bucket, memory)) == bucket.keys
    assert len(segments()) <= 3


@pytest.fixture
def labels(installation):
    return LabelStore.open(installation)


def event(use_case, name, image, status, minutes=0):
    return LabelEvent(
        event_id=f"{use_case}-{name}", use_case=use_case, image_uri="s3://kizu-raw/x.jpg",
        sha256=sha256_of(str(image).encode()), width=64, height=48, boxes=(), status=status,
        at=NOW + timedelta(minutes=minutes), group="p", source="test", task="7",
    )  # fmt: skip


@pytest.fixture
def use_case():
    return f"u{uuid.uuid4().hex[:8]}"


def approved(stand):
    return set(stand.approved.to_pylist())


def names(*images):
    return {sha256_of(str(image).encode()) for image in images}


def test_a_scan_of_labels_reads_only_rows_that_are_new(store, installation, labels, use_case):
    """An approval that arrives late but is older than a deletion stays undone, though it is read after it."""
    memory = labels_memory(store, installation.bucket("state"), use_case)
    labels.append([event(use_case, "1", "a", LabelStatus.APPROVED), event(use_case, "2", "b", LabelStatus.LABELLED)])
    first = scan_labels(labels, use_case, memory, NOW)
    assert (first.full, approved(first), set(first.waiting.to_pylist())) == (True, names("a"), names("b"))
    labels.append([event(use_case, "3", "b", LabelStatus.DELETED, 9)])
    labels.append([event(use_case, "4", "b", LabelStatus.APPROVED, 5), event(use_case, "5", "c", LabelStatus.APPROVED)])
    second = scan_labels(labels, use_case, memory, NOW)
    assert (second.full, second.fresh, approved(second)) == (False, 3, names("a", "c"))
    assert second.waiting.to_pylist() == []
    assert scan_labels(labels, use_case, memory, NOW).fresh == 0


def test_after_a_compaction_all_labels_are_read_once(store, installation, labels, use_case):
    """The files are new, but their rows are not: the result of the scan stays the same."""
    memory = labels_memory(store, installation.bucket("state"), use_case)
    labels.append([event(use_case, "1", "a", LabelStatus.APPROVED)])
    labels.append([event(use_case, "2", "b", LabelStatus.APPROVED)])
    before = scan_labels(labels, use_case, memory, NOW)
    compact(labels)
    after = scan_labels(labels, use_case, memory, NOW)
    assert (after.full, approved(after)) == (True, approved(before))
    assert not scan_labels(labels, use_case, memory, NOW).full


def test_incremental_scans_say_what_full_scans_say_over_a_long_history(store, installation, labels, use_case):
    """Images come late, labels in any order and twice, a compaction between: seeded, so that a failure comes again."""
    chance = random.Random(4)
    bucket = Bucket(key("first"))
    images = ScanMemory(store, installation.bucket("state"), f"images-{use_case}", ScanDocument, IMAGES)
    stands = labels_memory(store, installation.bucket("state"), use_case)
    numbers = list(range(40))
    for step in range(16):
        now = NOW + timedelta(days=step / 4)
        for _ in range(chance.randrange(4)):
            late = chance.randrange(30) - step / 4
            bucket.keys.add(key(chance.choice(numbers), days_ago=late, device=f"line-{chance.randrange(3)}"))
        for _ in range(chance.randrange(3)):
            status = chance.choice(list(LabelStatus))
            number, image, minute = chance.randrange(200), chance.choice(numbers), chance.randrange(60)
            labels.append([event(use_case, number, image, status, minute)])
        if step == 7:
            compact(labels)
        seen, everything = scan(bucket, images, now), scan(bucket, None, now)
        assert found(seen) == found(everything) == bucket.keys
        stand, whole = scan_labels(labels, use_case, stands, now), scan_labels(labels, use_case, None, now)
        assert approved(stand) == approved(whole) == set(labels.latest_approved(use_case))
        assert set(stand.waiting.to_pylist()) == set(whole.waiting.to_pylist())


def test_candidates_are_each_image_once_unseen_first_newest_day_first(store, installation, labels, use_case):
    """On the real raw bucket, the same bytes from two devices are one candidate, with the captures of both."""
    raw = RawImages(store, installation.bucket("raw"))
    names_of, device = {}, f"c{use_case}"
    for name, day in (
        ("old", 1),
        ("twice", 2),
        ("twice", 5),
        ("waits", 6),
        ("approved", 7),
        ("new", 4),
        ("imported", 3),
    ):
        data = jpeg(int.from_bytes(f"{use_case}{name}".encode(), "big") % 2**32)
        at = datetime(2026, 4, day, tzinfo=UTC)
        sender = f"{device}-{day % 2}"
        capture = Capture(
            capture_id=capture_id_for(sha256_of(data), name, at), sha256=sha256_of(data), device=sender, camera="top",
            captured_at=at, reason=Reason.CONTROL,
        )  # fmt: skip
        raw.put(data, capture, site="kyoto")
        names_of[sha256_of(data)] = name
    sha = {name: sha256 for sha256, name in names_of.items()}
    labels.append([
        dataclasses.replace(event(use_case, "1", "x", LabelStatus.APPROVED), sha256=sha["approved"]),
        dataclasses.replace(event(use_case, "2", "x", LabelStatus.LABELLED), sha256=sha["waits"]),
        dataclasses.replace(event(use_case, "3", "x", LabelStatus.LABELLED), sha256=sha["imported"], task=None),
    ])  # fmt: skip
    kept = memories(store, installation.bucket("state"), use_case)
    for _ in range(2):
        candidates = find_candidates(use_case, raw, labels, kept)
        own = [image for image in candidates if image.sha256 in names_of]
        assert [names_of[image.sha256] for image in own] == ["new", "twice", "old", "waits"]
        assert (candidates.waiting, candidates.imported) == ({sha["waits"]}, 1)
        assert len(candidates) == len(list(candidates)) == candidates.known - 2
        assert candidates[0] == candidates[:1][0]
    assert len(own[1].also_at) == 1
    assert {capture.device for capture in raw.captures(own[1])} == {f"{device}-0", f"{device}-1"}
    left_out = [sha["approved"], sha["imported"]]  # the verifier gets the imported boxes
    assert sorted(i.sha256 for i in raw.list_images()) == sorted([i.sha256 for i in candidates] + left_out)


def test_a_scan_of_a_store_without_images_and_labels_is_empty(memory):
    """A scan finds nothing where no image and no label was stored, as on the first day of an installation."""
    assert found(scan(Bucket(), memory)) == set()
    assert found(scan(Bucket(), memory)) == set()
    assert isinstance(scan(Bucket(key("a")), memory).rows, pa.Table)


def test_all_use_cases_share_the_memory_of_the_images(store, installation):
    """The key of the images' memory holds no use case, and the key of the labels' memory does."""
    bucket = installation.bucket("state")
    assert images_memory(store, bucket)._document_key == "looks/images/look.json"
    assert memories(store, bucket, "tags").labels._document_key == "looks/labels/tags/look.json"
