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
# Only a first sieve: each folder that passes is read by `parse_raw_key`.
_IMAGE: Final = (
    f"^(?P<folder>{_NAME}/{_NAME}/[0-9]{{4}}/[0-9]{{2}}/[0-9]{{2}})"
    r"/(?P<sha256>[0-9a-f]{64})\.(?P<ext>jpg|png|bmp|webp|tif)$"
)


def list_columns(listing: RawListing, spans: Iterable[Span]) -> pa.Table:
    """The image keys of these spans as `IMAGES`. What is not of the layout is passed over."""
    return pa.concat_tables([IMAGES.empty_table(), *listing.read(spans, _to_table)])


def parse_image_keys(keys: Sequence[str]) -> pa.Table:
    """The image keys among these, as `IMAGES`."""
    parts = pc.extract_regex(pa.array(keys, pa.string()), pattern=_IMAGE).drop_null()
    table = pa.Table.from_arrays([parts.field(name) for name in IMAGES.names], schema=IMAGES)
    folders = pc.unique(table["folder"]).to_pylist()
    real = [folder for folder in folders if parse_raw_key(f"{folder}/{'0' * 64}.jpg")]
    if len(real) == len(folders):
        return table
    return table.filter(pc.is_in(table["folder"], value_set=pa.array(real, pa.string())))


def keys_of(images: pa.Table) -> pa.ChunkedArray:
    """The whole keys of `IMAGES`."""
    name = pc.binary_join_element_wise(images["sha256"], images["ext"], ".")
    return pc.binary_join_element_wise(images["folder"], name, "/")


def _to_table(pages: Iterable[Sequence[str]]) -> pa.Table:
    tables, block = [], list[str]()
    for keys in pages:
        block += [key for key in keys if not key.endswith(".json")]  # Captures are as many again
        if len(block) >= _BLOCK:
            tables.append(parse_image_keys(block))
            block = []
    tables.append(parse_image_keys(block))
    return pa.concat_tables(tables)
