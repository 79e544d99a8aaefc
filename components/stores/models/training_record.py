"""What the pictures of a training were like, in its record: the training measures them, evaluation reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from inspection.codec import Document, DocumentError, canonical_json
from inspection.drift import PictureCounts
from inspection.picture import PictureLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPictures(Document):
    """What was measured of the training split; null where nothing was, as in records of earlier versions."""

    picture_limits: PictureLimits | None = None
    """What a healthy picture has; null also where the split has too few pictures."""
    picture_counts: PictureCounts | None = None
    """How bright and how sharp the pictures are."""


_KEYS = tuple(field.name for field in fields(MeasuredPictures) if field.name.startswith("picture_"))


def with_pictures(
    record: Mapping[str, Any], limits: PictureLimits | None, counts: PictureCounts | None
) -> dict[str, Any]:
    """A record with what was measured of the training split."""
    said = json.loads(MeasuredPictures(picture_limits=limits, picture_counts=counts).to_json())
    return {**record, **{key: said[key] for key in _KEYS}}


def pictures_of(record: bytes) -> MeasuredPictures:
    """What a record says of the pictures.

    Raises:
        DocumentError: the record is no JSON object, or its values have another form.
    """
    try:
        value = json.loads(record)
    except ValueError as e:
        raise DocumentError(f"the training's record: expected JSON, but got {record[:40]!r}") from e
    if not isinstance(value, dict):
        raise DocumentError(f"the training's record: expected an object, but got {record[:40]!r}")
    # Only these keys: the rest may hold a loss that is not finite.
    return MeasuredPictures.from_json(canonical_json({key: value.get(key) for key in _KEYS}))
