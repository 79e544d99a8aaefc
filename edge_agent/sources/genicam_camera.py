"""GenICam cameras (GigE Vision, USB3 Vision) through `harvesters` and the vendor's GenTL producer."""

from __future__ import annotations

import importlib
import logging
import math
import re
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.camera_config import GenICamCamera
from edge_agent.errors import ConfigError, SourceError

_log = logging.getLogger(__name__)

# Names of the Pixel Format Naming Convention (EMVA). A Bayer name gives the first two pixels of the first row.
_TO_BGR: Final = {
    "Mono8": cv2.COLOR_GRAY2BGR,
    "RGB8": cv2.COLOR_RGB2BGR,
    "RGBa8": cv2.COLOR_RGBA2BGR,
    "BGRa8": cv2.COLOR_BGRA2BGR,
    "BayerRG8": cv2.COLOR_BayerRGGB2BGR,
    "BayerGR8": cv2.COLOR_BayerGRBG2BGR,
    "BayerGB8": cv2.COLOR_BayerGBRG2BGR,
    "BayerBG8": cv2.COLOR_BayerBGGR2BGR,
}
_CHANNELS: Final = {"RGB8": 3, "BGR8": 3, "RGBa8": 4, "BGRa8": 4}
# More than 8 bits a value, in 16 bits each. A packed format has the same form once a library has unpacked it.
_DEEP: Final = re.compile(r"(Mono|BayerRG|BayerGR|BayerGB|BayerBG)(10|12|14|16)(p|Packed)?")


def to_bgr(data: NDArray[Any], width: int, height: int, pixel_format: str, line_padding: int = 0) -> NDArray[np.uint8]:
    """Convert the buffer of a camera to (height, width, 3) uint8 BGR. Deep formats keep their highest 8 bits.

    Args:
        data: (n,), as the camera sent it. Values after the last pixel are left out.
        line_padding: how many values follow each line that are no pixels.

    Raises:
        SourceError: the pixel format is not supported, or the number of values is another one. Where values may follow
            each line or the whole picture, nothing is guessed: a wrong guess gives a picture that is sheared.
    """
    channels = _CHANNELS.get(pixel_format, 1)
    deep = _DEEP.fullmatch(pixel_format)
    if deep is not None and data.dtype.itemsize == 1:
        raise SourceError(
            f"expected {pixel_format} as 16 bits a value, but got bytes: this library does not unpack it; set "
            f"`PixelFormat: {deep[1]}8` or an unpacked format in the camera's features"
        )
    values = width * channels
    pixels = _lines(data, values, height, line_padding, f"{width} x {height} pixels of {pixel_format}")
    if channels > 1:
        pixels = pixels.reshape((height, width, channels))
    if pixel_format == "BGR8":
        return np.array(pixels, dtype=np.uint8)
    plain = pixel_format
    if deep is not None:
        plain = f"{deep[1]}8"
        pixels = (pixels >> (int(deep[2]) - 8)).astype(np.uint8)
    conversion = _TO_BGR.get(plain)
    if conversion is None:
        known = ", ".join(sorted((*_TO_BGR, "BGR8")))
        raise SourceError(
            f"expected one of the pixel formats {known}, or Mono and Bayer with 10 to 16 bits, but got {pixel_format}; "
            "set `PixelFormat`"
        )
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), conversion), dtype=np.uint8)


def _lines(data: NDArray[Any], values: int, height: int, line_padding: int, expected: str) -> NDArray[Any]:
    """The pixels of a buffer, (height, values), without what a camera sends beside them."""
    padded = (values + line_padding) * height
    more = data.size - padded
    if more < 0 or (more and not line_padding and more % height == 0):
        raise SourceError(
            f"expected {expected}, but got {data.size} values; set `Width` to a multiple of 4 or 8 in the camera's "
            "features, and turn `ChunkModeActive` off, so that nothing is sent beside the pixels"
        )
    return data[:padded].reshape((height, values + line_padding))[:, :values]


def _set(nodes: Any, name: str, value: object) -> None:
    try:
        getattr(nodes, name).value = value
    except AttributeError as e:  # the binding gives no other sign
        raise SourceError(f"it has no feature {name}") from e
    except Exception as e:
        raise SourceError(f"its feature {name} cannot be {value!r}: {e}") from e


