"""From approved labels to a manifest: which split, and what is refused."""

import dataclasses

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.dataset.duplicates import linked_groups
from components.dataset.freeze import DatasetError, build_manifest, freeze, group_of, plan_splits, units_of
from components.dataset.split import position, split_of
from components.generated_parts.photographs import LineGenerator
from components.stores.datasets.assignments import add_assignments, load_assignments
from components.stores.datasets.manifest import SplitName, load_manifest
from components.stores.labels.store import LabelStore
from components.stores.objects.image_cache import ImageCache
from components.stores.objects.s3 import S3ObjectStore
from components.stores.raw_images.comparisons import comparisons
from components.stores.raw_images.images import RawImages
from components.use_case import Split, parse_use_case
from inspection.geometry import Box, LabelledBox
from inspection.image import decode_image, sha256_of
from tests.components.dataset.approved_labels import SCRATCH, USE_CASE, event, labels


def test_a_place_is_the_first_bytes_of_a_known_digest():
    """sha256("0:part1") begins with da3940e5e8a5738c: any program in any year finds the same place."""
    assert position("part1", 0) == 0xDA3940E5E8A5738C / 2**64


@given(st.text(max_size=30), st.integers(0, 1000))
def test_a_group_has_one_place_in_0_to_1_for_each_seed(group, seed):
    """Every name, with kanji and slashes too, has a place in [0, 1), and with no test and val share falls to train."""
    assert 0.0 <= position(group, seed) < 1.0
    assert split_of(group, Split(seed=seed, test=0.0, val=0.0)) is SplitName.TRAIN


@given(st.sets(st.text(max_size=10), min_size=1, max_size=30), st.text(max_size=10))
def test_a_group_that_joins_moves_nobody(groups, newcomer):
    """A new group changes the split of no other group."""
    split = Split()
    before = {group: split_of(group, split) for group in groups}
    after = {group: split_of(group, split) for group in groups | {newcomer}}
    assert before.items() <= after.items()


def test_shares_are_about_those_asked_for():
    """Of 5000 parts, a quarter and 15 % fall to test and val, within two points. Another seed gives other parts."""
    split = Split(seed=0, test=0.25, val=0.15)
    found = [split_of(f"part{number}", split) for number in range(5000)]
    assert found.count(SplitName.TEST) / 5000 == pytest.approx(0.25, abs=0.02)
    assert found.count(SplitName.VAL) / 5000 == pytest.approx(0.15, abs=0.02)
    assert found != [split_of(f"part{number}", Split(seed=1, test=0.25, val=0.15)) for number in range(5000)]


def test_a_larger_test_share_keeps_the_test_parts_it_had():
    """With a larger test share, every part that was in test stays in test."""
    small, large = Split(test=0.2), Split(test=0.3)
    for number in range(500):
        if split_of(f"part{number}", small) is SplitName.TEST:
            assert split_of(f"part{number}", large) is SplitName.TEST


def test_the_digest_knows_no_order_of_labels():
    """The same labels in another order give the same digest."""
    forward = labels()
    backward = dict(reversed(forward.items()))
    assert build_manifest(forward, USE_CASE).digest == build_manifest(backward, USE_CASE).digest


def test_a_moved_box_is_another_dataset():
    """A moved box changes the digest, and so does another list of classes."""
    base = build_manifest(labels(), USE_CASE)
    moved = labels()
    first = next(iter(moved))
    moved[first] = dataclasses.replace(moved[first], boxes=(LabelledBox("scratch", Box(1, 2, 3, 4.5)),))
    assert build_manifest(moved, USE_CASE).digest != base.digest
    wider = USE_CASE.model_copy(update={"classes": ("scratch", "dent")})
    assert build_manifest(labels(), wider).digest != base.digest


def test_all_photographs_of_a_part_fall_on_one_side():
    """The four photographs of a part share a split. With the rule `image`, each image is a group of its own."""
    found = {e.sha256: e for e in (event(number, group=f"part{number // 4}") for number in range(160))}
    manifest = build_manifest(found, USE_CASE)
    sides = {(image.group, image.split) for image in manifest.images}
    assert len(sides) == 40
    alone = USE_CASE.model_copy(update={"grouping": USE_CASE.grouping.model_copy(update={"rule": "image"})})
    assert {image.group for image in build_manifest(found, alone).images} == set(found)


def test_a_manifest_holds_every_image_once_and_sorted():
    """The images are sorted by sha256, and the splits together have all of them."""
    manifest = build_manifest(labels(), USE_CASE)
    assert [image.sha256 for image in manifest.images] == sorted(labels())
    assert sum(len(manifest.of(split)) for split in SplitName) == 40


