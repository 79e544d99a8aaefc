"""In which order images leave an outbox that is full: a rule over the bytes of each class, without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edge_agent.outbox_schema import Priority

RESERVED_SHARE: Final = 0.05
"""Of the bytes of all images that wait, for control frames: they alone estimate the line, and a few are enough."""
_RESERVED: Final = 1.5
"""Between objections and defects."""


def standing(priority: Priority, control_bytes: int, reserve: int) -> float:
    """The higher it is, the sooner a class goes. Control frames within their reserve go after defects.

    Args:
        control_bytes: of all control frames, in bytes. reserve: bytes that are reserved for them.
    """
    return _RESERVED if priority is Priority.CONTROL and control_bytes <= reserve else float(priority)


def next_to_go(
    image_bytes: Mapping[Priority, int], reserve: int, lowest: float, more_control: int = 0
) -> Priority | None:
    """The class whose oldest image goes next; None where no class with at least the standing `lowest` has one.

    Args:
        more_control: bytes of a control frame that is about to be added.
    """
    present = [
        (standing(priority, image_bytes[priority] + more_control, reserve), priority)
        for priority in Priority
        if priority is not Priority.RESULT and image_bytes[priority] > 0
    ]
    return max((found for found in present if found[0] >= lowest), default=(0.0, None))[1]


def droppable_bytes(image_bytes: Mapping[Priority, int], reserve: int, lowest: float) -> int:
    """How many bytes can be made free without dropping anything with a standing below `lowest`."""
    found = 0
    for priority in Priority:
        if priority < lowest:
            continue
        if priority is Priority.CONTROL and _RESERVED < lowest < Priority.CONTROL:
            found += max(0, image_bytes[priority] - reserve)  # what is over the share goes before other classes
        else:
            found += image_bytes[priority]  # a newer control frame may replace an older one
    return found
