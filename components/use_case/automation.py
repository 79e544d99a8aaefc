"""The sections on what the reconciler does by itself: when it labels and trains, and how it writes to people."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from components.use_case.section import Section

_CRON = r"^[0-9A-Za-z*,/#-]+( +[0-9A-Za-z*,/#-]+){4}$"


class Schedule(Section):
    """A time that comes again and again. Where the clocks are put on or back, it keeps to the time on the wall.

    The form of `cron` is checked here; `kizu automate` checks its values too.
    """

    cron: Annotated[str, Field(pattern=_CRON)]
    """Minute, hour, day of the month, month, day of the week: `0 6 * * MON-FRI`."""
    time_zone: str
    """The time zone of these times, by its name: `Asia/Tokyo`, `Europe/Berlin`, `UTC`."""

    @field_validator("time_zone")
    @classmethod
    def _is_a_time_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as e:
            raise ValueError(
                f"expected a time zone by its name, such as Asia/Tokyo or UTC, but there is no {value!r}"
            ) from e
        return value


class Schedules(Section):
    """When the reconciler starts a run by the clock, and how often at most it starts labeling for what people did."""

    labeling: Schedule | None = None
    """When labeling runs; null: only when people finished something."""
    labeling_quiet_s: Annotated[float, Field(ge=0.0, le=3600.0)] = 120.0
    """Least seconds from the end of a labeling run to the start of the next one that people's work starts. While people
    work without a break, it keeps runs from following each other at once."""
    training: Schedule | None = None
    """When a training is due if at least one label is new; null: only by `retraining`."""
