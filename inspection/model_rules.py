"""The rules by which evaluation and the device open a model, so that what is measured is what runs.

No runtime is imported here: each side opens a session of its own with these values, and shows what the runtime says of
the model to these checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from inspection.outputs import ANOMALY_MAP, BOXES

TELEMETRY_SWITCH: Final = ("ORT_DISABLE_TELEMETRY", "1")
"""Name and value of an environment variable. onnxruntime reads it while it is imported; without it, onnxruntime writes
an id of this machine to a cache, to report it with its events."""

_ELEMENT: Final = "tensor(float)"


class ModelFormError(ValueError):
    """A model without one static input of the expected size, or without an output of the form that is expected."""


class TensorInfo(Protocol):
    """An input or output of a model as onnxruntime describes it; a side that is not fixed is a text or None."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def shape(self) -> Sequence[int | str | None]: ...  # noqa: D102
    @property
    def type(self) -> str: ...  # noqa: D102


class SessionOptions(Protocol):
    """onnxruntime's options of a session, as far as they are set here."""

    intra_op_num_threads: int
    inter_op_num_threads: int
    log_severity_level: int

    def add_session_config_entry(self, name: str, value: str) -> None: ...  # noqa: D102


def configure(options: SessionOptions, threads: int) -> None:
    """Set the options of a session: `threads` for one operator, operators one after another, errors only in the log.

    Idle threads stop at once. They would go on spinning after each frame, which doubles the processor time for the same
    latency.
    """
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # of 0 (verbose) to 4 (fatal)
    options.add_session_config_entry("session.force_spinning_stop", "1")


def lanes(tiled: bool, threads: int) -> tuple[int, int]:
    """How many tiles of a picture are judged at the same time, and the threads of each.

    Together they are `threads`. Tiles side by side on one thread each take less time than one tile after the other on
    all threads, which wait for each other in every operator; docs/benchmarks.md has the numbers.
    """
    return (threads, 1) if tiled else (1, threads)


def check_input(inputs: Sequence[TensorInfo], size: tuple[int, int] | None = None) -> tuple[int, int]:
    """Check that a model takes one image of a fixed size: float32 of shape (1, 3, height, width).

    Args:
        size: height and width in pixels that it must have; None for any.

    Returns:
        Height and width in pixels.

    Raises:
        ModelFormError: another number of inputs, another shape, or another type.
    """
    if len(inputs) == 1 and inputs[0].type == _ELEMENT:
        shape = list(inputs[0].shape)
        height, width = shape[2:] if len(shape) == 4 and shape[:2] == [1, 3] else (None, None)
        if isinstance(height, int) and isinstance(width, int) and size in (None, (height, width)):
            return height, width
    wanted = "(1, 3, height, width)" if size is None else str((1, 3, *size))
    got = [(item.name, list(item.shape), item.type) for item in inputs]
    raise ModelFormError(f"expected one static float input of shape {wanted}, but got {got}")


def check_output(outputs: Sequence[TensorInfo], classes: int, form: str = BOXES) -> None:
    """Check that a model answers in the form that its release names; see `inspection.outputs`.

    Boxes: (1, 4 + classes, n), box and one score for each class, for each of n places. An anomaly map: (1, 1, rows,
    columns), of a fixed size.

    Raises:
        ModelFormError: the first output has another shape.
    """
    shape = list(outputs[0].shape) if outputs else None
    if form == ANOMALY_MAP:
        sides = shape[2:] if shape is not None and len(shape) == 4 and shape[:2] == [1, 1] else []
        if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
            raise ModelFormError(f"expected an output of shape (1, 1, rows, columns), but got {shape}")
        return
    if shape is None or len(shape) != 3 or shape[1] != 4 + classes:
        raise ModelFormError(
            f"expected an output of shape (1, {4 + classes}, n) for {classes} classes, but got {shape}"
        )