@pytest.mark.parametrize("count", [0, 9])
def test_too_few_images_are_refused_with_the_counts(count):
    """No approved image, and one too few, are refused with the counts in the message."""
    with pytest.raises(DatasetError, match=f"at least 10 approved images for tag, but there are {count} .*train: "):
        build_manifest(labels(count), USE_CASE)


def test_good_parts_alone_are_refused():
    """A dataset without any box is refused."""
    with pytest.raises(DatasetError, match=r"no approved image shows a defect .*0 boxes"):
        build_manifest(labels(boxes=()), USE_CASE)


@pytest.mark.parametrize("split", list(SplitName))
def test_a_split_without_a_defect_is_refused_by_name(split):
    """Whichever split has no defect, the dataset is refused and the message names that split."""
    found = {
        sha256: dataclasses.replace(e, boxes=()) if split_of(e.group, USE_CASE.split) is split else e
        for sha256, e in labels().items()
    }
    with pytest.raises(DatasetError, match=f"the {split} split has no defect .*{split}: [1-9][0-9]* images.* 0 boxes"):
        build_manifest(found, USE_CASE)


def test_a_test_split_of_one_part_judges_nothing():
    """A test split whose photographs all show one part is refused."""
    in_test = next(f"g{n}" for n in range(99) if split_of(f"g{n}", USE_CASE.split) is SplitName.TEST)
    found = {
        sha256: dataclasses.replace(e, group=in_test) if split_of(e.group, USE_CASE.split) is SplitName.TEST else e
        for sha256, e in labels().items()
    }
    with pytest.raises(DatasetError, match="at least 2 parts in the test split"):
        build_manifest(found, USE_CASE)


def test_a_box_of_an_unknown_class_is_refused_with_its_image():
    """A class that the use case does not name, or no longer names, is refused; the message names the image."""
    found = labels(boxes=(LabelledBox("stain", Box(1, 2, 3, 4)),))
    with pytest.raises(
        DatasetError, match=r"image [0-9a-f]{64} has boxes of \['stain'\].*kizu labels rename-class stain NEW"
    ):
        build_manifest(found, USE_CASE)


def test_a_dataset_is_frozen_as_of_a_version_of_the_labels(installation):
    """Labels and manifest are in S3. Labels that come later change nothing in an earlier version."""
    store = LabelStore.open(installation)
    version = store.append([event(number) for number in range(40)])
    first = freeze(installation, USE_CASE)
    assert (first.label_version, first.images) == (version, 40)
    store.append([event(number) for number in range(40, 45)])
    assert freeze(installation, USE_CASE).images == 45
    assert freeze(installation, USE_CASE, version) == first
    saved = load_manifest(S3ObjectStore.from_settings(installation), installation.bucket("datasets"), first.digest)
    assert len(saved.images) == 40


def test_the_step_leaves_its_images_in_the_cache_of_the_machine(store, installation, tmp_path):
    """The training, which comes next, reads them there."""
    case = parse_use_case(USE_CASE.to_json().replace('"tag"', '"cached"'))
    events = {e.sha256: e for e in (event(number, use_case="cached") for number in range(100, 140))}
    data = LineGenerator(seed=4).part(1)[0].jpeg
    uri = f"s3://{installation.bucket('raw')}/cached/1.jpg"
    store.put(installation.bucket("raw"), "cached/1.jpg", data)
    some = next(iter(events.values()))
    labels = [dataclasses.replace(some, sha256=sha256_of(data), image_uri=uri), *list(events.values())[1:]]
    LabelStore.open(installation).append(labels)
    assert freeze(installation.model_copy(update={"cache_dir": str(tmp_path)}), case).images == 40
    assert ImageCache(tmp_path / "images", 10**9).read(sha256_of(data)) == data


def test_a_freeze_keeps_the_splits_of_before_and_records_those_of_now(store, installation):
    """A part that was test is test again, whatever the rule says; the new parts are recorded beside it."""
    case = parse_use_case(USE_CASE.to_json().replace('"tag"', '"kept"'))
    events = [event(number, use_case="kept") for number in range(200, 240)]
    was_test = min(e.group for e in events if split_of(e.group, case.split) is SplitName.TRAIN)
    bucket = installation.bucket("datasets")
    add_assignments(store, bucket, "kept", case.split.seed, {was_test: SplitName.TEST, "gone": SplitName.VAL})
    LabelStore.open(installation).append(events)
    saved = load_manifest(store, bucket, freeze(installation, case).digest)
    assert {image.split for image in saved.images if image.group == was_test} == {SplitName.TEST}
    recorded = load_assignments(store, bucket, "kept")[0].splits(case.split.seed)
    assert recorded == {image.group: image.split for image in saved.images} | {"gone": SplitName.VAL}


