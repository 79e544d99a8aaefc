"""What the doctor says of a root that expires."""

from datetime import UTC, datetime, timedelta

import pytest

from kizu.doctor import root_expires_soon

NOW = datetime(2030, 4, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("days", "said"),
    [(60, None), (3650, None), (59, "expires on 2030-05-30"), (0, "expired on 2030-04-01"), (-5, "expired on")],
)
def test_a_root_is_warned_of_sixty_days_before_it_expires(days, said):
    """The warning names the date and the command that renews it."""
    warning = root_expires_soon(NOW + timedelta(days=days), NOW)
    if said is None:
        assert warning is None
    else:
        assert said in warning
        assert warning.endswith("kizu keys rotate root")
