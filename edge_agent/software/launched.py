"""What the launcher told this process."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping

from edge_agent.launcher import INSTALLED, python_version
from edge_agent.software.rules import Launched
from edge_agent.software.state import SLOTS


def launched(environment: Mapping[str, str]) -> Launched | None:
    """The launcher that started this process, by the variables that it set; None where none did."""
    slot = environment.get("KIZU_LAUNCHER_SLOT", "")
    number = environment.get("KIZU_LAUNCHER_VERSION", "")
    if slot not in (*SLOTS, INSTALLED) or not number.isdecimal():
        return None
    return Launched(
        slot=slot,
        launcher=int(number),
        python=environment.get("KIZU_LAUNCHER_PYTHON") or sys.executable,
        python_version=environment.get("KIZU_LAUNCHER_PYTHON_VERSION") or python_version(),
        machine=platform.machine(),
    )
