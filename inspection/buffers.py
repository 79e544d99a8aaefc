"""Memory that is used again from one image to the next."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Buffers:
    """The arrays between an image and a verdict, each by its name.

    A new array of some hundred kilobytes costs more than what is computed in it, where the system must give its pages
    anew for each frame. Each buffer is as large as the largest array that it was asked for. They serve one image at a
    time: the next image overwrites them.
    """

    def __init__(self) -> None:
        self._held: dict[str, NDArray[np.uint8]] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array of this shape and type, not initialised; it has the memory of the former array of this name."""
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        held = self._held.get(name)
        if held is None or held.size < size:
            held = self._held[name] = np.empty(size, np.uint8)
        return held[:size].view(kind).reshape(shape)
