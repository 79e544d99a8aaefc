"""Results of comparing two images, on this machine's disk. What one step compared, the next one reads here.

A comparison of the same two images by the same code gives the same result, and costs tens of milliseconds of a
processor. The key is the digests of both images and a digest of the code that compares. The file may be lost, damaged
or removed at any time. That costs no more than comparing again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Protocol

import cv2
import numpy as np

from components.settings import Settings
from components.stores.objects.whole_file import PRIVATE, write_whole

_log = logging.getLogger(__name__)

MAX_PAIRS: Final = 50_000
"""How many results are kept, about 200 bytes each: those that were used last."""

_ROOT = Path(__file__).resolve().parents[3]
_SOURCES: Final = (
    "components/stores/raw_images/likeness.py",
    "components/stores/raw_images/near_duplicates.py",
    "inspection/image.py",
    "inspection/image_headers.py",
)
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """Two images by their sha256. turned: whether the comparison tried one turned by 180 degrees first."""

    a: str
    b: str
    turned: bool


@dataclass(frozen=True, slots=True)
class Compared:
    """The result for one pair. transform: 9 numbers, row by row, pixels of a -> of b; None: the two differ."""

    similarity: float
    transform: tuple[float, ...] | None

    def __post_init__(self) -> None:
        if self.transform is not None and len(self.transform) != 9:
            raise ValueError(f"expected 9 numbers of a transform, got {len(self.transform)}")


class Comparisons(Protocol):
    """Remembers results. It never fails a comparison."""

    def get(self, pair: Pair) -> Compared | None:
        """The result of a pair; None where it is not known."""

    def keep(self, found: Mapping[Pair, Compared]) -> None:
        """Remember results."""


class NoComparisons:
    """Remembers nothing."""

    def get(self, pair: Pair) -> Compared | None:
        """None, always."""
        return None

    def keep(self, found: Mapping[Pair, Compared]) -> None:
        """Do nothing."""


class StoredComparisons:
    """Results in one file of a folder. Safe to share between processes: the later of two writers keeps both results,
    unless both write at the same moment, and then some are compared again.

    If the file cannot be written, the log says so, and nothing is kept.

    Args:
        rules: the digest of the code that compares. Results of other code are not read, and are removed.
    """

    def __init__(self, folder: Path, rules: str, *, max_pairs: int = MAX_PAIRS) -> None:
        self._folder, self._rules, self._max_pairs = folder, rules, max_pairs
        self._file = folder / f"{rules}.json"
        self._known: dict[Pair, Compared] | None = None
        self._used: dict[Pair, None] = {}

    def get(self, pair: Pair) -> Compared | None:
        """See `Comparisons.get`."""
        if self._known is None:
            self._known = self._read()
        result = self._known.get(pair)
        if result is not None:
            self._used[pair] = None
        return result

    def keep(self, found: Mapping[Pair, Compared]) -> None:
        """See `Comparisons.keep`."""
        if not found:
            return
        known = self._read()  # what another process wrote since
        last = {pair: known.pop(pair) for pair in self._used if pair in known}
        kept = dict([*known.items(), *last.items(), *found.items()][-self._max_pairs :])
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(self._file, _to_bytes(self._rules, kept.items()), PRIVATE)
            for other in self._folder.glob("*.json"):
                if other != self._file:
                    other.unlink(missing_ok=True)
        except OSError as e:
            _log.warning("results of comparing images are not kept in %s (%s); they are compared again", self._file, e)
        self._known = kept

    def _read(self) -> dict[Pair, Compared]:
        try:
            data = self._file.read_bytes()
        except OSError:
            return {}
        try:
            return _from_bytes(self._rules, data)
        except (ValueError, TypeError, KeyError) as e:
            _log.info("%s is damaged and is written again: %s", self._file, e)
            with suppress(OSError):
                self._file.unlink()
            return {}


def comparisons(config: Settings) -> Comparisons:
    """The results that this machine keeps; none are kept if no cache is set."""
    if not config.cache_dir:
        return NoComparisons()
    return StoredComparisons(Path(config.cache_dir) / "comparisons", rules_digest())


@cache
def rules_digest(root: Path = _ROOT) -> str:
    """The digest of all that a result depends on besides the two images: our code, OpenCV and NumPy."""
    total = hashlib.sha256(f"{_FORMAT} opencv {cv2.__version__} numpy {np.__version__}".encode())
    for source in _SOURCES:
        total.update(hashlib.sha256((root / source).read_bytes()).digest())
    return total.hexdigest()


def _to_bytes(rules: str, pairs: Iterable[tuple[Pair, Compared]]) -> bytes:
    rows = [[p.a, p.b, p.turned, found.similarity, found.transform] for p, found in pairs]
    body = json.dumps({"schema_version": _FORMAT, "rules": rules, "pairs": rows}, separators=(",", ":")).encode()
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _from_bytes(rules: str, data: bytes) -> dict[Pair, Compared]:
    digest, _, body = data.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError("its digest is another")
    document = json.loads(body)
    if document["rules"] != rules:
        raise ValueError(f"expected results of {rules}, but got those of {document['rules']}")
    return {
        Pair(a, b, turned): Compared(similarity, None if transform is None else tuple(transform))
        for a, b, turned, similarity, transform in document["pairs"]
    }
