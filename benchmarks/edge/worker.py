"""One contender in a process of its own.

`python -m benchmarks.edge.worker '<order>'` reads the number of a photograph from each line of standard input, and
answers each with one line of JSON: {"ms": …, "infer_ms": …, "defective": …, "faults": …}, where ms is from bytes to
verdict, and faults are the pages that the system gave to the process meanwhile.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

from benchmarks.edge.contenders import Spec, build


def main() -> None:
    """Answer each line until standard input ends."""
    order = json.loads(sys.argv[1])
    # Answers have a stream of their own. What a library prints goes to standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    frames = [path.read_bytes() for path in sorted(Path(order["frames"]).iterdir())]
    contender = build(Spec(**order["spec"]), order["min_score"])
    for line in sys.stdin:
        jpeg = frames[int(line) % len(frames)]
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
        answer = contender.judge(jpeg)
        ms = (time.perf_counter() - began) * 1000
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        said = {"ms": ms, "infer_ms": answer.infer_ms, "defective": answer.defective, "faults": faults}
        answers.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
