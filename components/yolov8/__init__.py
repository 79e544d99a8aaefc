# SPDX-License-Identifier: AGPL-3.0-only
"""YOLOv8 behind the port `components.training.trainer.Trainer`.

Only this room imports Ultralytics, and it is under Ultralytics' licence (see LICENSE beside this file).
"""
