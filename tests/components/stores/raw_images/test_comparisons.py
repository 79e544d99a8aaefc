"""What one step compared, the next one reads; and no stored result outlives the code that gave it."""

import json
import shutil
import stat

import cv2
import numpy as np
import pytest

from components.generated_parts.photographs import LineGenerator
from components.stores.raw_images import comparisons
from components.stores.raw_images.comparisons import Compared, Pair, StoredComparisons, rules_digest
from components.stores.raw_images.near_duplicates import find_near_duplicates, fingerprint, thumbnail
from inspection.image import decode_image, sha256_of

LINE = LineGenerator(seed=11, photographs_per_part=2)
SAME = Compared(0.81, (1.0, 0.0, 2.5, 0.0, 1.0, -1 / 3, 0.0, 0.0, 1.0))
OTHER = Compared(0.04, None)


def pair(number):
    return Pair(f"{number:064x}", f"{number + 1:064x}", number % 2 == 0)


@pytest.fixture(scope="module")
def images():
    """Two photographs that show the same, and one of another part, by sha256."""
    first = LINE.part(0)[0].jpeg
    again = cv2.imencode(".jpg", decode_image(first), [cv2.IMWRITE_JPEG_QUALITY, 50])[1].tobytes()
    return {sha256_of(data): data for data in (first, again, LINE.part(1)[0].jpeg)}


class Search:
    """A search that counts the images it loads."""

    def __init__(self, images):
        self._images = images
        self._prints = {sha256: fingerprint(thumbnail(decode_image(data))) for sha256, data in images.items()}
        self.loaded = 0

    def run(self, known, only=None):
        def load(sha256):
            self.loaded += 1
            return decode_image(self._images[sha256])

        prints = {sha256: self._prints[sha256] for sha256 in only or self._images}
        found = find_near_duplicates(prints, load, known=known)
        return [(p.a, p.b, p.similarity, p.transform.tolist()) for p in found]


def test_a_second_search_gives_the_same_pairs_and_loads_no_image(images, tmp_path):
    """Another process with the same folder compares nothing, and its pairs are equal to the last digit."""
    search = Search(images)
    first = search.run(StoredComparisons(tmp_path, "rules"))
    assert len(first) == 1
    loaded = search.loaded
    assert loaded >= 3
    assert search.run(StoredComparisons(tmp_path, "rules")) == first
    assert search.loaded == loaded


def test_only_pairs_with_a_new_image_are_compared(images, tmp_path):
    """An image that comes later is compared with the others, and the others are not compared again."""
    search = Search(images)
    *two, _ = sorted(images)
    search.run(StoredComparisons(tmp_path, "rules"), two)
    known = StoredComparisons(tmp_path, "rules")
    asked, kept = [], []

    class Watched:
        def get(self, pair):
            asked.append(pair)
            return known.get(pair)

        def keep(self, found):
            kept.extend(found)
            known.keep(found)

    search.run(Watched())
    assert {(p.a, p.b) for p in asked} - {(p.a, p.b) for p in kept} == {tuple(two)}


def test_results_of_other_code_are_not_read_and_are_removed(tmp_path):
    """After a change of the code that compares, every pair is compared again."""
    StoredComparisons(tmp_path, "before").keep({pair(0): SAME})
    after = StoredComparisons(tmp_path, "after")
    assert after.get(pair(0)) is None
    after.keep({pair(1): OTHER})
    assert [file.name for file in tmp_path.iterdir()] == ["after.json"]
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copy(tmp_path / "after.json", moved / "other.json")
    assert StoredComparisons(moved, "other").get(pair(1)) is None, "a file says itself which code wrote it"


@pytest.mark.parametrize("source", comparisons._SOURCES)
def test_the_digest_of_the_code_changes_with_each_source(source, tmp_path):
    """A changed byte in the comparison, in the choice of pairs or in the decoding gives another digest."""
    for name in comparisons._SOURCES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(comparisons._ROOT / name, tmp_path / name)
    assert rules_digest.__wrapped__(tmp_path) == rules_digest()
    (tmp_path / source).write_bytes((tmp_path / source).read_bytes() + b"#")
    assert rules_digest.__wrapped__(tmp_path) != rules_digest()


