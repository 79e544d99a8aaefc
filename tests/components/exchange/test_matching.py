"""Which file a row of labels means."""

import unicodedata

from components.exchange.matching import NoFile, match


def reasons(found):
    return {image: one.reason if isinstance(one, NoFile) else one for image, one in found.items()}


def test_the_file_of_one_day_is_not_taken_for_that_of_another():
    """Of two days with the same file names only one is here: the other day's row has no file."""
    rows = ["s3://b/day1/0001.jpg", "s3://b/day2/0001.jpg"]
    found = match(rows, ["day1/0001.jpg"])
    assert reasons(found) == {rows[0]: "day1/0001.jpg", rows[1]: "no-image"}
    assert "day1/0001.jpg" in found[rows[1]].message


def test_two_rows_that_mean_one_file_both_have_none():
    """Without the folders nobody can say which of the two rows the file belongs to."""
    rows = ["day1/0001.jpg", "day2/0001.jpg"]
    assert set(reasons(match(rows, ["0001.jpg"])).values()) == {"no-image"}
    rows = ["s3://b/0001.jpg", "s3://b/day1/0001.jpg"]
    assert set(reasons(match(rows, ["day1/0001.jpg"])).values()) == {"ambiguous-image"}


def test_rows_may_drop_the_same_folders():
    """A copy of a prefix has fewer or other folders above than the rows say, but the same for all rows."""
    rows = ["s3://theirs/2021/bad/x.jpg", "s3://theirs/2021/good/x.jpg", "s3://theirs/2021/good/a%20b.jpg"]
    found = match(rows, ["images/bad/x.jpg", "images/good/x.jpg", "images/good/a b.jpg"])
    assert list(found.values()) == ["images/bad/x.jpg", "images/good/x.jpg", "images/good/a b.jpg"]
    assert match(["x.jpg", "y.jpg"], ["train/x.jpg", "val/y.jpg"]) == {"x.jpg": "train/x.jpg", "y.jpg": "val/y.jpg"}


def test_rows_that_drop_different_folders_have_no_file_where_none_drops_less():
    """Files without their folders are not taken for rows of different folders, even if each name is there once."""
    assert set(reasons(match(["a/x.jpg", "b/y.jpg"], ["x.jpg", "y.jpg"])).values()) == {"no-image"}


def test_a_row_that_is_there_twice_has_its_file():
    """The same name in two rows is one image. A backslash, `./` or %20 makes no other name."""
    assert match(["d/a b.jpg", "d/a b.jpg"], ["d/a b.jpg"]) == {"d/a b.jpg": "d/a b.jpg"}
    found = match(["d/a b.jpg", "d\\a b.jpg", "./d/a b.jpg", "d/a%20b.jpg"], ["d/a b.jpg"])
    assert set(found.values()) == {"d/a b.jpg"}


def test_a_name_in_decomposed_unicode_is_the_same_name():
    """A Mac writes the accent as a character of its own."""
    name = "ガ部品é.png"
    there = f"images/{unicodedata.normalize('NFD', name)}"
    assert there != f"images/{name}"
    assert match([name], [there]) == {name: there}


def test_several_files_that_fit_equally_are_said():
    """The row has no file, and the message names those that could be meant."""
    found = match(["x.jpg"], ["left/x.jpg", "right/x.jpg"])["x.jpg"]
    assert isinstance(found, NoFile)
    assert found.reason == "ambiguous-image"
    assert "left/x.jpg, right/x.jpg" in found.message


def test_a_name_without_its_extension_finds_the_file():
    """Some writers of Pascal VOC and Datumaro leave it out. Two files that differ in it alone are ambiguous."""
    assert match(["day1/a"], ["images/day1/a.png"]) == {"day1/a": "images/day1/a.png"}
    assert reasons(match(["a"], ["a.png", "a.jpg"])) == {"a": "ambiguous-image"}
    assert reasons(match(["a.bmp"], ["a.png"])) == {"a.bmp": "no-image"}
