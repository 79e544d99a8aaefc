"""A tiny but real ONNX model of YOLOv8's shape, and releases around it.

The network answers four boxes, the quadrants of a 64 x 64 picture, each with its mean brightness as score: what it
says about a picture can be worked out by hand.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from inspection import (
    Approval,
    Box,
    Candidate,
    ClassThreshold,
    Detection,
    GoldenSample,
    InputSpec,
    ModelFile,
    Nms,
    Release,
    Sampling,
    Tolerance,
)  # fmt: skip

SIDE = 64
QUADRANTS = (Box(0, 0, 32, 32), Box(32, 0, 32, 32), Box(0, 32, 32, 32), Box(32, 32, 32, 32))


def quadrant_model(gain: float = 1.0, side: int = SIDE, nan_above: float | None = None) -> bytes:
    """ONNX bytes: (1, 3, side, side) -> (1, 5, 4). `gain` makes another model of it.

    nan_above: a brightness, 0..1, above which the score of a quadrant is NaN.
    """
    half = side // 2
    boxes = np.array([[[half / 2, half * 1.5, half / 2, half * 1.5], [half / 2, half / 2, half * 1.5, half * 1.5],
                       [half] * 4, [half] * 4]], dtype=np.float32)  # fmt: skip
    nodes = [
        helper.make_node("AveragePool", ["images"], ["pooled"], kernel_shape=[half, half], strides=[half, half]),
        helper.make_node("ReduceMean", ["pooled", "channel_axis"], ["grey"], keepdims=1),
        helper.make_node("Reshape", ["grey", "row"], ["flat"]),
        helper.make_node("Mul", ["flat", "gain"], ["scores"]),
        helper.make_node("Concat", ["boxes", "scores"], ["output"], axis=1),
    ]
    constants = [
        numpy_helper.from_array(boxes, "boxes"),
        numpy_helper.from_array(np.array([1, 1, 4], dtype=np.int64), "row"),
        numpy_helper.from_array(np.array([1], dtype=np.int64), "channel_axis"),
        numpy_helper.from_array(np.array(gain, dtype=np.float32), "gain"),
    ]
    if nan_above is not None:
        nodes[3:4] = [
            helper.make_node("Sub", ["limit", "flat"], ["room"]),
            helper.make_node("Sqrt", ["room"], ["root"]),  # of a negative number: NaN
            helper.make_node("Mul", ["root", "zero"], ["nothing"]),
            helper.make_node("Add", ["flat", "nothing"], ["sound"]),
            helper.make_node("Mul", ["sound", "gain"], ["scores"]),
        ]
        constants += [
            numpy_helper.from_array(np.array(nan_above, dtype=np.float32), "limit"),
            numpy_helper.from_array(np.array(0.0, dtype=np.float32), "zero"),
        ]
    graph = helper.make_graph(
        nodes,
        "quadrants",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 5, 4])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def picture(*brightness: int, seed: int = 0) -> bytes:
    """A PNG whose quadrants have these grey values, 0..255; the seed changes one pixel by one, so the bytes differ."""
    values = (*brightness, 0, 0, 0, 0)[:4]
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    for box, value in zip(QUADRANTS, values, strict=True):
        x, y = int(box.x), int(box.y)
        image[y : y + 32, x : x + 32] = value
    image[-1, -1] = (seed % 251, seed // 251 % 251, seed // 63001 % 251)
    return cv2.imencode(".png", image)[1].tobytes()


GOOD = (60, 20, 40, 10)
BAD = (255, 0, 0, 0)
DOUBTFUL = (128, 0, 0, 0)


@dataclass(frozen=True)
class BuiltRelease:
    """release.json and the files it names."""

    release: Release
    files: dict[str, bytes]

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.files["release.json"]).hexdigest()

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        return folder


def build_release(
    version: int = 1,
    *,
    model: bytes | None = None,
    gain: float = 1.0,
    golden_score: float | None = None,
    **changes: object,
) -> BuiltRelease:
    """A release of the quadrant model. golden_score: what release.json claims about its golden sample."""
    data = quadrant_model(gain) if model is None else model
    sample = picture(*BAD)
    score = min(1.0, gain) if golden_score is None else golden_score
    release = Release(
        use_case="tags",
        version=version,
        models=(ModelFile(precision="fp32", file="model.onnx", sha256=_sha256(data), bytes=len(data)),),
        preprocess=InputSpec(width=SIDE, height=SIDE),
        classes=("scratch",),
        thresholds={"scratch": ClassThreshold(fail=0.8, uncertain=0.4)},
        nms=Nms(),
        sampling=Sampling(uncertain_low=0.3, uncertain_high=0.7),
        latency_budget_ms=1000.0,
        probation_s=1.0,
        golden=(
            GoldenSample(
                file="golden.png",
                sha256=_sha256(sample),
                expected=(Detection("scratch", score, QUADRANTS[0]),),
                tolerance=Tolerance(),
            ),
        ),
        min_agent_version="0.1.0",
        dataset_digest="0" * 64,
        training_run="run",
        evaluation_digest="1" * 64,
        approval=Approval(by="unauthenticated", at=datetime(2026, 1, 1, tzinfo=UTC), model_sha256=_sha256(data)),
    )
    release = replace(release, **changes)
    return BuiltRelease(release, {"release.json": release.to_json(), "model.onnx": data, "golden.png": sample})


@dataclass(frozen=True)
class BuiltCandidate:
    """candidate.json and the files it names."""

    candidate: Candidate
    files: dict[str, bytes]

    @property
    def digest(self) -> str:
        return self.candidate.digest

    def write(self, folder: Path) -> Path:
        return BuiltRelease.write(self, folder)


def build_candidate(version: int = 2, **changes: object) -> BuiltCandidate:
    """As `build_release`, without an approval."""
    built = build_release(version, **changes)
    release = built.release
    candidate = Candidate(
        **{field.name: getattr(release, field.name) for field in fields(release) if field.name != "approval"}
    )
    files = {name: data for name, data in built.files.items() if name != "release.json"}
    return BuiltCandidate(candidate, {"candidate.json": candidate.to_json(), **files})


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
