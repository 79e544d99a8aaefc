"""The verdict on a frame, and the rule that decides it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from inspection.geometry import Detection


class Verdict(StrEnum):
    """The verdict on a frame. `uncertain`: a person should look at the part; the line decides what to do with it.

    `not-inspected` is what a device tells the line about a frame that was asked for and has no verdict; `decide` never
    gives it.
    """

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    UNCERTAIN = "uncertain"
    NOT_INSPECTED = "not-inspected"


class NoVerdict(StrEnum):
    """Why a frame that was asked for is `not-inspected`."""

    DEADLINE = "deadline"
    """No verdict stood by the deadline of the trigger."""
    CAMERA_LOST = "camera-lost"
    """The camera was gone when the deadline passed."""
    READ_FAILED = "read-failed"
    """The camera failed while it took this picture."""
    QUEUE_FULL = "queue-full"
    """As many triggers were open already as the configuration allows."""
    MEMORY_FULL = "memory-full"
    """The pictures that wait take all the memory that the configuration gives them."""
    NO_RELEASE = "no-release"
    """The device has no release yet that could judge."""
    INFERENCE_ERROR = "inference-error"
    """The model failed on this picture."""
    UNREADABLE = "unreadable"
    """The picture is no usable image."""
    UNEXPECTED = "unexpected"
    """An error that nobody foresaw; its trace is in the log."""
    STOPPING = "stopping"
    """The agent was stopped first."""


@dataclass(frozen=True, slots=True)
class ClassThreshold:
    """Scores of one class: from `fail` on the part is defective, from `uncertain` on it is in doubt."""

    fail: float
    uncertain: float

    def __post_init__(self) -> None:
        if not 0.0 < self.uncertain <= self.fail <= 1.0:
            raise ValueError(
                f"thresholds need 0 < uncertain <= fail <= 1, but got uncertain={self.uncertain}, fail={self.fail}"
            )


def decide(detections: Iterable[Detection], thresholds: Mapping[str, ClassThreshold]) -> Verdict:
    """Decide the verdict on one frame: `fail` wins over `uncertain`, and `uncertain` over `pass`.

    Raises:
        KeyError: a detection has a class without a threshold. The release is wrong, and a guess would not be safe.
    """
    verdict = Verdict.PASS
    for detection in detections:
        threshold = thresholds[detection.class_name]
        if detection.score >= threshold.fail:
            return Verdict.FAIL
        if detection.score >= threshold.uncertain:
            verdict = Verdict.UNCERTAIN
    return verdict
