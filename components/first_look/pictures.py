"""What a first look sees in photographs: a bounded sample of a folder, each decoded as the device decodes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from components.stores.raw_images.image_source import (
    MAX_FILE_BYTES,
    ImageSource,
    SourceFile,
    in_parallel,
    is_named_as_text,
)
from components.stores.raw_images.near_duplicates import (
    Fingerprint,
    find_near_duplicates,
    fingerprint,
    similar_pairs,
    thumbnail,
)
from inspection.image import ImageError, ImageFormat, decode_image, image_format, sha256_of
from inspection.image_headers import orientation_of
from inspection.picture import PictureMeasure, measure
from inspection.preprocess import Preprocess, letterbox

_NO_TIME: Final = datetime.fromtimestamp(0, UTC)
MAX_COMPARED: Final = 60
"""Pairs of pictures that are laid over each other; each costs tens of milliseconds."""
_LOOK: Final = Preprocess(640, 640)
_GREY_LEVELS: Final = 3
"""Channels that differ by no more than this are one grey: a JPEG of a grey picture differs by so much."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One picture that can be read. width, height: pixels after EXIF orientation.

    orientation: 1 to 8, as the file says. measured: at 640 pixels on its longer side.
    """

    name: str
    sha256: str
    format: ImageFormat
    width: int
    height: int
    orientation: int
    is_grey: bool
    measured: PictureMeasure
    fingerprint: Fingerprint


@dataclass(frozen=True, slots=True)
class Unusable:
    """One picture that cannot be read. reason: a fixed word, as of an import; message: for people."""

    name: str
    reason: str
    message: str


def sample(files: Sequence[SourceFile], most: int) -> list[SourceFile]:
    """At most `most` of the files, in their order: pairs of neighbours, evenly spread.

    Photographs of one part mostly follow each other by name, so that neighbours show near-duplicates.
    """
    if len(files) <= most:
        return list(files)
    pairs = max(1, most // 2)
    starts = {round(number * (len(files) - 2) / max(1, pairs - 1)) for number in range(pairs)}
    return [files[place] for place in sorted(starts | {start + 1 for start in starts})][:most]


def look(
    source: ImageSource, files: Sequence[SourceFile], on_file: Callable[[], None] = lambda: None
) -> Iterator[Seen | Unusable]:
    """Look at these files of a source, in their order. A text file that is no image is passed over.

    on_file: called after each file.
    """

    def one(file: SourceFile) -> Seen | Unusable | None:
        try:
            return _look_at(source, file)
        finally:
            on_file()

    return (found for found in in_parallel(one, files) if found is not None)


def _look_at(source: ImageSource, file: SourceFile) -> Seen | Unusable | None:
    if file.size > MAX_FILE_BYTES:
        return Unusable(file.name, "too-large", f"expected at most {MAX_FILE_BYTES} bytes, but got {file.size}")
    try:
        data = source.read(file)
    except OSError as e:
        return Unusable(file.name, "unreadable", e.strerror or str(e))
    try:
        image = decode_image(data)
    except ImageError as e:
        if e.reason in ("not-an-image", "empty") and is_named_as_text(file.name):
            return None
        return Unusable(file.name, e.reason, str(e))
    kind = image_format(data)
    return Seen(
        name=file.name,
        sha256=sha256_of(data),
        format=kind,
        width=image.shape[1],
        height=image.shape[0],
        orientation=orientation_of(kind, data),
        is_grey=_is_grey(image),
        measured=measure(*letterbox(image, _LOOK)),
        fingerprint=fingerprint(thumbnail(image)),
    )


def _is_grey(image: NDArray[np.uint8]) -> bool:
    step = max(1, min(image.shape[:2]) // 256)  # some of its pixels are enough
    some = image[::step, ::step].astype(np.int16)
    return bool(np.percentile(some.max(axis=2) - some.min(axis=2), 99) <= _GREY_LEVELS)


def near_duplicates(source: ImageSource, seen: Sequence[Seen]) -> list[tuple[str, str]]:
    """Pairs of names that show the same again, moved or in another light; of identical files only one is compared.

    At most `MAX_COMPARED` pairs are compared, the most alike ones.
    """
    by_key = {item.sha256: item for item in reversed(seen)}
    keys = sorted(by_key)
    prints = {key: by_key[key].fingerprint for key in keys}
    nearest = sorted(similar_pairs([prints[key] for key in keys]), key=lambda pair: (pair.distance, pair.a, pair.b))
    wanted = {(keys[pair.a], keys[pair.b]) for pair in nearest[:MAX_COMPARED]}

    def load(key: str) -> NDArray[np.uint8] | None:
        try:
            item = by_key[key]
            return decode_image(source.read(SourceFile(item.name, 0, _NO_TIME, "")))
        except (OSError, ImageError):
            return None

    found = find_near_duplicates(prints, load, wanted=lambda a, b: (a, b) in wanted)
    names = ((by_key[pair.a].name, by_key[pair.b].name) for pair in found)
    return sorted((min(one, other), max(one, other)) for one, other in names)
