"""Tests of `components/yolov8`."""