def test_near_duplicates_of_other_groups_fall_to_their_side(caplog):
    """A link makes one group of two; it is in test if either was.

    With too many links nothing is merged, and the log says so.
    """
    found = labels()
    groups = {e.group: split_of(e.group, USE_CASE.split) for e in found.values()}
    in_test = min(g for g, split in groups.items() if split is SplitName.TEST)
    in_train = min(g for g, split in groups.items() if split is SplitName.TRAIN)
    linked = build_manifest(found, USE_CASE, [(in_train, in_test)])
    moved = next(e.sha256 for e in found.values() if e.group == in_train)
    (image,) = (image for image in linked.images if image.sha256 == moved)
    assert (image.split, image.group) == (SplitName.TEST, min(in_test, in_train))
    assert len({image.group for image in linked.images}) == 39
    everything = [(in_test, group) for group in groups]
    assert build_manifest(found, USE_CASE, everything) == build_manifest(found, USE_CASE)
    assert "more than a tenth" in caplog.text


def test_freezing_compares_the_images_of_different_groups(store, installation):
    """A photograph in two groups links them. Images of one group, and a lost image, are not compared."""
    line = LineGenerator(seed=3)
    photograph = line.part(1)[0].jpeg
    brighter = cv2.convertScaleAbs(decode_image(photograph), alpha=1.05, beta=6)
    again = cv2.imencode(".jpg", brighter)[1].tobytes()
    content = {"a": photograph, "b": again, "c": line.part(5)[0].jpeg}
    found = {}
    for number, (group, data) in enumerate(content.items()):
        sha256, key = sha256_of(data), f"near/{number}.jpg"
        store.put(installation.bucket("raw"), key, data)
        found[sha256] = dataclasses.replace(
            event(number, group=group), sha256=sha256, image_uri=f"s3://{installation.bucket('raw')}/{key}"
        )
    lost = event(9, group="lost")
    found[lost.sha256] = lost
    groups = {sha256: e.group for sha256, e in found.items()}
    fetch = RawImages(store, installation.bucket("raw")).fetch
    assert linked_groups(found, groups, fetch) == [("a", "b")]
    assert linked_groups(found, dict.fromkeys(groups, "one"), fetch) == []


def test_freezing_again_compares_no_pair_again(installation, tmp_path):
    """A second freeze reads each image once, for its hash, and takes the results of the pairs from the disk."""
    line = LineGenerator(seed=3)
    photograph = line.part(1)[0].jpeg
    images = {
        sha256_of(data): data
        for data in (
            photograph,
            cv2.imencode(".jpg", decode_image(photograph), [cv2.IMWRITE_JPEG_QUALITY, 60])[1].tobytes(),
        )
    }
    found = {
        sha256: dataclasses.replace(event(number, group=f"g{number}"), sha256=sha256)
        for number, sha256 in enumerate(sorted(images))
    }
    groups = {sha256: e.group for sha256, e in found.items()}
    read = []

    def fetch(uri, sha256):
        read.append(sha256)
        return images[sha256]

    config = installation.model_copy(update={"cache_dir": str(tmp_path)})
    assert linked_groups(found, groups, fetch, comparisons(config)) == [("g0", "g1")]
    before = len(read)
    assert before >= 4, "each is read for its hash, and to be compared"
    assert linked_groups(found, groups, fetch, comparisons(config)) == [("g0", "g1")]
    assert len(read) == before + 2


def at(place, number, part):
    made = event(number, group=part)
    return dataclasses.replace(made, image_uri=f"s3://kizu-raw/{place}/2026/01/01/{made.sha256}.jpg")


def test_part_17_of_two_lines_is_two_parts_in_one_split():
    """The name of a part counts within its line; the rule goes by the bare name, so that nothing moves."""
    lines = [at("tokyo/press-1", 1, "17"), at("osaka/press-1", 2, "17"), at("osaka/press-2", 3, "17")]
    assert len({group_of(item) for item in lines}) == 3
    plan = plan_splits({item.sha256: item for item in lines}, USE_CASE)
    assert set(plan.splits.values()) == {split_of("17", USE_CASE.split)}


def test_imports_of_a_site_share_their_parts_and_an_image_without_a_part_is_alone():
    """One folder may come in pieces; another site's part is another part."""
    assert group_of(at("tokyo/import-a", 1, "17")) == group_of(at("tokyo/import-b", 2, "17"))
    assert group_of(at("tokyo/import-a", 1, "17")) != group_of(at("osaka/import-a", 2, "17"))
    made = event(1)
    assert group_of(dataclasses.replace(made, group=made.sha256)) == made.sha256