def _trigger_mode(nodes: Any) -> str:
    """The camera's feature `TriggerMode` as it is in the camera now; empty where the camera has none."""
    try:
        node = nodes.TriggerMode
        ask = getattr(node, "get_value", None)
        return str(node.value if ask is None else ask(ignore_cache=True))
    except AttributeError:
        return ""


def _waits_for_signal(camera: GenICamCamera, nodes: Any) -> bool:
    if camera.hardware_trigger is not None:
        return camera.hardware_trigger
    if camera.features.get("TriggerMode") == "On":  # just set, and some producers do not read it back
        return True
    try:
        return _trigger_mode(nodes) == "On"
    except Exception as e:  # a feature that cannot be read says nothing; each producer raises classes of its own
        _log.warning("the feature TriggerMode cannot be read: %s; set hardware_trigger if a signal takes pictures", e)
        return False


class GenICamGrabber:
    """`Grabber` over `harvesters`.

    Args:
        harvester: the class `harvesters.core.Harvester`, or a stand-in; None for the installed one.

    Raises:
        ConfigError: the package `harvesters` is not installed, or there is no file of the producer.
    """

    def __init__(self, camera: GenICamCamera, *, harvester: Any = None) -> None:
        if harvester is None:
            try:
                harvester = importlib.import_module("harvesters.core").Harvester
            except ImportError as e:
                raise ConfigError(
                    "a camera of source genicam needs the package harvesters: the extra edge-genicam"
                ) from e
        if not camera.producer.is_file():
            raise ConfigError(f"expected the vendor's GenTL producer (.cti) at {camera.producer}, but there is no file")
        self._make = harvester
        self._camera = camera
        self._harvester: Any = None
        self._acquirer: Any = None
        self.waits_for_signal = False
        """Whether a signal asks for each picture: a time without one is silence then, and the camera is not gone."""

    def open(self) -> None:
        """See `Grabber.open`."""
        camera = self._camera
        try:
            self._harvester = self._make()
            self._harvester.add_file(str(camera.producer), check_existence=True, check_validity=True)
            self._harvester.update()
            wanted = 0 if camera.serial_number is None else {"serial_number": camera.serial_number}
            self._acquirer = self._harvester.create(wanted)
            nodes = self._acquirer.remote_device.node_map
            for name, value in camera.features.items():
                _set(nodes, name, value)
            self.waits_for_signal = _waits_for_signal(camera, nodes)
            self._acquirer.start()
        except Exception as e:  # each producer raises classes of its own
            which = camera.serial_number or "the first one"
            why = str(e) if isinstance(e, SourceError) else f"{type(e).__name__}: {e}"
            raise SourceError(f"cannot open GenICam camera {which}: {why}") from e

    def read(self) -> NDArray[np.uint8] | None:
        """See `Grabber.read`."""
        try:
            buffer = self._acquirer.try_fetch(timeout=self._camera.timeout_s)
            if buffer is None and self.waits_for_signal:
                _trigger_mode(self._acquirer.remote_device.node_map)  # fails where the camera is gone
                return None
            if buffer is None:
                raise SourceError(f"no picture within {math.ceil(self._camera.timeout_s)} s")
            with buffer:
                part = next((part for part in buffer.payload.components if part is not None), None)
                if part is None:
                    raise SourceError("the camera sent a buffer without a picture; see its feature `ComponentSelector`")
                padding = int(getattr(part, "x_padding", 0) or 0) // max(1, part.data.dtype.itemsize)
                return to_bgr(part.data, part.width, part.height, part.data_format, padding)
        except SourceError:
            raise
        except Exception as e:
            raise SourceError(f"the camera is gone: {type(e).__name__}: {e}") from e

    def close(self) -> None:
        """See `Grabber.close`."""
        for thing, act in ((self._acquirer, "stop"), (self._acquirer, "destroy"), (self._harvester, "reset")):
            try:
                if thing is not None:
                    getattr(thing, act)()
            except Exception:  # noqa: S112 - a camera that has failed cannot be stopped in order
                continue
        self._acquirer = self._harvester = None
