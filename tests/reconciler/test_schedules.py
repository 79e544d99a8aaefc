"""When a schedule came due: cron with the clock of a time zone, also where that clock is changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reconciler.schedules import CronSchedule, ScheduleError


def came_due(schedule: CronSchedule, start: datetime, hours: float, step_min: int = 5) -> list[str]:
    """The due times that passes every five minutes see, in their order."""
    seen: list[datetime] = []
    for minute in range(0, int(hours * 60), step_min):
        due = schedule.came_due(start + timedelta(minutes=minute))
        assert due is not None
        if not seen or seen[-1] != due:
            seen.append(due)
    assert seen == sorted(seen)
    return [f"{due:%d %H:%M}" for due in seen]


@pytest.mark.parametrize(
    ("cron", "zone", "start", "expected"),
    [
        ("0 6 * * *", "Asia/Tokyo", datetime(2026, 3, 28, 12, tzinfo=UTC), ["27 21:00", "28 21:00"]),
        # 2:30 does not come on 29 March in Berlin: the clock goes from 2:00 to 3:00, which is 1:00 UTC.
        ("30 2 * * *", "Europe/Berlin", datetime(2026, 3, 28, 12, tzinfo=UTC), ["28 01:30", "29 01:00"]),
        # 2:30 comes twice on 25 October in Berlin, and is due once.
        ("30 2 * * *", "Europe/Berlin", datetime(2026, 10, 24, 12, tzinfo=UTC), ["24 00:30", "25 00:30"]),
        ("30 2 * * SUN", "Europe/Berlin", datetime(2026, 10, 24, 12, tzinfo=UTC), ["18 00:30", "25 00:30"]),
    ],
)
def test_a_time_on_the_wall_comes_once_each_day_also_where_clocks_are_changed(cron, zone, start, expected):
    """Summer time neither leaves a day out nor makes one due twice."""
    assert came_due(CronSchedule(cron, zone), start, 24) == expected


def test_what_was_missed_for_a_week_is_one_due_time():
    """Only the latest due time counts, so a reconciler that was away catches up once."""
    daily = CronSchedule("0 6 * * *", "UTC")
    assert daily.came_due(datetime(2026, 3, 9, 5, 59, 59, tzinfo=UTC)) == datetime(2026, 3, 8, 6, tzinfo=UTC)
    assert daily.came_due(datetime(2026, 3, 9, 6, tzinfo=UTC)) == datetime(2026, 3, 9, 6, tzinfo=UTC)
    assert daily.comes_due(datetime(2026, 3, 9, 6, tzinfo=UTC)) == datetime(2026, 3, 10, 6, tzinfo=UTC)


def test_a_rare_time_is_found_years_back():
    """29 February came last in 2024."""
    rare = CronSchedule("0 0 29 2 *", "UTC")
    assert rare.came_due(datetime(2026, 3, 1, tzinfo=UTC)) == datetime(2024, 2, 29, tzinfo=UTC)


@pytest.mark.parametrize(("cron", "zone"), [("61 * * * *", "UTC"), ("0 0 31 2 *", "UTC"), ("0 6 * * *", "Tokyo/Asia")])
def test_a_schedule_that_no_clock_can_follow_is_refused(cron, zone):
    """The message says what was expected and what came."""
    with pytest.raises(ScheduleError, match="expected"):
        CronSchedule(cron, zone)
