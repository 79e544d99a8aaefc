# SPDX-License-Identifier: AGPL-3.0-only
"""Export of a YOLOv8 to ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.training.onnx_file import Exported, write_onnx


def export_onnx(network: Any, width: int, height: int, classes: tuple[str, ...], path: Path, threads: int) -> Exported:
    """Write `network` (float32, eval mode) as `write_onnx` does.

    The exported graph is `rearranged` for a CPU and compared with the network itself.

    Raises:
        ExportError: see `write_onnx`.
    """
    from components.yolov8.deployed_network import rearranged

    head = network.model[-1]
    # With these, Ultralytics' head returns one tensor with decoded boxes and no training outputs.
    head.export, head.format, head.dynamic = True, "onnx", False
    network = network.fuse(verbose=False)
    return write_onnx(rearranged(network), network, width, height, classes, path, threads)
