"""The sections on what a model must reach and how it inspects: gates, threshold, sampling, rollout."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from components.use_case.section import Score, Section, Share
from inspection.paths import check_name

Rate = Literal["escape_rate", "overkill_rate", "champion_interval"]


class Gates(Section):
    """What a model must reach on the test split before a person is asked.

    A rate that fewer than `min_parts` parts support is not measurable; that passes only where the rate is listed in
    `allow_not_measurable`. max_map50_drop: how far below the champion, scored on the same split, it may lie; nor
    may the whole 95 % interval of the difference (`champion_interval`) lie below 0. A drop of 1 compares neither.
    """

    min_map50: Share
    max_escape_rate: Share
    max_overkill_rate: Share
    min_parts: Annotated[int, Field(ge=1)] = 5
    allow_not_measurable: tuple[Rate, ...] = ()
    max_map50_drop: Share = 0.02
    max_class_map50_drop: Share = 0.05


class Operating(Section):
    """The score from which a part is defective: chosen on the validation split, lowest overkill with escape <= bound.

    uncertain_ratio: the score from which a frame is uncertain, as a share of that threshold. default_score is taken
    where the validation split cannot tell (no defective or no good part in it).
    """

    max_escape_rate: Share = 0.05
    default_score: Score = 0.35
    min_score: Score = 0.15
    max_score: Score = 0.7
    uncertain_ratio: Annotated[float, Field(ge=0.01, le=1.0)] = 0.5

    @model_validator(mode="after")
    def _there_are_scores_to_choose_from(self) -> Operating:
        if not 0.01 <= self.min_score <= self.max_score:
            raise ValueError(f"expected 0.01 <= min_score <= max_score, but got {self.min_score}, {self.max_score}")
        return self


class SamplingPolicy(Section):
    """Which frames a device sends back; travels in the release."""

    uncertain_low: Share = 0.1
    uncertain_high: Share = 0.6
    nothing_found_rate: Share = 0.05
    control_rate: Share = 0.02
    disagreement_rate: Share = 0.0
    """Share of frames that the release before judges too; where the two verdicts differ the frame is sent."""
    max_per_minute: Annotated[int, Field(ge=0)] = 60
    max_per_hour: Annotated[int, Field(ge=0)] = 1000
    max_per_day: Annotated[int, Field(ge=0)] = 10_000

    @model_validator(mode="after")
    def _the_band_of_doubt_has_an_extent(self) -> SamplingPolicy:
        # A release refuses the same, but that is after a training and an approval.
        if self.uncertain_low > self.uncertain_high:
            raise ValueError(
                f"expected uncertain_low <= uncertain_high, but got {self.uncertain_low}, {self.uncertain_high}"
            )
        return self


class Rollout(Section):
    """How a release reaches a group of devices. Times in seconds, latency in milliseconds a frame."""

    group: str = "line"
    canary: tuple[str, ...] = ()
    waves: Annotated[tuple[Annotated[float, Field(gt=0.0, le=100.0)], ...], Field(min_length=1)] = (100.0,)
    probation_s: Annotated[float, Field(ge=0.0)] = 120.0
    report_timeout_s: Annotated[float, Field(gt=0.0)] = 3600.0
    latency_budget_ms: Annotated[float, Field(gt=0.0)] = 500.0

    @field_validator("group")
    @classmethod
    def _group_is_a_name(cls, value: str) -> str:
        return check_name("group", value)