def test_an_old_test_part_stays_test_though_merging_is_refused_later():
    """Five links join ten groups; with a sixth, too many would be joined, and nothing is merged any more."""
    found = labels(100)
    split = {e.group: split_of(e.group, USE_CASE.split) for e in found.values()}
    tests = [group for group, its in split.items() if its is SplitName.TEST]
    trains = [group for group, its in split.items() if its is SplitName.TRAIN]
    links = list(zip(tests[:5], trains[:5], strict=True))
    first = plan_splits(found, USE_CASE, links)
    assert not first.refused
    more = [*links, (tests[5], trains[5])]
    assert plan_splits(found, USE_CASE, more).refused
    assert plan_splits(found, USE_CASE, more).splits[trains[0]] is SplitName.TRAIN  # by the rule alone
    later = plan_splits(found, USE_CASE, more, first.splits)
    assert all(later.splits[group] is first.splits[group] for group in first.splits)
    assert build_manifest(found, USE_CASE, more, first.splits) == build_manifest(
        found, USE_CASE, more, {**first.splits, "a group of before": SplitName.VAL}
    )


def test_without_assignments_the_rule_decides_as_before():
    """A dataset from before assignments were kept does not change."""
    assert build_manifest(labels(), USE_CASE) == build_manifest(
        labels(), USE_CASE, (), plan_splits(labels(), USE_CASE).splits
    )


def by_board(pattern=r"^\d{3}"):
    grouping = USE_CASE.grouping.model_copy(update={"split_by": pattern})
    return USE_CASE.model_copy(update={"grouping": grouping})


def boards(count=40):
    """Ten pieces of each board, 000-0 and so on; every second piece is good."""
    return {
        e.sha256: e
        for e in (event(n, group=f"{n // 10:03}-{n % 10}", boxes=SCRATCH if n % 2 else ()) for n in range(10 * count))
    }


def test_pieces_of_one_board_stay_in_one_split_and_are_judged_one_by_one():
    """What `grouping.split_by` finds in the names of parts falls to a split as a whole; each piece stays a part."""
    manifest = build_manifest(boards(), by_board())
    sides = {(image.group[:3], image.split) for image in manifest.images}
    assert len(sides) == 40
    assert len({image.group for image in manifest.images}) == 400
    assert {image.split for image in manifest.images} == set(SplitName)
    alone = build_manifest(boards(), USE_CASE)
    assert len({(image.group[:3], image.split) for image in alone.images}) > 40


def test_a_near_duplicate_joins_boards_and_leaves_their_pieces_parts():
    """Two boards that show the same again fall to one split, test if either was; with too many nothing is joined."""
    case, found = by_board(), boards()
    own = plan_splits(found, case).splits
    in_test = min(group[:3] for group, split in own.items() if split is SplitName.TEST)
    in_train = min(group[:3] for group, split in own.items() if split is SplitName.TRAIN)
    plan = plan_splits(found, case, [(in_train, in_test)])
    assert {plan.splits[f"{in_train}-{piece}"] for piece in range(10)} == {SplitName.TEST}
    assert (plan.joined, plan.of, len(set(plan.name.values()))) == (2, 40, 400)
    assert plan_splits(found, case, [(f"{n:03}", f"{n + 1:03}") for n in range(0, 10, 2)]).refused


def test_a_new_piece_follows_its_board_to_where_that_was():
    """The board was recorded in test under another rule: its other pieces follow, and none of them is learned from."""
    case, found = by_board(), boards()
    in_train = min(group for group, split in plan_splits(found, case).splits.items() if split is SplitName.TRAIN)
    plan = plan_splits(found, case, (), {in_train: SplitName.TEST})
    assert {plan.splits[f"{in_train[:3]}-{piece}"] for piece in range(10)} == {SplitName.TEST}


def test_images_without_a_part_are_not_grouped_by_their_digest():
    """The expression reads names that people gave, never a sha256 that happens to begin with digits."""
    found = {e.sha256: dataclasses.replace(e, group=e.sha256) for e in labels(200).values()}
    assert units_of(found, by_board(r"^\d")) == {sha256: sha256 for sha256 in found}


def test_freezing_compares_no_two_pieces_of_one_board(store, installation):
    """They are in one split in any case, and comparing costs time."""
    photograph = LineGenerator(seed=3).part(1)[0].jpeg
    brighter = cv2.convertScaleAbs(decode_image(photograph), alpha=1.05, beta=6)
    found = {}
    for number, data in enumerate((photograph, cv2.imencode(".jpg", brighter)[1].tobytes())):
        key = f"pieces/{number}.jpg"
        store.put(installation.bucket("raw"), key, data)
        uri = f"s3://{installation.bucket('raw')}/{key}"
        made = event(number, group=f"007-{number}")
        found[sha256_of(data)] = dataclasses.replace(made, sha256=sha256_of(data), image_uri=uri)
    fetch = RawImages(store, installation.bucket("raw")).fetch
    assert linked_groups(found, units_of(found, by_board()), fetch) == []
    assert linked_groups(found, units_of(found, USE_CASE), fetch) == [("007-0", "007-1")]
