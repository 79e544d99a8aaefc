"""The reference sample's way: a list of what is labelled, and a question to it for each image, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def find_unlabelled(keys: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The images without an approved label. keys: of all images; rows: image and status of every label event."""
    labelled: list[str] = []
    for row in rows:
        if row["status"] == "approved":
            labelled.append(row["sha256"])
    missing = []
    for key in keys:
        if key.rsplit("/", 1)[1].split(".")[0] not in labelled:
            missing.append(key)
    return missing
