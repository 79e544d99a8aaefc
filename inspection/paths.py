"""Names that several parties compute: keys of `kizu-raw`, and the paths of desired states in the TUF repository.

An image is `<site>/<device>/<yyyy>/<mm>/<dd>/<sha256>.<ext>`, with its Captures beside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RAW_KEY = re.compile(
    r"(?P<site>[a-z0-9][a-z0-9-]{0,62})/(?P<device>[a-z0-9][a-z0-9-]{0,62})/"
    r"(?P<year>[0-9]{4})/(?P<month>[0-9]{2})/(?P<day>[0-9]{2})/"  # not \d, which matches digits of other scripts
    r"(?P<sha256>[0-9a-f]{64})\.(?:(?P<capture>[A-Za-z0-9-]{1,64})\.json|(?P<ext>jpg|png|bmp|webp|tif))"
)


def check_name(kind: str, name: str) -> str:
    """Check and return the name of a site, device, group or use case, which becomes part of a key.

    Args:
        kind: what is named, for the message.

    Raises:
        ValueError: the name is not 1-63 characters of a-z, 0-9 and '-', beginning with a letter or digit.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"expected a {kind} of 1-63 characters a-z, 0-9 or '-', but got {name!r}")
    return name


def check_sha256(value: str) -> str:
    """Return a lower-case hexadecimal SHA-256; raises ValueError for any other text."""
    if not _SHA256.fullmatch(value):
        raise ValueError(f"expected a sha256 of 64 hexadecimal digits, but got {value[:80]!r}")
    return value


@dataclass(frozen=True, slots=True)
class RawKey:
    """A parsed key; `capture_id` is None for an image, `ext` is '' for a Capture."""

    site: str
    device: str
    day: date
    sha256: str
    ext: str
    capture_id: str | None


def raw_image_key(site: str, device: str, captured_at: datetime, sha256: str, ext: str) -> str:
    """The key of an image.

    Args:
        captured_at: timezone-aware; its UTC date becomes part of the key.
        ext: without the dot.

    Raises:
        ValueError: a part does not fit the layout, or the time has no zone.
    """
    if captured_at.tzinfo is None:
        raise ValueError(f"captured_at needs a time zone, but got {captured_at.isoformat()}")
    day = captured_at.astimezone(UTC).strftime("%Y/%m/%d")
    key = f"{check_name('site', site)}/{check_name('device', device)}/{day}/{sha256}.{ext}"
    if not _RAW_KEY.fullmatch(key):
        raise ValueError(f"expected a sha256 and jpg, png, bmp, webp or tif, but got {sha256!r} and {ext!r}")
    return key


def capture_key(image_key: str, capture_id: str) -> str:
    """The key of a Capture, beside its image.

    Raises:
        ValueError: the image key or the capture id does not fit the layout.
    """
    key = f"{image_key.rsplit('.', 1)[0]}.{capture_id}.json"
    if not _RAW_KEY.fullmatch(key):
        raise ValueError(
            f"expected an image key and a capture id of A-Z, a-z, 0-9 or '-', got {image_key!r}, {capture_id!r}"
        )
    return key


def parse_raw_key(key: str) -> RawKey | None:
    """The parts of a key; None for a key of another layout."""
    match = _RAW_KEY.fullmatch(key)
    if match is None:
        return None
    try:
        day = date(int(match["year"]), int(match["month"]), int(match["day"]))
    except ValueError:
        return None
    return RawKey(match["site"], match["device"], day, match["sha256"], match["ext"] or "", match["capture"])


def desired_path(use_case: str, group: str) -> str:
    """The TUF target that says what the devices of a group that inspect this product should run.

    Raises:
        ValueError: one of the names does not fit.
    """
    return f"desired/{check_name('use case', use_case)}/{check_name('group', group)}.json"


def former_desired_path(group: str) -> str:
    """The same target in a repository of Kizu 0.1, where two products in one group replaced each other's state.

    Raises:
        ValueError: the name does not fit.
    """
    return f"desired/{check_name('group', group)}.json"


def parse_desired_path(path: str) -> tuple[str, str | None] | None:
    """(group, use case) of a desired state's path; the use case is None in the former layout. None for other paths."""
    folder, _, rest = path.partition("/")
    names = rest.removesuffix(".json").split("/")
    if folder != "desired" or not rest.endswith(".json") or not all(_NAME.fullmatch(name) for name in names):
        return None
    if len(names) == 1:
        return names[0], None
    return (names[1], names[0]) if len(names) == 2 else None
