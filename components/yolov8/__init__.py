# SPDX-License-Identifier: AGPL-3.0-only
"""YOLOv8 behind the port `components.training.trainer.Trainer`.

This room alone imports Ultralytics, and is under its licence (see LICENSE beside this file).
"""
