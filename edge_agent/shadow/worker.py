"""The process in which a candidate judges: `python -m edge_agent.shadow.worker <folder> <digest>`.

It first checks the files, and the golden samples, as the trial of a release does, and prints one line of JSON:
`{"ready": …, "reason": …, "message": …}`. Then it reads frames from the standard input: a JSON object that says how the
camera sees the part, what is judged of the picture (JSON, or nothing for all of it), and the image, each with eight
bytes of its length before it. For each frame it prints `{"verdict": …, "cpu_s": …}` or `{"error": …}`. It ends with its
input.

It has the lowest priority, and the kernel ends it first where memory runs out. A candidate that crashes its runtime
ends this process, and not the inspection.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, TextIO

from edge_agent.errors import EdgeError, InferenceError, UpdateError
from edge_agent.inference import CANDIDATE_FILE, RuntimeChoice, load_inspector
from edge_agent.memory import end_first_without_memory
from edge_agent.ota.release_client import read_candidate, sha256_of_file
from edge_agent.ota.trial import check_agent_version, check_golden
from edge_agent.tightening import Tightening
from inspection import Candidate, Inspector, PartView
from inspection.region import Region

LENGTH_BYTES: Final = 8
_LOWEST: Final = 19


def load(folder: Path, digest: str, choice: RuntimeChoice) -> tuple[Candidate, Inspector]:
    """Load a candidate whose files are whole and whose golden samples come out as expected.

    Raises:
        UpdateError, InferenceError: it may not judge.
    """
    try:
        data = (folder / CANDIDATE_FILE).read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise UpdateError("damaged", f"{CANDIDATE_FILE} of {digest[:12]} was changed on this disk")
        candidate = read_candidate(data)
        for model in candidate.models:
            if sha256_of_file(folder / model.file) != model.sha256:
                raise UpdateError("damaged", f"{model.file} of {digest[:12]} was changed on this disk")
        check_agent_version(candidate)
        _, inspector = load_inspector(folder, candidate, choice)
        check_golden(folder, candidate, inspector)
    except OSError as e:
        raise UpdateError("damaged", f"candidate {digest[:12]} is not complete on this disk: {e}") from e
    return candidate, inspector


def serve(candidate: Candidate, inspector: Inspector, source: BinaryIO, answers: TextIO, max_pixels: int) -> None:
    """Judge images until the input ends."""
    while (head := _read(source)) is not None:
        view, about, data = view_from(head), _read(source) or b"", _read(source) or b""
        begun = time.process_time()
        try:
            pixels = inspector.read(data, max_pixels=max_pixels)
            floor = max(0.01, candidate.sampling.uncertain_low)
            region = Region.from_json(about) if about else None
            inspection = inspector.inspect(pixels, score_floor=floor, view=view, region=region)
            answer: dict[str, object] = {"verdict": str(inspection.verdict), "cpu_s": time.process_time() - begun}
        except Exception as e:  # a model's answer may break the code behind it in any way
            answer = {"error": f"{type(e).__name__}: {e}"[:300]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _read(source: BinaryIO) -> bytes | None:
    """What comes next; None where the input ends."""
    head = source.read(LENGTH_BYTES)
    return source.read(int.from_bytes(head)) if len(head) == LENGTH_BYTES else None


def view_from(text: bytes) -> PartView:
    """How a camera sees the part, as `shadow.process` writes it."""
    values = json.loads(text)
    for name in ("origin_px", "size_px"):
        values[name] = tuple(values[name]) if values[name] is not None else None
    return PartView(**values)


def main(arguments: Sequence[str] | None = None) -> int:
    """Load the candidate, say how that went, and judge."""
    parser = argparse.ArgumentParser(description="Judge images with a candidate.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("digest")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--max-pixels", type=int, required=True)
    parser.add_argument("--tighten", default="{}")
    given = parser.parse_args(arguments)
    with suppress(OSError):  # some containers forbid it; the rest after each frame holds there too
        os.nice(_LOWEST)
    end_first_without_memory()
    # Libraries in C may print; only the answers go to the parent.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        # One thread, so that the processor time is that of the share, and the cores stay with the release.
        choice = RuntimeChoice(1, given.precision, tighten=Tightening(**json.loads(given.tighten)))
        candidate, inspector = load(given.folder, given.digest, choice)
    except UpdateError as e:
        return _not_ready(answers, e.reason, str(e))
    except (InferenceError, EdgeError) as e:
        return _not_ready(answers, "unusable-model", str(e))
    except Exception as e:  # a candidate is foreign data: whatever it causes is a failure of the candidate
        return _not_ready(answers, "unusable-release", f"{type(e).__name__}: {e}")
    answers.write('{"ready": true}\n')
    answers.flush()
    serve(candidate, inspector, sys.stdin.buffer, answers, given.max_pixels)
    return 0


def _not_ready(answers: TextIO, reason: str, message: str) -> int:
    answers.write(json.dumps({"ready": False, "reason": reason, "message": message[:600]}) + "\n")
    answers.flush()
    return 1


if __name__ == "__main__":
    sys.exit(main())
