"""The image keys of the raw bucket as Arrow columns: a million keys need a hundred megabytes, and no Python objects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from components.stores.raw_images.listing import RawListing, Span
from inspection.paths import parse_raw_key

# One row an image's key. folder: `<site>/<device>/<yyyy>/<mm>/<dd>`.
IMAGES: Final = pa.schema([("folder", pa.string()), ("sha256", pa.string()), ("ext", pa.string())])

_BLOCK: Final = 50_000  # how many keys of each thread are Python strings at one time
_NAME: Final = "[a-z0-9][a-z0-9-]{0,62}"
_DEVICE: Final = re.compile(f"{_NAME}/{_NAME}")
_DAY: Final = len("/2026/05/31")
_ENDINGS: Final = pa.array([f".{ext}" for ext in ("jpg", "png", "bmp", "webp", "tif")])
_HEX: Final = "0123456789abcdef"
_SHA256: Final = 64  # characters
_ENDING: Final = 8  # characters that are compared: more than the longest has


def list_columns(listing: RawListing, spans: Iterable[Span]) -> tuple[pa.Table, frozenset[str]]:
    """The image keys of these spans as `IMAGES`, and the sha256 of the images with several Captures there.

    Keys of another layout are ignored.
    """
    parts = listing.read(spans, _to_table)
    tables = [table for table, _ in parts]
    return pa.concat_tables([IMAGES.empty_table(), *tables]), frozenset[str]().union(*(found for _, found in parts))


def parse_image_keys(keys: Sequence[str]) -> pa.Table:
    """The image keys among these, as `IMAGES`: those that `inspection.paths.parse_raw_key` takes."""
    given = pa.array([key for key in keys if "/" in key], pa.string())
    if not pc.all(pc.string_is_ascii(given)).as_py():
        given = given.filter(pc.string_is_ascii(given))
    parts = pc.split_pattern(given, "/", max_splits=1, reverse=True)
    folder, name = pc.list_element(parts, 0), pc.list_element(parts, 1)
    sha256, ending = _cut(name, 0, _SHA256), _cut(name, _SHA256, _SHA256 + _ENDING)
    is_hex = pc.equal(pc.binary_length(pc.ascii_trim(sha256, _HEX)), 0)  # all of it, and with an ending it is 64 long
    is_image = pc.and_(pc.is_in(ending, value_set=_ENDINGS), is_hex)
    images = pa.Table.from_arrays([folder, sha256, _cut(ending, 1, _ENDING)], schema=IMAGES)
    if not pc.all(is_image).as_py():
        images = images.filter(is_image)
    folders = pc.unique(images["folder"])
    real = _real_folders(folders)
    return images if len(real) == len(folders) else images.filter(pc.is_in(images["folder"], value_set=real))


def _real_folders(folders: pa.Array) -> pa.Array:
    """Those of the form `<site>/<device>/<yyyy>/<mm>/<dd>`: few devices and days make many folders."""
    device_of, day_of = _cut(folders, 0, -_DAY), pc.utf8_slice_codeunits(folders, -_DAY)
    devices = [device for device in pc.unique(device_of).to_pylist() if _DEVICE.fullmatch(device)]
    days = [day for day in pc.unique(day_of).to_pylist() if _is_day(day)]
    return folders.filter(pc.and_(_among(device_of, devices), _among(day_of, days)))


@lru_cache(maxsize=10_000)
def _is_day(text: str) -> bool:
    return parse_raw_key(f"s/d{text}/{'0' * _SHA256}.jpg") is not None


def _cut(texts: pa.Array, start: int, stop: int) -> pa.Array:
    """A slice of texts in ASCII: of bytes, which takes a tenth of the time. pyarrow 25 fails without a `stop`."""
    return pc.binary_slice(texts.cast(pa.binary()), start, stop).cast(pa.string())


def _among(values: pa.Array, wanted: list[str]) -> pa.Array:
    return pc.is_in(values, value_set=pa.array(wanted, pa.string()))


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
                several.add(stem[-_SHA256:])
            last = stem
        if len(block) >= _BLOCK:
            tables.append(parse_image_keys(block))
            block = []
    tables.append(parse_image_keys(block))
    return pa.concat_tables(tables), several
