"""Sizes as Kubernetes writes them."""

from __future__ import annotations

import re
from typing import Final

_FACTORS: Final = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


def byte_count(size: str) -> int:
    """Return the bytes of a size such as 50Gi.

    Raises:
        ValueError: it is no size.
    """
    found = re.fullmatch(r"(\d+)([kMGT]|[KMGT]i)?", size)
    if found is None or int(found[1]) == 0:
        raise ValueError(f"expected a size such as 50Gi, but got {size!r}")
    return int(found[1]) * _FACTORS[found[2] or ""]
