"""The sections on what a model must reach and how it inspects: gates, threshold, sampling, rollout."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from components.use_case.section import Score, Section, Share
from inspection.documents import Probation, Sampling
from inspection.paths import check_name

RateName = Literal["escape_rate", "overkill_rate", "review_rate", "champion_interval"]


class Gates(Section):
    """What a model must reach on the test split before a person is asked.

    A rate measured on fewer than `min_parts` parts is not measurable; it passes only if it is listed in
    `allow_not_measurable`. With `bound: upper_95`, a rate is judged by the upper end of its 95 % interval. It is then
    not measurable, too, where the parts are so few that even without one error the upper end lies above the bound. A
    class with defects on fewer than `min_parts` parts is not measurable; it passes only if it is listed in
    `allow_classes_not_measurable`. max_review_rate: 1 judges no review rate. max_map50_drop: how far the model's mAP50
    may lie below that of the champion, scored on the same split. The 95 % interval of the difference
    (`champion_interval`) must not lie wholly below 0. With a max_map50_drop of 1, neither is compared.
    """

    min_map50: Share
    """Least mean average precision at IoU 0.5."""
    max_escape_rate: Share
    """Largest share of defective parts that the model may judge good."""
    max_overkill_rate: Share
    """Largest share of good parts that the model may judge defective."""
    max_review_rate: Share = 0.25
    """Largest share of all parts that the model may send to a person, with the verdict *uncertain*."""
    bound: Literal["point", "upper_95"] = "upper_95"
    """Whether a rate is judged by its value or by the upper end of its 95 % interval."""
    min_parts: Annotated[int, Field(ge=1)] = 5
    """Parts that a rate needs to be measurable."""
    allow_not_measurable: tuple[RateName, ...] = ()
    """Rates that may be not measurable."""
    allow_classes_not_measurable: tuple[str, ...] = ()
    """Classes that may have too few defective parts in the test split."""
    max_map50_drop: Share = 0.02
    max_class_map50_drop: Share = 0.05
    """How far one class may lie below the champion."""

    @model_validator(mode="after")
    def _can_be_shown(self) -> Gates:
        for name in ("max_escape_rate", "max_overkill_rate", "max_review_rate"):
            if self.bound == "upper_95" and getattr(self, name) == 0.0:
                raise ValueError(
                    f"expected {name} above 0 with bound upper_95, because no number of parts shows a rate of 0; "
                    "write a larger rate, or bound: point"
                )
        return self


class Operating(Section):
    """How the operating threshold, the score from which a part is defective, is chosen on the validation split.

    The rule takes the lowest overkill whose escape rate is at most `max_escape_rate`; without good parts, the highest
    score that keeps `max_escape_rate`. uncertain_ratio: the score from which a frame is uncertain, as a share of the
    threshold. default_score: the threshold where the validation split has no defective part.
    """

    max_escape_rate: Share = 0.05
    """The escape rate that the threshold keeps on the validation split."""
    default_score: Score = 0.35
    min_score: Score = 0.15
    """The lowest threshold that is tried."""
    max_score: Score = 0.7
    """The highest threshold that is tried."""
    uncertain_ratio: Annotated[float, Field(ge=0.01, le=1.0)] = 0.5

    @model_validator(mode="after")
    def _there_are_scores_to_choose_from(self) -> Operating:
        if not 0.01 <= self.min_score <= self.max_score:
            raise ValueError(f"expected 0.01 <= min_score <= max_score, but got {self.min_score}, {self.max_score}")
        return self


class SamplingPolicy(Section):
    """Which frames a device sends back. The release carries it to the devices."""

    uncertain_low: Share = 0.1
    """Lowest score of a doubtful detection; its frame is sent."""
    uncertain_high: Share = 0.6
    """Highest score of a doubtful detection."""
    nothing_found_rate: Share = 0.05
    """Share of the frames without a detection that are sent."""
    control_rate: Share = 0.02
    """Share of all frames that are sent, whatever was found."""
    disagreement_rate: Share = 0.0
    """Share of frames that the previous release judges too; a frame is sent where the two verdicts differ."""
    max_per_minute: Annotated[int, Field(ge=0)] = 60
    """At most so many frames are sent a minute."""
    max_per_hour: Annotated[int, Field(ge=0)] = 1000
    """At most so many frames are sent an hour."""
    max_per_day: Annotated[int, Field(ge=0)] = 10_000
    """At most so many frames are sent a day."""

    @model_validator(mode="after")
    def _is_what_a_release_takes(self) -> SamplingPolicy:
        self.to_sampling()  # a release would refuse it too, but only after a training and an approval
        return self

    def to_sampling(self) -> Sampling:
        """The same values as the part of a release that a device reads.

        Raises:
            ValueError: uncertain_low is above uncertain_high.
        """
        return Sampling(**self.model_dump())


class Rollout(Section):
    """How a release reaches a group of devices. Times in seconds, latency in milliseconds a frame."""

    group: str = "line"
    """The group of devices that gets the releases."""
    canary: tuple[str, ...] = ()
    """Devices that get a release first, by name."""
    waves: Annotated[tuple[Annotated[float, Field(gt=0.0, le=100.0)], ...], Field(min_length=1)] = (100.0,)
    """Shares of the group in per cent, one after the other."""
    probation_s: Annotated[float, Field(ge=0.0)] = 120.0
    """How long a new release must run well on a device before the device keeps it."""
    probation_min_frames: Annotated[int, Field(ge=0)] = 30
    """How many frames a new release must inspect on a device before the device keeps it; 0: none."""
    probation_patience_s: Annotated[float, Field(ge=0.0)] = 86_400.0
    """After this long without enough frames the device keeps the release, and says so."""
    probation_share_change: Share = 0.3
    """By how much the share of fail, or of uncertain, may differ from that of the release before."""
    probation_latency_ratio: Annotated[float, Field(ge=1.0)] = 3.0
    """How many times as long as the release before a frame may take (95th percentile)."""
    report_timeout_s: Annotated[float, Field(gt=0.0)] = 3600.0
    """A device that has not reported for this long counts as late."""
    latency_budget_ms: Annotated[float, Field(gt=0.0)] = 500.0
    """The longest time that one frame may take."""

    def to_probation(self) -> Probation:
        """The same values as the part of a release that a device reads."""
        return Probation(
            min_frames=self.probation_min_frames,
            patience_s=self.probation_patience_s,
            max_share_change=self.probation_share_change,
            max_latency_ratio=self.probation_latency_ratio,
        )

    @field_validator("group")
    @classmethod
    def _group_is_a_name(cls, value: str) -> str:
        return check_name("group", value)
