"""Which images belong to no product, or to two: a check for `kizu doctor`, over the use cases of an installation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from components.stores.raw_images.sources import claimants


def misplaced(sources: Mapping[str, Sequence[str]], devices: Iterable[str], count: Callable[[str], int]) -> list[str]:
    """A line for each device whose images belong to no use case or to several.

    Args:
        sources: use case -> its patterns.
        devices: `<site>/<device>` of all devices that ever sent an image, importers included.
        count: the number of images of a device.
    """
    lines = []
    for device, names in sorted(claimants(sources, devices).items()):
        if len(names) != 1:
            lines.append(f"{count(device)} images of {device}: {' and '.join(names) or 'no use case'}")
    return lines
