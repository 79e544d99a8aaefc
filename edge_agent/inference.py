"""Loads the model of a release behind `inspection.Infer`, on onnxruntime or another runtime that is configured."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import BackendUnavailable, InferenceError
from edge_agent.openvino_backend import load_openvino_model
from edge_agent.tightening import NOT_TIGHTENED, Tightening
from inspection import (
    Candidate,
    Infer,
    Inspection,
    Inspector,
    ModelFile,
    OutputError,
    Picture,
    Release,
    read_picture,
)
from inspection.image import MAX_PIXELS
from inspection.model_rules import (
    TELEMETRY_SWITCH,
    ModelFormError,
    check_input,
    check_output,
    configure,
    lanes,
)
from inspection.outputs import BOXES, decoder_of
from inspection.part_view import UNKNOWN_VIEW, PartView
from inspection.region import Region

os.environ.update([TELEMETRY_SWITCH])  # before the import, which reads it

import onnxruntime

if TYPE_CHECKING:  # the trial's process needs no configuration
    from edge_agent.config import Inference

_log = logging.getLogger(__name__)

RELEASE_FILE: Final = "release.json"
CANDIDATE_FILE: Final = "candidate.json"
_WARM_UP_RUNS: Final = 2


@dataclass(frozen=True, slots=True)
class RuntimeChoice:
    """How models run here; see `config.Inference`."""

    threads: int = 2
    precision: str = "fp32"
    providers: Sequence[str] = ("CPUExecutionProvider",)
    backend: str = "onnxruntime"
    trial_memory_bytes: int | None = None
    tighten: Tightening = NOT_TIGHTENED
    """Stricter acceptance rules than those of a release."""

    @classmethod
    def from_config(cls, inference: Inference, tighten: Tightening = NOT_TIGHTENED) -> Self:
        """What the device's configuration chooses."""
        return cls(
            inference.threads,
            inference.precision,
            inference.providers,
            inference.backend,
            inference.trial_memory_bytes,
            tighten,
        )


@dataclass(frozen=True, slots=True)
class LoadedRelease:
    """A release that is ready to inspect."""

    digest: str
    release: Release
    model: ModelFile
    inspector: Inspector
    not_tightened: tuple[str, ...] = ()
    """What the device's file asks of the acceptance rules and does not get, because it would loosen them."""

    def read(self, data: bytes, max_pixels: int = MAX_PIXELS) -> Picture:
        """Decode an image as the release says.

        Raises:
            ImageError: the bytes are no usable image.
        """
        return read_picture(data, shrink=self.release.preprocess.shrink, max_pixels=max_pixels)

    def inspect(
        self, image: NDArray[np.uint8] | Picture, view: PartView = UNKNOWN_VIEW, region: Region | None = None
    ) -> tuple[Inspection, float]:
        """Inspect one image.

        Args:
            image: as `read` gives it; or (h, w, 3) uint8, BGR, decoded in full.
            view: how the camera sees the part.
            region: what is judged of the camera's pictures; all where it is None.

        Returns:
            Detections from the sampling policy's lowest score on with the verdict, and the milliseconds that it took.

        Raises:
            InferenceError: the model or the code behind it failed on this image.
        """
        start = time.perf_counter()
        try:
            floor = max(0.01, self.release.sampling.uncertain_low)
            inspection = self.inspector.inspect(image, score_floor=floor, view=view, region=region)
        except InferenceError:
            raise
        except Exception as e:
            # A model's answer may break the code behind it in any way; the loop handles one kind of error.
            raise InferenceError(f"release {self.digest[:12]}: {type(e).__name__}: {e}") from e
        return inspection, (time.perf_counter() - start) * 1000


def load_release(folder: Path, digest: str, release: Release, choice: RuntimeChoice) -> LoadedRelease:
    """Load the model of a release that lies in `folder`, and warm it up.

    Raises:
        InferenceError: it cannot be loaded, has another input or output than the release describes, or answers nothing
            that can be read.
    """
    model, inspector = load_inspector(folder, release, choice)
    _, refused = choice.tighten.of(release.acceptance)
    for text in refused:
        _log.warning("release %s: %s", digest[:12], text)
    return LoadedRelease(digest, release, model, inspector, refused)


