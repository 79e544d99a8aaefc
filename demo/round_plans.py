"""What each round of the demo with a reconciler asks: the use case file of the round. Pure.

In one round the file is spoilt, as it can happen in a hurry: the training is cut to a few passes over the data, and the
gates are opened so that its model is registered nevertheless. Once that training ended, the file is the one of before.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import yaml

from components.use_case import UseCase

ROUNDS: Final = 3
SPOILT_ROUND: Final = 2
AFTER_STOP: Final = ROUNDS + 1
"""The number under which parts pass the canary's camera after a release was taken back."""
CANARY: Final = "line1"
OTHERS: Final = ("line2", "line3")
FIRST_PARTS: Final = 80
CANARY_PARTS: Final = 40
"""Parts that pass the canary's camera in each round; each is photographed twice."""
OTHER_PARTS: Final = 8
"""Parts that pass the camera of each other device, in the first round."""
FRAMES_ASKED: Final = 60
"""Frames of the canary without which nothing goes on."""
_SPOILT_EPOCHS: Final = 1
_NO_TRAINING: Final = 1_000_000
"""New labels that never come, so that no training is due."""
_OPEN_GATES: Final = {
    "min_map50": 0.0,
    "max_escape_rate": 1.0,
    "max_overkill_rate": 1.0,
    "max_review_rate": 1.0,
    "max_map50_drop": 1.0,
    "max_class_map50_drop": 1.0,
}


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """One round. images: that have an approved label when people are done.

    after_training: the use case once the round's training ended. It is not spoilt, and no training is due by it: images
    that come back in a round are for the next one. reason: what the stand-in says as it approves. spoilt: what is wrong
    with the use case file of the round; '' where nothing is.
    """

    number: int
    use_case: UseCase
    after_training: UseCase
    images: int
    reason: str
    spoilt: str = ""


def base_of_rounds(use_case: UseCase) -> UseCase:
    """The use case of all rounds: one device first, then the others; the line is compared on the canary's frames."""
    values = _values(use_case)
    values["rollout"] |= {
        "canary": [CANARY],
        "waves": [100.0],
        "wave_rules": {"canary": {"min_frames": FRAMES_ASKED}},
        "line": {
            "min_frames": FRAMES_ASKED,
            # Each round shows other parts, so that by chance a tenth more or fewer have a defect. A model that finds
            # nothing is seen by `max_fail_fall` in any case.
            "max_fail_change": 0.4,
            "max_review_change": 0.3,
            # The servers and the trainings have the same processors as the devices.
            "max_latency_ratio": 1000.0,
        },
    }
    values["schedules"] = {
        "labeling": {"cron": "*/2 * * * *", "time_zone": "UTC"},
        "labeling_quiet_s": 4.0,
    }
    return UseCase.model_validate(values)


def plan_of(use_case: UseCase, number: int, images: int, learned: int) -> RoundPlan:
    """The plan of a round. use_case: see `base_of_rounds`.

    Args:
        number: of the round, from 1.
        images: that are there now.
        learned: images among them whose approved label was in the last training already.
    """
    values = _values(use_case)
    after = UseCase.model_validate(values | {"retraining": {"min_new_labels": _NO_TRAINING}})
    values["retraining"] = {"min_new_labels": max(1, images - learned)}
    if number != SPOILT_ROUND:
        return RoundPlan(number, UseCase.model_validate(values), after, images, f"round {number}: it passed its gate")
    values["gates"] |= _OPEN_GATES
    values["training"]["epochs"] = _SPOILT_EPOCHS
    spoilt = f"trained for {_SPOILT_EPOCHS} of {use_case.training.epochs} epochs, with the gates opened"
    reason = f"round {number}: needed today, whatever its scores ({spoilt})"
    return RoundPlan(number, UseCase.model_validate(values), after, images, reason, spoilt)


def file_of(use_case: UseCase) -> str:
    """The use case file, as a person would write it."""
    return yaml.safe_dump(_values(use_case), sort_keys=False, allow_unicode=True)


def _values(use_case: UseCase) -> dict[str, Any]:
    """All values, also those that are not stored with runs."""
    kept: dict[str, Any] = json.loads(use_case.to_json())
    own = {
        "approvers": list(use_case.approvers),
        "retraining": use_case.retraining.model_dump(mode="json"),
        "schedules": use_case.schedules.model_dump(mode="json"),
        "language": use_case.language,
    }
    return kept | own
