# SPDX-License-Identifier: AGPL-3.0-only
"""Training with Ultralytics itself, with which `make bench-training` compares Kizu's training. No pipeline runs this.

`python -m components.yolov8.ultralytics_train <arguments.yaml>` is `yolo detect train cfg=<arguments.yaml>`, the
command line of Ultralytics, with network access turned off. The last line that it prints is JSON.
"""

from __future__ import annotations

import json
import sys
import time

from components.yolov8.trainer import quiet_ultralytics


def main() -> None:
    """Train; print when the training began and ended (CLOCK_MONOTONIC, seconds) and the number of torch's threads."""
    sys.argv = ["yolo", "detect", "train", f"cfg={sys.argv[1]}"]  # which Ultralytics keeps while it is imported
    quiet_ultralytics()
    import torch
    from ultralytics.cfg import entrypoint

    began = time.monotonic()
    entrypoint()
    said = {"began_at": began, "trained_at": time.monotonic(), "threads": torch.get_num_threads()}
    sys.stdout.write(f"\n{json.dumps(said)}\n")


if __name__ == "__main__":
    main()