def load_inspector(folder: Path, release: Candidate, choice: RuntimeChoice) -> tuple[ModelFile, Inspector]:
    """Load the model of a release or a candidate, and warm it up; see `load_release`."""
    model = choose_model(release, choice.precision)
    preprocess = release.preprocess.to_preprocess()
    shape = (1, 3, preprocess.height, preprocess.width)
    at_once, threads = lanes(preprocess.tiles is not None and _may_share(choice), choice.threads)
    infer = load_model(
        folder / model.file,
        shape,
        replace(choice, threads=threads),
        classes=len(release.classes),
        form=release.output,
    )
    decoder = decoder_of(
        release.output, classes=release.classes, nms=release.nms, input_width=shape[3], input_height=shape[2]
    )
    try:
        for _ in range(_WARM_UP_RUNS):
            decoder.check(infer(np.zeros(shape, dtype=np.float32)))
    except OutputError as e:
        raise InferenceError(f"{model.file} does not work on a black picture: {e}") from e
    acceptance, _ = choice.tighten.of(release.acceptance)
    inspector = Inspector(
        infer,
        preprocess,
        release.classes,
        release.thresholds,
        release.nms,
        release.picture_limits,
        acceptance,
        release.output,
        at_once=at_once,
        score_tables=release.score_tables,
    )
    return model, inspector


def _may_share(choice: RuntimeChoice) -> bool:
    """Whether several threads may use the model at once: onnxruntime allows it, and gains by it on processors only."""
    return choice.backend == "onnxruntime" and tuple(choice.providers) == ("CPUExecutionProvider",)


def choose_model(release: Candidate, precision: str) -> ModelFile:
    """The model of the wanted precision, else the first of the release."""
    for model in release.models:
        if model.precision == precision:
            return model
    _log.warning("the release has no %s model; using %s", precision, release.models[0].precision)
    return release.models[0]


def load_model(
    path: Path,
    shape: tuple[int, int, int, int],
    choice: RuntimeChoice,
    *,
    classes: int | None = None,
    form: str = BOXES,
) -> Infer:
    """Open an ONNX file as a function (1, 3, h, w) float32 -> float32 in a form of `inspection.outputs`.

    Where the chosen runtime is not available, onnxruntime takes its place and the log says so: the line goes on.

    Args:
        shape: the input that the model must have, (1, 3, height, width).
        classes: how many classes the model must answer for; None checks no output.
        form: the form of its output.

    Raises:
        InferenceError: the file cannot be loaded, or its input or output is another one.
    """
    if choice.backend == "openvino":
        try:
            return load_openvino_model(path, shape, choice.threads, classes=classes, form=form)
        except BackendUnavailable as e:
            _log.warning("%s; falling back to onnxruntime", e)
    return _load_onnxruntime_model(path, shape, choice, classes, form)


def _load_onnxruntime_model(
    path: Path, shape: tuple[int, int, int, int], choice: RuntimeChoice, classes: int | None, form: str
) -> Infer:
    available = onnxruntime.get_available_providers()
    providers = [name for name in choice.providers if name in available]
    if len(providers) < len(choice.providers):
        missing = sorted(set(choice.providers) - set(available))
        _log.warning("execution providers not available here: %s; falling back to the CPU", ", ".join(missing))
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    configure(options, choice.threads)
    try:
        session: Any = onnxruntime.InferenceSession(str(path), options, providers=providers or ["CPUExecutionProvider"])
    except Exception as e:  # onnxruntime raises classes of its own for each cause, without a common base
        raise InferenceError(f"cannot load {path.name}: {str(e).splitlines()[0][:300]}") from e
    try:
        check_input(session.get_inputs(), shape[2:])
        if classes is not None:
            check_output(session.get_outputs(), classes, form)
    except ModelFormError as e:
        raise InferenceError(f"{path.name}: {e}") from e
    input_name = session.get_inputs()[0].name

    def infer(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            output: NDArray[np.float32] = session.run(None, {input_name: tensor})[0]
        except Exception as e:
            raise InferenceError(f"{path.name} failed while running: {str(e).splitlines()[0][:300]}") from e
        return output

    return infer
