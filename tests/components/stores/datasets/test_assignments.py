"""Split assignments are only ever added to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.stores.datasets.assignments import SplitAssignments, add_assignments, load_assignments
from components.stores.datasets.manifest import Manifest, ManifestImage, SplitName
from components.stores.datasets.overlap import seen_before
from components.stores.objects.s3 import ObjectNotFound, ObjectStoreError
from inspection.codec import DocumentError

TEST, VAL, TRAIN = SplitName.TEST, SplitName.VAL, SplitName.TRAIN
SPLITS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([TEST, VAL, TRAIN]))


class Bucket:
    """One bucket in memory, with conditional writes. interferes: runs once before a write, as another writer would."""

    def __init__(self, interferes=None):
        self.objects, self.number, self._interferes = {}, 0, interferes

    def get_with_etag(self, bucket, key):
        if key not in self.objects:
            raise ObjectNotFound(key)
        return self.objects[key]

    def put(self, bucket, key, data, *, if_absent=False, if_match=None, content_type=""):
        if self._interferes is not None:
            interferes, self._interferes = self._interferes, None
            interferes(self)
        now = self.objects.get(key)
        if (if_absent and now is not None) or (if_match is not None and (now is None or now[1] != if_match)):
            return False
        self.number += 1
        self.objects[key] = (data, str(self.number))
        return True


@given(st.lists(SPLITS, max_size=4))
def test_what_was_test_stays_test(rounds):
    """Whatever is added later, a group keeps the strongest split that it ever had, through writing and reading."""
    store, strongest = Bucket(), {}
    for splits in rounds:
        add_assignments(store, "kizu-datasets", "tags", 0, splits)
        for group, split in splits.items():
            strongest[group] = min(strongest.get(group, TRAIN), split, key=[TEST, VAL, TRAIN].index)
    found, _ = load_assignments(store, "kizu-datasets", "tags")
    assert found.splits(0) == strongest
    assert found.splits(1) == {}


def test_two_writers_at_once_lose_nothing():
    """The second one finds the document changed, reads it again, and adds to it."""
    store = Bucket(lambda own: add_assignments(own, "kizu-datasets", "tags", 0, {"b": TEST}))
    assert add_assignments(store, "kizu-datasets", "tags", 0, {"a": TRAIN, "b": TRAIN}).splits(0) == {
        "a": TRAIN,
        "b": TEST,
    }


def test_adding_what_is_there_writes_nothing_and_a_damaged_document_is_not_made_anew():
    """A document that cannot be read is an error: with a new one, test groups would move."""
    store = Bucket()
    for _ in range(2):
        add_assignments(store, "kizu-datasets", "tags", 0, {"a": TEST})
    assert store.number == 1
    store.objects["splits/tags.json"] = (b"{", "9")
    with pytest.raises(DocumentError):
        add_assignments(store, "kizu-datasets", "tags", 0, {"b": TEST})


def test_a_writer_that_is_never_first_gives_up():
    """The error says what to do."""
    store = Bucket()
    store.put = lambda *_, **__: False
    with pytest.raises(ObjectStoreError, match="run it again"):
        add_assignments(store, "kizu-datasets", "tags", 0, {"a": TEST})


def test_unknown_keys_of_the_assignments_are_kept():
    """A newer version's additions survive this one's."""
    data = b'{"schema_version":1,"use_case":"tags","seeds":{"0":{"test":["a"],"holdout":["x"]}},"note":"n"}'
    again = SplitAssignments.from_json(SplitAssignments.from_json(data).with_splits(0, {"b": VAL}).to_json())
    assert (again.unknown["note"], again.seeds["0"].unknown["holdout"]) == ("n", ["x"])
    assert again.splits(0) == {"a": TEST, "b": VAL}


def manifest(*entries):
    images = tuple(
        ManifestImage(sha256=f"{n:064x}", uri=f"s3://b/{n}", width=1, height=1, group=group, split=split)
        for n, group, split in entries
    )
    return Manifest(use_case="tags", classes=("scratch",), split_seed=0, images=images)


def test_test_images_that_a_former_model_learned_from_are_found():
    """By the image itself, or by its part; what was test for both counts as unseen."""
    former = manifest((1, "a", TRAIN), (2, "b", VAL), (3, "c", TEST))
    now = manifest((1, "a", TEST), (4, "b", TEST), (3, "c", TEST), (5, "d", TEST), (6, "a", TRAIN))
    assert seen_before(now, former) == {f"{1:064x}", f"{4:064x}"}
