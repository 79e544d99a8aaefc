"""USB and network cameras through OpenCV."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.camera_config import OpenCvCamera
from edge_agent.errors import SourceEnded, SourceError

_log = logging.getLogger(__name__)

_NETWORK: Final = frozenset({"rtsp", "rtsps", "http", "https", "rtmp", "udp", "tcp"})


class OpenCvGrabber:
    """`Grabber` over `cv2.VideoCapture`. No message shows the user and password of a URL."""

    def __init__(self, camera: OpenCvCamera) -> None:
        device = camera.device
        if isinstance(device, str) and device.isdigit():
            device = int(device)
        self._device = device
        self._camera = camera
        self._where = without_account(device) if isinstance(device, str) else f"video device {device}"
        self._capture: cv2.VideoCapture | None = None
        self._is_film = isinstance(device, str) and Path(device).is_file()
        self._pictures = 0
        self.remark = ""
        """What is unusual about the pictures; empty where nothing is."""

    def open(self) -> None:
        """See `Grabber.open`."""
        capture = self._network() if self._is_network() else cv2.VideoCapture(self._device)
        if not capture.isOpened():
            capture.release()
            raise SourceError(f"cannot open {self._where}")
        wanted = (
            (cv2.CAP_PROP_FRAME_WIDTH, self._camera.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, self._camera.height),
            (cv2.CAP_PROP_FPS, self._camera.frames_per_s),
        )
        for name, value in wanted:
            if value is not None:
                capture.set(name, value)
        self._capture = capture
        self._pictures = 0

    def read(self) -> NDArray[np.uint8]:
        """See `Grabber.read`."""
        assert self._capture is not None
        good, image = self._capture.read()
        if not good or image is None:
            if self._is_film and self._pictures:
                raise SourceEnded(f"{self._where} has ended after {self._pictures} pictures; name another film")
            raise SourceError(f"{self._where} gives no more pictures")
        self._pictures += 1
        if self._pictures == 1:
            self._compare_size(image.shape[1], image.shape[0])
        return np.asarray(image, dtype=np.uint8)

    def _compare_size(self, width: int, height: int) -> None:
        """Say where a camera gives another size than was asked for: OpenCV does not."""
        wanted = (self._camera.width or width, self._camera.height or height)
        self.remark = ""
        if wanted != (width, height):
            self.remark = (
                f"{self._where} was asked for {wanted[0]} x {wanted[1]} pixels, but it gives {width} x {height}; "
                "set width and height to a size that it has"
            )
            _log.warning("%s", self.remark)

    def close(self) -> None:
        """See `Grabber.close`."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _is_network(self) -> bool:
        return isinstance(self._device, str) and urlsplit(self._device).scheme in _NETWORK

    def _network(self) -> Any:
        # Without limits, OpenCV waits for a camera whose cable was pulled until the connection times out, if it does.
        limit_ms = int(self._camera.timeout_s * 1000)
        parameters = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit_ms]
        return cv2.VideoCapture(self._device, cv2.CAP_FFMPEG, parameters)


def without_account(url: str) -> str:
    """A URL for a log: without user and password.

    >>> without_account("rtsp://user:secret@10.0.0.5/stream")
    'rtsp://***@10.0.0.5/stream'
    """
    parts = urlsplit(url)
    account, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"***@{host}")) if at and account else url
