"""The limits of a healthy picture in the record of a training: the training measures them, evaluation reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from inspection.codec import Document, DocumentError, canonical_json
from inspection.picture import PictureLimits

_KEY: Final = "picture_limits"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pictures(Document):
    picture_limits: PictureLimits | None = None


def with_picture_limits(record: Mapping[str, Any], limits: PictureLimits | None) -> dict[str, Any]:
    """A record with the limits that were derived from the training split; None where it has too few pictures."""
    return {**record, _KEY: json.loads(_Pictures(picture_limits=limits).to_json())[_KEY]}


def picture_limits_of(record: bytes) -> PictureLimits | None:
    """The limits in a record; None where it has none, as that of an earlier version.

    Raises:
        DocumentError: the record is no JSON object, or its limits have another form.
    """
    try:
        value = json.loads(record)
    except ValueError as e:
        raise DocumentError(f"the training's record: expected JSON, but got {record[:40]!r}") from e
    if not isinstance(value, dict):
        raise DocumentError(f"the training's record: expected an object, but got {record[:40]!r}")
    # Only this key: the rest may hold a loss that is not finite.
    return _Pictures.from_json(canonical_json({_KEY: value.get(_KEY)})).picture_limits
