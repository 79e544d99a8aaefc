"""When a schedule came due last: cron with the days and clock of a time zone. Pure: the time is an argument.

Where clocks are put back, a time that the wall shows twice comes due once; where they are put on, a time that the wall
never shows comes due right after the jump, so that no day is left out. cronsim does this as Debian's cron does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

_LOOK_BACK_DAYS: Final = (1, 40, 400, 22_000)


class ScheduleError(ValueError):
    """A schedule that never comes due, or that no clock can follow."""


@dataclass(frozen=True, slots=True)
class CronSchedule:
    """A schedule that is valid at birth.

    Raises:
        ScheduleError: the fields are not those of cron, the time zone does not exist, or the time never comes.
    """

    cron: str
    time_zone: str

    def __post_init__(self) -> None:
        try:
            next(CronSim(self.cron, datetime(2024, 1, 1, tzinfo=ZoneInfo(self.time_zone))))
        except CronSimError as e:
            raise ScheduleError(f"expected the five fields of cron, but got {self.cron!r}: {e}") from e
        except StopIteration:
            raise ScheduleError(f"expected a time that comes, but {self.cron!r} never does") from None
        except (ZoneInfoNotFoundError, ValueError, OSError) as e:
            raise ScheduleError(f"expected a time zone by its name, but got {self.time_zone!r}: {e}") from e

    def came_due(self, now: datetime) -> datetime | None:
        """The latest due time that is not after `now`, in UTC; None where the last sixty years have none.

        Of several due times that were missed only this one counts, so that what was missed is caught up once.
        """
        # cronsim is exact forwards only: backwards it gives some times in the hour that comes twice another order.
        # Each look begins at a noon, at which no clock is changed.
        noon = now.astimezone(ZoneInfo(self.time_zone)).replace(hour=12, minute=0, second=0, microsecond=0)
        for days in _LOOK_BACK_DAYS:
            latest = None
            for due in CronSim(self.cron, noon - timedelta(days=days)):
                if due > now:
                    break
                latest = due
            if latest is not None:
                return latest.astimezone(UTC)
        return None

    def comes_due(self, now: datetime) -> datetime:
        """The next due time after `now`, in UTC."""
        latest = self.came_due(now) or now
        start = latest.astimezone(ZoneInfo(self.time_zone))
        return next(due for due in CronSim(self.cron, start) if due > now).astimezone(UTC)
