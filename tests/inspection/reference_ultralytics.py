"""Ultralytics as the reference, quiet, offline and with its files in a folder of its own."""

import os
import tempfile

os.environ.update(
    YOLO_OFFLINE="true",
    YOLO_AUTOINSTALL="false",
    YOLO_VERBOSE="false",
    YOLO_CONFIG_DIR=os.environ.get("YOLO_CONFIG_DIR") or tempfile.mkdtemp(prefix="ultralytics-"),
)

import torch
from ultralytics.data.augment import LetterBox
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import scale_boxes

__all__ = ["LetterBox", "non_max_suppression", "scale_boxes", "torch"]
