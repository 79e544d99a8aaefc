"""The sections on what a model must reach and how it inspects: gates, threshold, sampling, rollout."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from components.use_case.section import Score, Section, Share
from inspection.documents import Probation, Sampling
from inspection.paths import check_name
from inspection.rollout import LineBounds, NotComparable, Stage, Window, zone_of

_CANARY: Final = "canary"
_FALSE_ALARMS: Final = 0.05
_ASKED: Final = ("min_executed", "success_share", "failure_share", "min_s", "min_frames", "by_hand")
LATER_KEYS: Final = (*_ASKED, "wave_rules", "line", "windows", "time_zone")
"""Keys of `rollout` that the first form of the use case file did not have."""
TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
RateName = Literal["escape_rate", "overkill_rate", "review_rate", "champion_interval", "image_auroc"]


class Gates(Section):
    """What a model must reach on the test split before a person is asked.

    A rate measured on fewer than `min_parts` parts is not measurable; it passes only if it is listed in
    `allow_not_measurable`. With `bound: upper_95`, a rate is judged by the upper end of its 95 % interval. It is then
    not measurable, too, where the parts are so few that even without one error the upper end lies above the bound. A
    class with defects on fewer than `min_parts` parts is not measurable; it passes only if it is listed in
    `allow_classes_not_measurable`. max_review_rate: 1 judges no review rate. max_map50_drop: how far the model's mAP50
    may lie below that of the champion, scored on the same split. The 95 % interval of the difference
    (`champion_interval`) must not lie wholly below 0. With a max_map50_drop of 1, neither is compared. A model that
    answers an anomaly map finds no classes and has no mAP50 to speak of: `min_map50`, classes and `champion_interval`
    are not asked of it, and max_map50_drop is how far its `image_auroc` may lie below the champion's.
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
    min_image_auroc: Annotated[Share | None, Field(exclude_if=lambda value: value is None)] = None
    """Least area under the curve of good and defective parts, of a model that answers an anomaly map, once at least
    `min_parts` parts of each kind are in the test split; before that it is not measurable, and passes only if
    `allow_not_measurable` lists it. Without it, it is reported and not judged."""
    min_class_map50: Annotated[Share | None, Field(exclude_if=lambda value: value is None)] = None
    """Least average precision at IoU 0.5 of each measurable class. Without it, no class is judged by itself."""
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


class Cost(Section):
    """What a wrong verdict costs, in any one unit of money.

    A defective part that is uncertain costs a review and no escape: a person finds the defect.
    """

    escape: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    """A defective part that passes."""
    overkill: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    """A good part that fails."""
    review: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    """A part that a person has to look at."""


class Operating(Section):
    """How the operating threshold, the score from which a part is defective, is chosen on the validation split.

    With a `cost`, each class gets the threshold with which the parts of the validation split cost least, and
    `max_escape_rate` chooses nothing. Without, the rule takes the lowest overkill whose escape rate is at most
    `max_escape_rate`; without good parts, the highest score that keeps `max_escape_rate`. uncertain_ratio: the score
    from which a frame is uncertain, as a share of the threshold. default_score: the threshold where the validation
    split has no defective part.

    A model that learned from good parts alone, without a defective part in the validation split: the rule takes the
    lowest score, from default_score on, whose overkill on the good parts is at most `max_false_alarm_rate`.
    """

    max_escape_rate: Share = 0.05
    """The escape rate that the threshold keeps on the validation split."""
    default_score: Score = 0.35
    min_score: Score = 0.15
    """The lowest threshold that is tried."""
    max_score: Score = 0.7
    """The highest threshold that is tried."""
    uncertain_ratio: Annotated[float, Field(ge=0.01, le=1.0)] = 0.5
    calibrate_scores: Annotated[bool, Field(exclude_if=lambda value: not value)] = False
    """Whether scores are calibrated on the validation split: of the detections with the score 0.8, about eight in ten
    are true. A class with too few detections there keeps the model's scores, and the card says so. `default_score`,
    `min_score`, `max_score` and the scores of `sampling` are calibrated scores then."""
    cost: Annotated[Cost | None, Field(exclude_if=lambda value: value is None)] = None
    """What wrong verdicts cost. Without it, one threshold for all classes keeps `max_escape_rate`."""
    max_false_alarm_rate: Annotated[Share, Field(exclude_if=lambda value: value == _FALSE_ALARMS)] = _FALSE_ALARMS
    """The overkill rate on the validation split that a threshold keeps which only good parts chose."""

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


class WaveRules(Section):
    """What one wave asks where that differs from the other waves; null: as the others."""

    min_executed: Annotated[int, Field(ge=1)] | None = None
    """See `rollout.min_executed`."""
    success_share: Share | None = None
    """See `rollout.success_share`."""
    failure_share: Share | None = None
    """See `rollout.failure_share`."""
    min_s: Annotated[float, Field(ge=0.0)] | None = None
    """See `rollout.min_s`."""
    min_frames: Annotated[int, Field(ge=0)] | None = None
    """See `rollout.min_frames`."""
    by_hand: bool | None = None
    """See `rollout.by_hand`."""


