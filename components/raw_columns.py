"""The raw bucket's image keys as Arrow columns: a million of them are a hundred megabytes, and no Python objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from components.raw_listing import RawListing, Span
from inspection.paths import parse_raw_key

# One row an image's key. folder: `<site>/<device>/<yyyy>/<mm>/<dd>`.
IMAGES: Final = pa.schema([("folder", pa.string()), ("sha256", pa.string()), ("ext", pa.string())])

_BLOCK: Final = 50_000  # keys that are Python strings at a time, a thread
_NAME: Final = "[a-z0-9][a-z0-9-]{0,62}"
_FOLDER: Final = f"^{_NAME}/{_NAME}/[0-9]{{4}}/[0-9]{{2}}/[0-9]{{2}}$"
_ENDINGS: Final = pa.array([f".{ext}" for ext in ("jpg", "png", "bmp", "webp", "tif")])
_HEX: Final = "0123456789abcdef"
_SHA256_CHARACTERS: Final = 64


def list_columns(listing: RawListing, spans: Iterable[Span]) -> tuple[pa.Table, frozenset[str]]:
    """The image keys of these spans as `IMAGES`, and the sha256 of the images with several Captures there.

    What is not of the layout is passed over.
    """
    parts = listing.read(spans, _to_table)
    tables = [table for table, _ in parts]
    return pa.concat_tables([IMAGES.empty_table(), *tables]), frozenset[str]().union(*(found for _, found in parts))


def parse_image_keys(keys: Sequence[str]) -> pa.Table:
    """The image keys among these, as `IMAGES`: those that `inspection.paths.parse_raw_key` takes."""
    parts = pc.split_pattern(
        pa.array([key for key in keys if "/" in key], pa.string()), "/", max_splits=1, reverse=True
    )
    folder, name = pc.list_element(parts, 0), pc.list_element(parts, 1)
    sha256 = pc.utf8_slice_codeunits(name, 0, _SHA256_CHARACTERS)
    ending = pc.utf8_slice_codeunits(name, _SHA256_CHARACTERS)
    is_hex = pc.equal(pc.binary_length(pc.ascii_trim(sha256, _HEX)), 0)  # all of it, and with an ending it is 64 long
    is_image = pc.and_(pc.is_in(ending, value_set=_ENDINGS), is_hex)
    ext = pc.utf8_slice_codeunits(ending, 1)
    images = pa.Table.from_arrays([folder, sha256, ext], schema=IMAGES).filter(is_image)
    folders = pc.unique(images["folder"])
    real = _real_folders(folders)
    return images if len(real) == len(folders) else images.filter(pc.is_in(images["folder"], value_set=real))


def _real_folders(folders: pa.Array) -> pa.Array:
    formed = folders.filter(pc.match_substring_regex(folders, _FOLDER))
    day_of = pc.utf8_slice_codeunits(formed, -10)
    real = [day for day in pc.unique(day_of).to_pylist() if parse_raw_key(f"s/d/{day}/{'0' * 64}.jpg")]
    return formed.filter(pc.is_in(day_of, value_set=pa.array(real, pa.string())))


def keys_of(images: pa.Table) -> pa.ChunkedArray:
    """The whole keys of `IMAGES`."""
    name = pc.binary_join_element_wise(images["sha256"], images["ext"], ".")
    return pc.binary_join_element_wise(images["folder"], name, "/")


def _to_table(pages: Iterable[Sequence[str]]) -> tuple[pa.Table, set[str]]:
    tables, block = [], list[str]()
    several, last = set[str](), ""
    for keys in pages:
        for key in keys:
            if not key.endswith(".json"):
                block.append(key)
                continue
            stem = key.rsplit(".", 2)[0]  # Captures of one image follow each other: `<sha256>.<capture>.json`
            if stem == last:
                several.add(stem[-_SHA256_CHARACTERS:])
            last = stem
        if len(block) >= _BLOCK:
            tables.append(parse_image_keys(block))
            block = []
    tables.append(parse_image_keys(block))
    return pa.concat_tables(tables), several
