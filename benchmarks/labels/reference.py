"""The reference sample's way: it collects the labelled images in a list and searches that list for each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def find_unlabelled(uris: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The images without an approved label. uris: those of all images; rows: image and status of every label event."""
    labelled: list[str] = []
    for row in rows:
        if row["status"] == "approved":
            labelled.append(row["image_uri"])
    missing = []
    for uri in uris:
        if uri not in labelled:
            missing.append(uri)
    return missing