class LinePolicy(Section):
    """How much worse than the former release a release may be on the line, from what devices report.

    A bound is compared with a 95 % interval: the rollout stops where the whole interval lies above the bound, and
    pauses for a person where the bound lies within it.
    """

    max_fail_change: Share = 0.2
    """By how much the share of *fail* may rise or fall; 1 judges nothing."""
    max_fail_fall: Share = 0.7
    """By which part of itself the share of *fail* may fall; 1 judges nothing. Where *fail* is rare, `max_fail_change`
    does not see a network that finds nothing."""
    max_review_change: Share = 0.2
    """By how much the share of *uncertain* may rise; 1 judges nothing."""
    max_disagreement: Share = 1.0
    """The share of frames on which the two releases may decide otherwise; 1 judges nothing."""
    max_latency_ratio: Annotated[float, Field(ge=1.0)] = 3.0
    """How many times as long as before a frame may take (95th percentile, in the middle of the devices)."""
    min_frames: Annotated[int, Field(ge=1)] = 200
    """Frames of each release, over all devices, without which nothing is compared."""
    when_not_comparable: Annotated[Literal["pause", "continue"], Field(exclude_if=lambda value: value == "pause")] = (
        "pause"
    )
    """What follows where the former release has fewer frames on the devices of the open waves, as on a new device or
    soon after a release was taken back: a person decides, or the next wave is opened uncompared. The first release of a
    group has nothing to be compared with, and goes on."""


class WindowPolicy(Section):
    """A time of the week in which a wave may be opened. An end before the start lies on the next day."""

    days: Annotated[tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...], Field(min_length=1)] = (
        "mon", "tue", "wed", "thu", "fri", "sat", "sun",
    )  # fmt: skip
    """On which days it starts."""
    start: TimeOfDay
    """Hour and minute, 24 hours: "22:00"."""
    end: TimeOfDay
    """Hour and minute; the same as `start` means a whole day."""


class Rollout(Section):
    """How a release reaches a group of devices. Times in seconds, latency in milliseconds a frame.

    The canary devices are the first wave. Each wave is opened when the one before has what it asks; `min_executed`,
    `success_share`, `failure_share`, `min_s`, `min_frames` and `by_hand` hold for all waves, the canary included,
    unless a wave says otherwise.
    """

    group: str = "line"
    """The group of devices that gets the releases."""
    canary: tuple[str, ...] = ()
    """Devices that get a release first, by name."""
    waves: Annotated[tuple[Annotated[float, Field(gt=0.0, le=100.0)], ...], Field(min_length=1)] = (100.0,)
    """Shares of the group in per cent, one after the other, each larger than the one before."""
    wave_rules: dict[Annotated[str, BeforeValidator(str)], WaveRules] = Field(default_factory=dict)
    """What differs for one wave: the key is its share, or `canary`."""
    min_executed: Annotated[int, Field(ge=1)] = 1
    """Devices of a wave that must have succeeded or failed before the next is opened; all, where it has fewer."""
    success_share: Share = 0.9
    """Least share of a wave's devices, late ones left out, that must have succeeded before the next is opened."""
    failure_share: Share = 0.1
    """The rollout stops, and the devices go back, where more than this share of a wave's devices has failed."""
    min_s: Annotated[float, Field(ge=0.0)] = 0.0
    """Least time that a wave is open."""
    min_frames: Annotated[int, Field(ge=0)] = 0
    """Frames that a wave's devices must have inspected with the release, in all."""
    by_hand: bool = False
    """A person must say `kizu deploy resume` before the next wave."""
    line: LinePolicy = LinePolicy()
    """How much worse than the former release it may be on the line."""
    windows: tuple[WindowPolicy, ...] = ()
    """When a wave may be opened; without windows, at any time."""
    time_zone: str = "UTC"
    """The zone of the windows, such as Asia/Tokyo."""
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

    def to_stages(self) -> tuple[Stage, ...]:
        """The stages of a rollout by this policy: the canary devices, then each wave."""
        common = {name: getattr(self, name) for name in _ASKED}
        own = {_share(key): rules.model_dump(exclude_none=True) for key, rules in self.wave_rules.items()}
        canary = [Stage(devices=self.canary, **(common | own.get(_CANARY, {})))] if self.canary else []
        return (*canary, *(Stage(percent=share, **(common | own.get(share, {}))) for share in self.waves))

    def to_software_stages(self) -> tuple[Stage, ...]:
        """The stages by which the agent's own software goes out: the same, but devices count no frames for software."""
        return tuple(replace(stage, min_frames=0) for stage in self.to_stages())

    def to_bounds(self) -> LineBounds:
        """The bounds on the line, as a part of a rollout's plan."""
        return LineBounds(
            fail_change=self.line.max_fail_change,
            fail_fall=self.line.max_fail_fall,
            review_change=self.line.max_review_change,
            disagreement=self.line.max_disagreement,
            latency_ratio=self.line.max_latency_ratio,
            min_frames=self.line.min_frames,
            when_not_comparable=NotComparable(self.line.when_not_comparable),
        )

    def to_windows(self) -> tuple[Window, ...]:
        """The windows, as a part of a rollout's plan."""
        return tuple(Window(**window.model_dump()) for window in self.windows)

    @field_validator("waves")
    @classmethod
    def _waves_grow(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError(f"expected waves that grow, such as [1, 10, 100], but got {list(value)}")
        return value

    @model_validator(mode="after")
    def _rules_are_of_waves(self) -> Rollout:
        known = {*self.waves, *((_CANARY,) if self.canary else ())}
        strange = [key for key in self.wave_rules if _share(key) not in known]
        if strange:
            raise ValueError(
                f"expected wave_rules for {', '.join(str(wave) for wave in known)}, but got {', '.join(strange)}"
            )
        return self

    @field_validator("time_zone")
    @classmethod
    def _zone_is_known(cls, value: str) -> str:
        zone_of(value)
        return value

    @field_validator("group")
    @classmethod
    def _group_is_a_name(cls, value: str) -> str:
        return check_name("group", value)


def _share(key: str) -> float | str:
    """A key of `wave_rules` as the share of a wave; as it is where it is no number."""
    try:
        return float(key)
    except ValueError:
        return key
