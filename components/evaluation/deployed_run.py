"""The deployed path as a process of its own, so that its memory is that of runtime, model and one image alone.

`python -m components.evaluation.deployed_run <order.json>` reads numbers of images, one a line, and prints for each the
milliseconds from image to verdict. As in the agent, that time does not include reading and decoding the file.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from components.stores.models.onnx_session import open_session
from inspection.decode import Nms
from inspection.image import decode_image
from inspection.inspector import Inspector
from inspection.verdict import ClassThreshold


def main(arguments: list[str]) -> int:
    """Load the model, then time images until the input ends."""
    file = Path(arguments[0])
    order = json.loads(file.read_bytes())
    folder = file.parent
    onnx, output = (folder / order["model"]).read_bytes(), order["output"]
    infer, spec = open_session(onnx, len(order["classes"]), threads=order["threads"], output=output)
    thresholds = {name: ClassThreshold(**value) for name, value in order["thresholds"].items()}
    inspector = Inspector(infer, spec.to_preprocess(), order["classes"], thresholds, Nms(**order["nms"]), output=output)
    for line in sys.stdin:
        image = decode_image((folder / "images" / str(int(line))).read_bytes())
        began = time.perf_counter()
        inspector.inspect(image)
        sys.stdout.write(f"{(time.perf_counter() - began) * 1000:.4f}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
