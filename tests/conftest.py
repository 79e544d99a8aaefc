"""Fixtures for all rooms, and the rule that nothing is skipped in silence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# How quick a machine is says nothing about the code: no test fails by a clock.
settings.register_profile("kizu", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kizu")

pytest_plugins = ["tests.browser", "tests.components.servers", "tests.deploy.stack_fixture"]


# Whose tests need the whole stack: they share one of it. A file that is missing here costs a second start, no more.
NEED_THE_STACK = (
    "tests/components/labeling/",
    "tests/deploy/local/test_backup.py",
    "tests/deploy/local/test_mlflow_accounts.py",
    "tests/deploy/local/test_reconciler.py",
    "tests/deploy/local/test_stack.py",
    "tests/docs/test_tutorials.py",
    "tests/kizu/test_doctor.py",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests stay together in one process, and those of these files all in the same."""
    from xdist.scheduler import LoadFileScheduling

    class OneStack(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "the stack" if file.startswith(NEED_THE_STACK) else file

    return OneStack(config, log)


OPEN_FILES = Path("/proc/self/fd")
MANY_OPEN_FILES = 500
"""About five times what the servers and stores of all tests need. `select()`, which Paho calls, ends at 1,024."""


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """A test that leaves files or sockets open is found here, not by another test's failure an hour later."""
    count = len(list(OPEN_FILES.iterdir())) if OPEN_FILES.is_dir() else 0
    if count > MANY_OPEN_FILES:
        pytest.fail(f"this process has {count} open files after {item.nodeid}: the tests before it do not close theirs")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Where KIZU_REQUIRE_ALL=1, a skip is a failure; real images alone may be absent, as they are not ours to ship."""
    report = yield
    if report.skipped and os.environ.get("KIZU_REQUIRE_ALL") == "1" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if "KIZU_PUBLIC_" in reason:
            return report
        report.outcome = "failed"
        report.longrepr = f"KIZU_REQUIRE_ALL=1 allows no skip, but: {reason}"
    return report
