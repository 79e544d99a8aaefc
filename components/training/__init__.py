# SPDX-License-Identifier: AGPL-3.0-only
"""The training step: a dataset manifest in, a measured-as-exported YOLOv8 as ONNX out.

This room alone imports Ultralytics, and is under its licence (see LICENSE beside this file).
"""