def test_results_survive_as_they_were(tmp_path):
    """Both kinds of result are read back exactly, from a file that only its owner may read."""
    StoredComparisons(tmp_path / "new", "rules").keep({pair(0): SAME, pair(1): OTHER})
    known = StoredComparisons(tmp_path / "new", "rules")
    assert [known.get(pair(n)) for n in range(3)] == [SAME, OTHER, None]
    assert known.get(Pair(pair(0).a, pair(0).b, not pair(0).turned)) is None
    assert stat.S_IMODE((tmp_path / "new" / "rules.json").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-40], lambda d: d.replace(b"0.81", b"0.11"), lambda d: b"", lambda d: b"\xff\n{}"]
)
def test_a_damaged_file_costs_time_only(damage, tmp_path):
    """A file that was cut or changed gives no result, and the next results are kept."""
    StoredComparisons(tmp_path, "rules").keep({pair(0): SAME})
    file = tmp_path / "rules.json"
    file.write_bytes(damage(file.read_bytes()))
    again = StoredComparisons(tmp_path, "rules")
    assert again.get(pair(0)) is None
    again.keep({pair(0): SAME})
    assert StoredComparisons(tmp_path, "rules").get(pair(0)) == SAME


def test_two_writers_keep_both_results(tmp_path):
    """Results that another process wrote meanwhile stay."""
    one, other = StoredComparisons(tmp_path, "rules"), StoredComparisons(tmp_path, "rules")
    assert one.get(pair(0)) is other.get(pair(0)) is None
    one.keep({pair(0): SAME})
    other.keep({pair(1): OTHER})
    known = StoredComparisons(tmp_path, "rules")
    assert [known.get(pair(0)), known.get(pair(1))] == [SAME, OTHER]


def test_the_results_that_were_used_last_are_kept(tmp_path):
    """If there are too many, the results that no search used for longest go first."""
    known = StoredComparisons(tmp_path, "rules", max_pairs=3)
    known.keep({pair(n): OTHER for n in range(3)})
    again = StoredComparisons(tmp_path, "rules", max_pairs=3)
    assert again.get(pair(0)) == OTHER
    again.keep({pair(3): OTHER})
    left = StoredComparisons(tmp_path, "rules", max_pairs=3)
    assert [n for n in range(4) if left.get(pair(n))] == [0, 2, 3]


def test_a_folder_that_cannot_be_written_fails_no_search(images, tmp_path, caplog):
    """The pairs are found all the same, and the log says that they are compared again next time."""
    (tmp_path / "file").write_text("in the way")
    assert len(Search(images).run(StoredComparisons(tmp_path / "file" / "below", "rules"))) == 1
    assert "compared again" in caplog.text


def test_a_result_has_a_whole_transform_or_none():
    """A transform of another length is refused at birth."""
    with pytest.raises(ValueError, match="9 numbers"):
        Compared(0.9, (1.0, 2.0))


def test_an_image_that_cannot_be_read_is_not_remembered(images, tmp_path):
    """What is gone today may be back tomorrow: nothing is kept of its pairs."""
    prints = {sha256: fingerprint(thumbnail(decode_image(data))) for sha256, data in images.items()}
    assert find_near_duplicates(prints, lambda sha256: None, known=StoredComparisons(tmp_path, "rules")) == []
    assert not list(tmp_path.iterdir())


def test_the_stored_document_says_its_version(tmp_path):
    """The file begins with the digest of a JSON document that has a schema version."""
    StoredComparisons(tmp_path, "rules").keep({pair(0): SAME})
    _, _, body = (tmp_path / "rules.json").read_bytes().partition(b"\n")
    assert json.loads(body)["schema_version"] == 1
    assert np.allclose(json.loads(body)["pairs"][0][4], SAME.transform)
