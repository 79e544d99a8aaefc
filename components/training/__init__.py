"""What a training is, the step that runs one, and the detectors under a permissive licence.

YOLOv8 stands behind the same port in a room of its own, `components.yolov8`, which is under AGPL-3.0.
"""
