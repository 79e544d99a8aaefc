"""The deployed path as a process of its own, so that its memory is that of runtime, model and one image alone.

`python -m components.evaluation.deployed_run <order.json>` reads numbers of images, one a line, and prints for each the
milliseconds from image to verdict. As in the agent, that time does not include reading and decoding the file.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from components.stores.models.onnx_session import open_session
from inspection.decode import Nms
from inspection.inspector import Inspector
from inspection.model_rules import lanes
from inspection.preprocess import Tiles
from inspection.verdict import ClassThreshold


def main(arguments: list[str]) -> int:
    """Load the model, then time images until the input ends."""
    file = Path(arguments[0])
    order = json.loads(file.read_bytes())
    folder = file.parent
    tiles = Tiles(**order["tiles"]) if order["tiles"] is not None else None
    at_once, threads = lanes(tiles is not None, order["threads"])
    onnx, output = (folder / order["model"]).read_bytes(), order["output"]
    infer, own = open_session(onnx, len(order["classes"]), threads=threads, output=output)
    size = replace(own, shrink=order["shrink"], tiles=tiles).to_preprocess()
    thresholds = {name: ClassThreshold(**value) for name, value in order["thresholds"].items()}
    nms = Nms(**order["nms"])
    inspector = Inspector(infer, size, order["classes"], thresholds, nms, output=output, at_once=at_once)
    for line in sys.stdin:
        image = inspector.read((folder / "images" / str(int(line))).read_bytes())
        began = time.perf_counter()
        inspector.inspect(image)
        sys.stdout.write(f"{(time.perf_counter() - began) * 1000:.4f}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
