"""The training step, the port `Trainer`, and the detectors under a permissive licence.

YOLOv8 implements the same port in a room of its own, `components.yolov8`, which is under AGPL-3.0.
"""
