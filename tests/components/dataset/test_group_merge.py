"""Groups that hold near-duplicates of each other: which split they fall to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.dataset.group_merge import merge_groups
from components.stores.datasets.manifest import SplitName

TEST, VAL, TRAIN = SplitName.TEST, SplitName.VAL, SplitName.TRAIN


def groups(**named):
    """The named groups, and so many others that a few may be joined."""
    return {**{f"other{n}": TRAIN for n in range(60)}, **named}


def test_joined_groups_take_test_then_val_then_train():
    """Groups linked through others merge too and get the first name. A group linked with itself stays as it is."""
    splits = groups(a=TRAIN, b=VAL, c=TRAIN, d=TEST, e=TRAIN, f=VAL)
    merged = merge_groups(splits, [("b", "a"), ("c", "d"), ("d", "e"), ("f", "f")])
    assert [merged.splits[g] for g in "abcdef"] == [VAL, VAL, TEST, TEST, TEST, VAL]
    assert [merged.name[g] for g in "abcdef"] == ["a", "a", "c", "c", "c", "f"]
    assert (merged.joined, merged.refused) == (5, False)


def test_nothing_is_merged_where_more_than_a_tenth_would_be_joined():
    """Of twenty groups two may be joined and three may not. Photographs that all look alike are not duplicates."""
    splits = {f"g{n:02}": TEST if n == 0 else TRAIN for n in range(20)}
    two = merge_groups(splits, [("g00", "g01")])
    assert (two.joined, two.refused, two.splits["g01"]) == (2, False, TEST)
    three = merge_groups(splits, [("g00", "g01"), ("g01", "g02")])
    assert (three.joined, three.refused) == (3, True)
    assert three.splits == splits
    assert three.name == {group: group for group in splits}


def test_a_link_to_a_group_that_there_is_not_is_an_error():
    """A link that names an unknown group is a mistake of the caller and raises KeyError."""
    with pytest.raises(KeyError):
        merge_groups(groups(), [("other1", "nobody")])


@given(
    st.dictionaries(st.integers(0, 40).map(str), st.sampled_from(SplitName), min_size=1),
    st.lists(st.tuples(st.integers(0, 40).map(str), st.integers(0, 40).map(str)), max_size=12),
)
def test_no_link_lies_across_two_splits_and_no_test_group_leaves_test(splits, links):
    """Linked groups get one split and test groups stay in test, for links in any order, unless merging is refused."""
    links = [(a, b) for a, b in links if a in splits and b in splits]
    merged = merge_groups(splits, links)
    assert merged == merge_groups(dict(reversed(splits.items())), links[::-1])
    assert all(merged.splits[g] is TEST for g, split in splits.items() if split is TEST)
    if not merged.refused:
        assert all(merged.splits[a] is merged.splits[b] and merged.name[a] == merged.name[b] for a, b in links)
