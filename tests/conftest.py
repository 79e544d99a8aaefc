"""Fixtures for all rooms, and the rule that nothing is skipped in silence."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# How quick a machine is says nothing about the code: no test fails by a clock.
settings.register_profile("kizu", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kizu")

pytest_plugins = ["tests.browser", "tests.deploy.stack_fixture"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `--dist loadgroup`: a file's tests stay together, and all that need the whole stack share one of it."""
    need_the_stack = {item.path for item in items if "stack" in getattr(item, "fixturenames", ())}
    for item in items:
        group = "stack" if item.path in need_the_stack else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Where KIZU_REQUIRE_ALL=1, a skip is a failure; real images alone may be absent, as they are not ours to ship."""
    report = yield
    if report.skipped and os.environ.get("KIZU_REQUIRE_ALL") == "1" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if "KIZU_PUBLIC_TAGS" in reason:
            return report
        report.outcome = "failed"
        report.longrepr = f"KIZU_REQUIRE_ALL=1 allows no skip, but: {reason}"
    return report
