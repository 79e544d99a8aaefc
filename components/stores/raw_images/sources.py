"""Which images belong to which use case: a pure rule over the site and the device below which an image is stored.

A use case names its sources as patterns `<site>/<device>`, in which `*` stands for any characters: `osaka/*`,
`*/press-1`. Images that were imported for a use case carry its name in the name of their device, and belong to it
without a pattern. A use case without sources has all images.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pyarrow as pa

_DAY: Final = len("/2026/05/31")
_MAX: Final = 63


def import_device(name: str, use_case: str | None = None) -> str:
    """The device name of imported images: `import-<name>`, or `import-<use case>--<name>` for one use case alone.

    Two hyphens end the use case, so that `import-tag--a` is not of the use case `tag-a`.
    """
    plain = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-") or "folder"
    return f"import-{plain}"[:_MAX] if use_case is None else f"{_prefix(use_case)}{plain}"[:_MAX]


def claims(use_case: str, sources: Sequence[str], device: str) -> bool:
    """Whether a use case has the images of a device. device: `<site>/<device>`."""
    if not sources:
        return True
    _, _, name = device.partition("/")
    return name.startswith(_prefix(use_case)) or any(fnmatchcase(device, pattern) for pattern in sources)


def of_use_case(images: pa.Table, use_case: str, sources: Sequence[str]) -> pa.Table:
    """The rows of a use case. images: with the column `folder`, `<site>/<device>/<yyyy>/<mm>/<dd>`."""
    if not sources:
        return images
    # Not above: the image `control` ingests images, and has no Arrow.
    import pyarrow as pa
    import pyarrow.compute as pc

    folders = pc.unique(images["folder"])
    own = [folder for folder in folders.to_pylist() if claims(use_case, sources, folder[:-_DAY])]
    return images.filter(pc.is_in(images["folder"], value_set=pa.array(own, pa.string())))


def claimants(sources: Mapping[str, Sequence[str]], devices: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Device -> the use cases that have its images, sorted. sources: use case -> its patterns."""
    return {
        device: tuple(sorted(name for name, patterns in sources.items() if claims(name, patterns, device)))
        for device in devices
    }


def _prefix(use_case: str) -> str:
    return f"import-{use_case}--"
