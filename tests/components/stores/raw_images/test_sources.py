"""Which images belong to which use case."""

from __future__ import annotations

import pyarrow as pa
import pytest

from components.stores.raw_images.columns import IMAGES
from components.stores.raw_images.sources import claimants, claims, import_device, of_use_case
from components.use_case import UseCaseError, parse_use_case
from kizu.sources import misplaced


@pytest.mark.parametrize(
    ("sources", "device", "expected"),
    [
        ((), "osaka/press-1", True),
        (("osaka/*",), "osaka/press-1", True),
        (("osaka/*",), "tokyo/press-1", False),
        (("*/press-?",), "tokyo/press-1", True),
        (("osaka/press-1",), "osaka/press-10", False),
        (("osaka/*",), "tokyo/import-tags--archive", True),
        (("osaka/*",), "tokyo/import-tags-b--archive", False),
        (("osaka/*",), "tokyo/import-archive", False),
    ],
)
def test_a_use_case_has_the_images_of_its_sources_and_its_imports(sources, device, expected):
    """Without sources it has all; an import for another use case whose name begins alike is not its own."""
    assert claims("tags", sources, device) is expected


def test_images_of_other_products_are_left_out():
    """Two lines in one bucket: each use case sees its own images."""
    folders = ["osaka/tags-line/2026/01/01", "osaka/bottles-line/2026/01/01", "osaka/tags-line/2026/01/02"]
    rows = [{"folder": folder, "sha256": f"{n:064x}", "ext": "jpg"} for n, folder in enumerate(folders)]
    images = pa.Table.from_pylist(rows, schema=IMAGES)
    assert of_use_case(images, "tags", ("osaka/tags-*",))["folder"].to_pylist() == [folders[0], folders[2]]
    assert of_use_case(images, "bottle", ("osaka/bottles-*",))["folder"].to_pylist() == [folders[1]]
    assert of_use_case(images, "tags", ()).num_rows == 3


def test_devices_of_no_use_case_or_of_two_are_found():
    """The doctor shows both, because the images of the one are lost and those of the other mixed."""
    found = claimants({"tags": ("a/*",), "discs": ("a/x", "b/*")}, ["a/w", "a/x", "b/y", "c/z"])
    assert found == {"a/w": ("tags",), "a/x": ("discs", "tags"), "b/y": ("discs",), "c/z": ()}


def test_an_import_for_one_use_case_carries_its_name():
    """The name fits into a key, whatever the folder's name."""
    assert import_device("Old Photos!") == "import-old-photos"
    assert import_device("Old Photos!", "tags") == "import-tags--old-photos"
    assert len(import_device("x" * 90, "tags")) == 63


USE_CASE = (
    "name: tags\nclasses: [scratch]\nlabeling: {{instructions: x}}\nsources: {sources}\n"
    "gates: {{min_map50: 0.5, max_escape_rate: 0.5, max_overkill_rate: 0.5}}\n"
)


def test_the_sources_of_a_use_case_reach_its_pipeline_and_change_no_digest():
    """A source that is added causes no new evaluation; a use case without sources has the text that it had before."""
    plain = parse_use_case(USE_CASE.format(sources="[]"))
    own = parse_use_case(USE_CASE.format(sources="['osaka/*']"))
    assert parse_use_case(own.to_json()).sources == ("osaka/*",)
    assert own.digest == plain.digest
    assert "sources" not in plain.to_json()
    for wrong in ("osaka", "osaka/a/b", "OSAKA/*", ""):
        with pytest.raises(UseCaseError, match="sources"):
            parse_use_case(USE_CASE.format(sources=f"['{wrong}']"))


def test_the_doctor_lists_images_of_no_product_and_of_two():
    """A line for each device, with the number of its images; a device with one product is well."""
    sources = {"tags": ("a/*",), "discs": ("a/x",)}
    assert misplaced(sources, ["a/w", "a/x", "c/z"], {"a/x": 7, "c/z": 2}.__getitem__) == [
        "7 images of a/x: discs and tags",
        "2 images of c/z: no use case",
    ]
    assert misplaced({"tags": (), "discs": ()}, ["a/w"], lambda _: 1) == ["1 images of a/w: discs and tags"]
